//! Odd keys, and manifests that change while lanes are full.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kiln::queue::Store;
use kiln::service::ServiceSettings;
use tokio::sync::watch;

use super::workers::{Open, folder_for, push_jobs, slow_server};
use crate::process::Worker;
use crate::queue::ready;
use crate::service::{folder_of, serve, settings};
use crate::support::{eventually, redis_settings};

#[tokio::test(flavor = "multi_thread")]
async fn jobs_with_odd_keys_all_run_under_a_limit_of_one() -> anyhow::Result<()> {
    let long = "k".repeat(10_000);
    let keys = [
        &*format!("\"{long}\""),
        "\"a|b=c@d%\"",
        "\"@*\"",
        "\"\\u0000\\n\"",
        "1.50",
        "-0",
        "1e400",
        "true",
        "null",
        "[1]",
        "{\"a\":1}",
        "\"\"",
    ];
    let limits = "[[limit]]\nkey = \"/deep/0\"\nconcurrency = 1\nfair = true\n[[limit]]\nrate = \"1000/1s\"\nburst = 2";
    let folder = folder_of(&[("echo", limits)])?;
    let store = Store::open(&redis_settings()).await?;
    let mut ids = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        for (m, payload) in [
            format!(r#"{{"deep":[{key}]}}"#),
            format!(r#"{{"deep":{key}}}"#),
            (*key).to_owned(),
        ]
        .into_iter()
        .enumerate()
        {
            let id = format!("{n}-{m}");
            store
                .push(&[ready(&format!(r#"{{"id":"{id}","name":"echo","payload":{payload}}}"#))])
                .await?;
            ids.push(id);
        }
    }
    let wished = format!(
        r#"{{"id":"w","name":"echo","metadata":{{"kiln":{{"key":"{}"}}}}}}"#,
        &long[..4_000]
    );
    store.push(&[ready(&wished)]).await?;
    let burst = ServiceSettings {
        burst: true,
        ..settings()
    };
    let (serving, _stop) = serve(burst, &store, folder.path()).await?;
    serving.await??;
    for id in ids.iter().map(String::as_str).chain(["w"]) {
        assert!(store.result(id).await?.is_some(), "{id}");
    }
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}

/// Changes the limits in a manifest that is in use, and waits until they are in force.
async fn limit(worker: &Worker, manifest: &Path, limits: &str) -> anyhow::Result<()> {
    let before = worker.lines_with("plugin loaded").len();
    let text = std::fs::read_to_string(manifest)?;
    let rest = text.find("[[grants").map_or("", |at| &text[at..]);
    let new = manifest.with_extension("new");
    std::fs::write(&new, format!("{limits}\n{rest}"))?;
    std::fs::rename(new, manifest)?;
    eventually("the manifest is read", async || {
        Ok((worker.lines_with("plugin loaded").len() > before).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_change_while_lanes_are_full_hold_for_what_starts_from_then_on() -> anyhow::Result<()> {
    const JOBS: usize = 60;
    let (settings, open, (hold, is_held)) = (redis_settings(), Arc::<Open>::default(), watch::channel(true));
    let (store, server) = (Store::open(&settings).await?, slow_server(&open, &is_held).await?);
    let (folder, origin) = folder_for(&server)?;
    push_jobs(&store, &origin, 0..JOBS).await?;
    let worker = Worker::start(&settings, folder.path(), &["--concurrency", "16"])?;
    open.until_full().await?;
    let manifest = folder.path().join("fetch.toml");
    let now = || open.now.load(Ordering::SeqCst);
    let done = async |least: usize| {
        eventually("more are done", async || {
            Ok((open.done.load(Ordering::SeqCst) >= least).then_some(()))
        })
        .await
    };
    // Fewer: what runs goes on, and the next ones are fewer.
    limit(&worker, &manifest, "[[limit]]\nconcurrency = 2").await?;
    hold.send(false)?;
    done(7).await?;
    open.most.store(now(), Ordering::SeqCst);
    done(15).await?;
    assert_eq!(open.most.load(Ordering::SeqCst), 2);
    hold.send(true)?;
    let runs =
        async |jobs: usize| eventually(&format!("{jobs} at once"), async || Ok((now() == jobs).then_some(()))).await;
    runs(2).await?;
    // More: those come in who waited for the lower number.
    limit(&worker, &manifest, "[[limit]]\nconcurrency = 4").await?;
    runs(4).await?;
    // Another limit: who waits goes to other lanes, and what runs does not count there.
    limit(&worker, &manifest, "[[limit]]\nkey = \"\"\nconcurrency = 3").await?;
    runs(7).await?;
    hold.send(false)?;
    limit(&worker, &manifest, "").await?;
    for id in 0..JOBS {
        eventually(&format!("the result of {id}"), async || {
            Ok(store.result(&id.to_string()).await?.map(drop))
        })
        .await?;
    }
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}
