//! The life of plugins on a worker under load: deployed a thousand times, set aside, released, looked at.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use kiln::queue::{Store, StoreSettings};
use serde_json::Value;

use crate::guests::{guest, hostile_guest};
use crate::process::Worker;
use crate::reload::{deploy, version};
use crate::service::{folder_of, push};
use crate::support::{default_queue, eventually, kiln, redis_settings};

const JOBS: usize = 50_000;
const SWAPS: usize = 1_000;

fn start(settings: &StoreSettings, folder: &Path, extra: &[&str]) -> anyhow::Result<(Worker, tempfile::TempDir)> {
    let cache = tempfile::tempdir()?;
    let path = cache.path().to_string_lossy().into_owned();
    let args: Vec<_> = extra.iter().copied().chain(["--cache-dir", &path]).collect();
    Ok((Worker::start(settings, folder, &args)?, cache))
}

/// Pushes jobs with these numbers as ids.
async fn push_numbered(store: &Store, ids: impl Iterator<Item = usize>, more: &str) -> anyhow::Result<()> {
    let jobs: Vec<_> = ids.map(|id| format!(r#"{{"id":"{id}","name":"ok"{more}}}"#)).collect();
    push(store, &jobs.iter().map(String::as_str).collect::<Vec<_>>()).await
}

pub(crate) async fn until_empty(store: &Store) -> anyhow::Result<()> {
    eventually("an empty store", async || {
        Ok(store.counts(&default_queue()).await?.is_empty().then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_deployments_under_load_lose_nothing_and_leave_nothing_behind() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[])?;
    let versions = [version(1)?, version(2)?];
    deploy(folder.path(), "ok", &versions[0])?;
    let (mut worker, _cache) = start(&settings, folder.path(), &[])?;
    worker.until_said("worker started").await?;
    let mut before = 0;
    for swap in 1..=SWAPS {
        push_numbered(&store, (swap - 1) * JOBS / SWAPS..swap * JOBS / SWAPS, "").await?;
        deploy(folder.path(), "ok", &versions[swap % 2])?;
        eventually("the swap", async || {
            Ok((worker.lines_with("plugin loaded").len() > swap).then_some(()))
        })
        .await?;
        if swap == SWAPS / 10 {
            before = worker.memory()?;
        }
    }
    until_empty(&store).await?;
    let after = worker.memory()?;
    assert!(
        after < before + 32 * 1024 * 1024,
        "{before} bytes before, {after} after"
    );
    let mut answers = BTreeMap::<String, usize>::new();
    for id in 0..JOBS {
        let answer = store.result(&id.to_string()).await?.unwrap_or_default();
        *answers.entry(answer).or_default() += 1;
    }
    let by = |version: &str| answers.get(version).copied().unwrap_or(0);
    assert_eq!(by("1") + by("2"), JOBS, "{answers:?}");
    assert!(by("1") > JOBS / 10 && by("2") > JOBS / 10, "{answers:?}");
    assert_eq!(store.failed_len().await?, 0);
    worker.signal("-TERM")?;
    assert_eq!(worker.exit_code()?, Some(0));
    Ok(())
}

/// Each of these attempts fills its handles with requests, and their paths of 60,000 bytes.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_storm_of_small_blocks_took_is_given_back_once_it_is_over() -> anyhow::Result<()> {
    const MIB: u64 = 1024 * 1024;
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("echo", "")])?;
    fs::write(
        folder.path().join("hoard_requests.wasm"),
        hostile_guest("hoard_requests")?,
    )?;
    let granted = "[[grants.http]]\norigin = \"https://a.example\"\n";
    fs::write(folder.path().join("hoard_requests.toml"), granted)?;
    let (worker, _cache) = start(&settings, folder.path(), &["--concurrency", "16", "--log", "debug"])?;
    push(&store, &[r#"{"id":"first","name":"echo","payload":1}"#]).await?;
    eventually("a result", async || Ok(store.result("first").await?)).await?;
    let before = worker.memory()?;
    for _ in 0..48 {
        push(&store, &[r#"{"name":"hoard_requests","max_attempts":1}"#]).await?;
    }
    let mut most = 0;
    eventually("the end of all", async || {
        most = most.max(worker.memory()?);
        Ok((store.failed_len().await? == 48).then_some(()))
    })
    .await?;
    assert!(most > before + 128 * MIB, "{before} bytes before, {most} at most");
    eventually("that it is given back", async || {
        Ok((worker.memory()? < before + 64 * MIB).then_some(()))
    })
    .await
    .with_context(|| {
        format!(
            "{before} bytes before, {most} at most, {:?} now; {:?}",
            worker.memory(),
            worker.lines_with("memory back")
        )
    })
}

/// What `kiln plugins` tells of the plugin `ok` on the only worker.
fn told(settings: &StoreSettings) -> anyhow::Result<Value> {
    let output = kiln()
        .args([
            "plugins",
            "ok",
            "--json",
            "--store",
            &settings.url,
            "--prefix",
            &settings.prefix,
        ])
        .output()?;
    let hosts: Value = serde_json::from_slice(&output.stdout)?;
    let only = hosts.as_object().and_then(|hosts| hosts.values().next());
    Ok(only.map(|host| host["plugins"][0].clone()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_traps_is_set_aside_for_the_one_before_it_until_it_is_released() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[])?;
    deploy(folder.path(), "ok", &version(1)?)?;
    fs::write(folder.path().join("ok.toml"), "version = \"1.0\"")?;
    let (worker, _cache) = start(&settings, folder.path(), &["--quarantine", "50%/1m"])?;
    worker.until_said("worker started").await?;
    deploy(folder.path(), "ok", &guest("trap")?)?;
    eventually("the bad version", async || {
        Ok((worker.lines_with("plugin loaded").len() == 2).then_some(()))
    })
    .await?;
    // Not at once: what is fetched together starts together.
    for id in 0..40 {
        push_numbered(&store, id..=id, r#","max_attempts":1"#).await?;
        eventually("its end", async || {
            Ok(store.counts(&default_queue()).await?.is_empty().then_some(()))
        })
        .await?;
    }
    assert_eq!(store.failed_len().await?, 20, "as many as it takes to tell");
    assert_eq!(store.result("39").await?.as_deref(), Some("1"));
    let why = "20 of its last 20 attempts trapped, timed out or ran out of memory";
    assert_eq!(worker.lines_with(why).len(), 1);
    let plugin = eventually("the report", async || {
        let plugin = told(&settings)?;
        Ok((plugin["serving"]["aside"] == why).then_some(plugin))
    })
    .await?;
    assert_eq!(plugin["serving"]["failures"], serde_json::json!({ "trap": 20 }));
    assert_eq!(
        (&plugin["serving"]["attempts"], &plugin["serving"]["version"]),
        (&20.into(), &"1.0".into())
    );
    assert!(plugin["serving"]["instead"].is_string(), "{plugin}");
    let release = kiln()
        .args([
            "plugins",
            "release",
            "ok",
            "--store",
            &settings.url,
            "--prefix",
            &settings.prefix,
        ])
        .status()?;
    assert!(release.success());
    worker.until_said("plugin released").await?;
    push_numbered(&store, 40..41, r#","max_attempts":1"#).await?;
    eventually("it traps again", async || {
        Ok((store.failed_len().await? == 21).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_version_set_aside_wait_unharmed_where_none_was_before_it() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[])?;
    deploy(folder.path(), "ok", &guest("trap")?)?;
    let (worker, _cache) = start(
        &settings,
        folder.path(),
        &["--quarantine", "50%/1m", "--concurrency", "1"],
    )?;
    push_numbered(&store, 0..30, r#","max_attempts":1"#).await?;
    worker.until_said("plugin set aside").await?;
    eventually("the rest waits", async || {
        Ok((store.counts(&default_queue()).await?.waiting == 10).then_some(()))
    })
    .await?;
    assert_eq!(store.failed_len().await?, 20);
    // A new version is another chance, and what waited comes to it with its only attempt.
    deploy(folder.path(), "ok", &version(2)?)?;
    eventually("the last result", async || Ok(store.result("29").await?)).await?;
    until_empty(&store).await?;
    assert_eq!(store.failed_len().await?, 20);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_looks_at_the_folder_even_where_nothing_else_does() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[])?;
    deploy(folder.path(), "ok", &version(1)?)?;
    let (mut worker, _cache) = start(&settings, folder.path(), &["--no-watch"])?;
    worker.until_said("worker started").await?;
    deploy(folder.path(), "ok", &version(2)?)?;
    worker.signal("-HUP")?;
    eventually("the new version", async || {
        Ok((worker.lines_with("plugin loaded").len() == 2).then_some(()))
    })
    .await?;
    push_numbered(&store, 0..1, "").await?;
    let answer = eventually("the answer", async || Ok(store.result("0").await?)).await?;
    assert_eq!(answer, "2");
    worker.signal("-TERM")?;
    assert_eq!(worker.exit_code()?, Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_folder_can_be_watched_it_is_looked_at_and_a_line_says_so() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[])?;
    deploy(folder.path(), "ok", &version(1)?)?;
    let worker = Worker::blind(&settings, folder.path(), &[])?;
    worker.until_said("cannot watch the plugin folder").await?;
    deploy(folder.path(), "ok", &version(2)?)?;
    eventually("the new version", async || {
        Ok((worker.lines_with("plugin loaded").len() == 2).then_some(()))
    })
    .await?;
    push_numbered(&store, 0..1, "").await?;
    assert_eq!(
        eventually("the answer", async || Ok(store.result("0").await?)).await?,
        "2"
    );
    Ok(())
}
