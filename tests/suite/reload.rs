//! Dropping a file into the plugin folder is deployment: safe at any moment.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kiln::config::{Compiler, PluginSettings, Quarantine, SandboxSettings};
use kiln::events::{Event, Events, Run};
use kiln::job::{Job, null};
use kiln::outcome::Outcome;
use kiln::plugins::{Plugins, Resolved, Watching, watch};
use kiln::queue::{Store, StoreSettings};
use kiln::sandbox::{AttemptContext, Sandbox};
use kiln::service::ServiceSettings;
use tokio_util::sync::CancellationToken;

use crate::guests::{guest, hostile_component};
use crate::service::{folder_of, open_plugins, open_plugins_with, push, serve};
use crate::support::{default_queue, eventually};

/// Renames a new version into place, as a deployment does.
pub(crate) fn deploy(folder: &Path, plugin: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let new = folder.join(format!("{plugin}.new"));
    fs::write(&new, bytes)?;
    Ok(fs::rename(new, folder.join(plugin).with_extension("wasm"))?)
}

fn by_itself() -> Watching {
    Watching {
        by_itself: true,
        ..Watching::default()
    }
}

async fn outcome(plugins: &Plugins, name: &str) -> Option<Outcome> {
    let Resolved::Plugin(plugin) = plugins.resolve(name) else {
        return None;
    };
    let job = Job::new(name, "default", null());
    Some(
        plugin
            .handler
            .run(&job, "default", &AttemptContext::default())
            .await
            .outcome,
    )
}

/// The result of a plugin that answers with its version.
async fn answer(plugins: &Plugins, name: &str) -> Option<String> {
    match outcome(plugins, name).await {
        Some(Outcome::Completed { result }) => result,
        _ => None,
    }
}

/// A plugin that answers with this number, of one digit.
pub(crate) fn version(n: u32) -> anyhow::Result<Vec<u8>> {
    hostile_component(&format!(
        r#"(data (i32.const 8) "\01\00\00\00\40\00\00\00\01\00\00\00") ;; ok(some(text))
        (data (i32.const 64) "{n}")
        (func (export "kiln:job/handler@0.1.0#handle") (type $handle) (i32.const 0))"#
    ))
}

async fn completes(plugins: &Plugins, name: &str) -> bool {
    matches!(outcome(plugins, name).await, Some(Outcome::Completed { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_takes_over_and_who_holds_the_old_one_keeps_it() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    let plugins = open_plugins(folder.path()).await?;
    let Resolved::Plugin(old) = plugins.resolve("ok") else {
        panic!("it is loaded")
    };
    let stop = CancellationToken::new();
    let watching = tokio::spawn(watch(Arc::clone(&plugins), by_itself(), stop.clone()));
    eventually("the new version", async || {
        // Again and again: the watch may not have begun when the first one came.
        deploy(folder.path(), "ok", &guest("permanent")?)?;
        Ok((!completes(&plugins, "ok").await).then_some(()))
    })
    .await?;
    let job = Job::new("ok", "default", null());
    let held = old.handler.run(&job, "default", &AttemptContext::default()).await;
    assert!(
        matches!(held.outcome, Outcome::Completed { .. }),
        "the old version still runs"
    );
    stop.cancel();
    Ok(watching.await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_version_leaves_the_good_one_in_service() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    let plugins = open_plugins(folder.path()).await?;
    for (wasm, manifest) in [
        (&b"\0asm broken"[..], ""),
        (&guest("ok")?[..], "timeout = 5"),
        (&[], ""),
    ] {
        fs::write(folder.path().join("ok.toml"), manifest)?;
        deploy(folder.path(), "ok", wasm)?;
        plugins.refresh().await?;
        assert!(completes(&plugins, "ok").await);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_alone_renames_what_a_plugin_handles() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    let plugins = open_plugins(folder.path()).await?;
    fs::write(folder.path().join("ok.toml"), "jobs = [\"fine\", \"well\"]")?;
    plugins.refresh().await?;
    assert_eq!(plugins.jobs(), ["fine", "well"]);
    assert!(matches!(plugins.resolve("ok"), Resolved::Unknown));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_taken_away_serves_on_for_a_while_and_then_no_more() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    let settings = PluginSettings {
        hold_removed: Duration::from_millis(50),
        ..PluginSettings::default()
    };
    let plugins = open_plugins_with(folder.path(), settings).await?;
    fs::remove_file(folder.path().join("ok.wasm"))?;
    deploy(folder.path(), "echo", &guest("echo")?)?;
    fs::create_dir(folder.path().join("folder.wasm"))?;
    plugins.refresh().await?;
    assert_eq!(plugins.jobs(), ["echo", "ok"]);
    eventually("it is let go", async || {
        plugins.refresh().await?;
        Ok((plugins.jobs() == ["echo"]).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_and_creating_is_no_outage() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    let plugins = open_plugins(folder.path()).await?;
    fs::remove_file(folder.path().join("ok.wasm"))?;
    plugins.refresh().await?;
    assert!(completes(&plugins, "ok").await);
    fs::write(folder.path().join("ok.wasm"), version(2)?)?;
    plugins.refresh().await?;
    assert_eq!(answer(&plugins, "ok").await.as_deref(), Some("2"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_still_being_written_changes_nothing_until_it_is_whole() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    let plugins = open_plugins(folder.path()).await?;
    let bytes = version(2)?;
    let path = folder.path().join("ok.wasm");
    for cut in [0, 4, 8, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..cut])?;
        plugins.refresh().await?;
        assert!(completes(&plugins, "ok").await, "at {cut} bytes");
        assert!(plugins.list()[0].fault.is_some());
    }
    fs::write(&path, &bytes)?;
    plugins.refresh().await?;
    assert_eq!(answer(&plugins, "ok").await.as_deref(), Some("2"));
    assert!(plugins.list()[0].fault.is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_files_date_does_not_show_is_noticed() -> anyhow::Result<()> {
    let folder = folder_of(&[])?;
    let path = folder.path().join("ok.wasm");
    fs::write(&path, version(1)?)?;
    let plugins = open_plugins(folder.path()).await?;
    for (n, modified) in [
        (2, SystemTime::UNIX_EPOCH),
        (3, SystemTime::now() + Duration::from_hours(9)),
    ] {
        // As long as before, in the same place, and dated before or after its time.
        fs::write(&path, version(n)?)?;
        fs::File::options().write(true).open(&path)?.set_modified(modified)?;
        plugins.refresh().await?;
        assert_eq!(answer(&plugins, "ok").await, Some(n.to_string()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_turned_to_another_folder_is_a_deployment() -> anyhow::Result<()> {
    let folder = folder_of(&[])?;
    for n in [1, 2] {
        let data = folder.path().join(format!("..data-{n}"));
        fs::create_dir(&data)?;
        fs::write(data.join("ok.wasm"), version(n)?)?;
    }
    // As volumes of configuration are made: the files are links through a link to a folder.
    let permit = |n: u32| -> anyhow::Result<()> {
        let new = folder.path().join("..new");
        symlink(format!("..data-{n}"), &new)?;
        Ok(fs::rename(new, folder.path().join("..data"))?)
    };
    permit(1)?;
    symlink("..data/ok.wasm", folder.path().join("ok.wasm"))?;
    let plugins = open_plugins(folder.path()).await?;
    let stop = CancellationToken::new();
    let watching = tokio::spawn(watch(Arc::clone(&plugins), by_itself(), stop.clone()));
    assert_eq!(answer(&plugins, "ok").await.as_deref(), Some("1"));
    permit(2)?;
    eventually("the new version", async || {
        Ok((answer(&plugins, "ok").await.as_deref() == Some("2")).then_some(()))
    })
    .await?;
    stop.cancel();
    Ok(watching.await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_replaced_as_a_whole_is_still_watched() -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = parent.path().join("plugins");
    for (name, n) in [("plugins", 1), ("next", 2)] {
        fs::create_dir(parent.path().join(name))?;
        fs::write(parent.path().join(name).join("ok.wasm"), version(n)?)?;
    }
    let plugins = open_plugins(&folder).await?;
    let stop = CancellationToken::new();
    let watching = tokio::spawn(watch(Arc::clone(&plugins), by_itself(), stop.clone()));
    fs::rename(&folder, parent.path().join("old"))?;
    fs::rename(parent.path().join("next"), &folder)?;
    for n in [2, 3] {
        eventually("the new version", async || {
            Ok((answer(&plugins, "ok").await == Some(n.to_string())).then_some(()))
        })
        .await?;
        deploy(&folder, "ok", &version(n + 1)?)?;
    }
    stop.cancel();
    Ok(watching.await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_plugins_arrive_at_once() -> anyhow::Result<()> {
    let folder = folder_of(&[])?;
    let plugins = open_plugins(folder.path()).await?;
    let stop = CancellationToken::new();
    let watching = tokio::spawn(watch(Arc::clone(&plugins), by_itself(), stop.clone()));
    let bytes = version(1)?;
    for n in 0..500 {
        fs::write(folder.path().join(format!("p{n}.wasm")), &bytes)?;
    }
    eventually("all of them", async || Ok((plugins.jobs().len() == 500).then_some(()))).await?;
    assert_eq!(answer(&plugins, "p499").await.as_deref(), Some("1"));
    stop.cancel();
    Ok(watching.await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_alone_takes_effect_without_a_compiler() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    let place = tempfile::tempdir()?;
    let (compiler, cache) = (place.path().join("kiln"), place.path().join("cache"));
    symlink(env!("CARGO_BIN_EXE_kiln"), &compiler)?;
    let settings = SandboxSettings {
        cache_dir: Some(cache.clone()),
        compiler: Some(Compiler {
            program: compiler.clone(),
            args: vec!["compile".into()],
            niceness: 0,
        }),
        ..crate::sandbox::settings()
    };
    let sandbox = Arc::new(Sandbox::new(&settings)?);
    let plugins = Plugins::open(sandbox, folder.path(), PluginSettings::default(), Events::default()).await?;
    fs::remove_file(compiler)?;
    fs::remove_dir_all(cache)?;
    fs::write(
        folder.path().join("ok.toml"),
        "jobs = [\"fine\"]\nmax_memory = \"1MiB\"",
    )?;
    plugins.refresh().await?;
    assert_eq!(plugins.list()[0].fault, None);
    assert!(completes(&plugins, "fine").await);
    fs::write(folder.path().join("ok.toml"), "max_memory = \"64KiB\"")?;
    plugins.refresh().await?;
    let why = plugins.list()[0].fault.clone().unwrap_or_default();
    assert!(why.contains("needs 128.0 KiB of memory to start"), "{why}");
    assert!(completes(&plugins, "fine").await, "the last good version stays");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_files_fault_is_tried_again() -> anyhow::Result<()> {
    let manifest = "[grants.secrets.RELOAD_TEST]\nexpose = \"value\"";
    let folder = folder_of(&[("ok", manifest)])?;
    let secrets = tempfile::tempdir()?;
    let settings = SandboxSettings {
        secrets_dir: Some(secrets.path().to_owned()),
        ..crate::sandbox::settings()
    };
    let sandbox = Arc::new(Sandbox::new(&settings)?);
    let plugins = Plugins::open(sandbox, folder.path(), PluginSettings::default(), Events::default()).await?;
    assert!(matches!(plugins.resolve("ok"), Resolved::Unloadable(why) if why.contains("secret RELOAD_TEST")));
    fs::write(secrets.path().join("RELOAD_TEST"), "here it is")?;
    plugins.refresh().await?;
    assert!(completes(&plugins, "ok").await);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waited_for_its_turn_runs_on_the_version_in_service_then() -> anyhow::Result<()> {
    let folder = folder_of(&[("sleep", "jobs = [\"ok\"]\nconcurrency = 1\ntimeout = \"1s\"")])?;
    let store = Store::open(&StoreSettings::new("memory:")).await?;
    push(
        &store,
        &[
            r#"{"id":"a","name":"ok","max_attempts":1}"#,
            r#"{"id":"b","name":"ok"}"#,
        ],
    )
    .await?;
    let settings = ServiceSettings {
        burst: false,
        watching: by_itself(),
        ..crate::service::settings()
    };
    let (serving, stop) = serve(settings, &store, folder.path()).await?;
    eventually("one runs, and the other waits", async || {
        let counts = store.counts(&default_queue()).await?;
        Ok(((counts.in_flight, counts.waiting) == (1, 1)).then_some(()))
    })
    .await?;
    deploy(folder.path(), "sleep", &version(2)?)?;
    assert_eq!(
        eventually("the answer", async || Ok(store.result("b").await?)).await?,
        "2"
    );
    stop.cancel();
    serving.await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugins_concurrency_counts_over_its_versions() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "concurrency = 1")])?;
    let plugins = open_plugins(folder.path()).await?;
    let handler = |plugins: &Plugins| match plugins.resolve("ok") {
        Resolved::Plugin(plugin) => plugin,
        other => panic!("{other:?}"),
    };
    let old = handler(&plugins);
    let permit = old.handler.try_permit().expect("the only one");
    deploy(folder.path(), "ok", &version(2)?)?;
    plugins.refresh().await?;
    assert!(
        handler(&plugins).handler.try_permit().is_none(),
        "an attempt of the old version runs"
    );
    drop(permit);
    assert!(handler(&plugins).handler.try_permit().is_some());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_plugins_for_one_job_the_one_in_service_stays() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "jobs = [\"mine\"]"), ("permanent", "jobs = [\"mine\"]")])?;
    let plugins = open_plugins(folder.path()).await?;
    assert!(completes(&plugins, "mine").await, "the first by file name");
    fs::copy(folder.path().join("permanent.wasm"), folder.path().join("a.wasm"))?;
    fs::write(folder.path().join("a.toml"), "jobs = [\"mine\", \"other\"]")?;
    plugins.refresh().await?;
    assert!(completes(&plugins, "mine").await, "it was there first");
    assert!(
        !completes(&plugins, "other").await,
        "and the new one has what nobody had"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_never_loaded_says_why() -> anyhow::Result<()> {
    let folder = folder_of(&[])?;
    fs::write(folder.path().join("bad.wasm"), guest("ok")?)?;
    fs::write(folder.path().join("bad.toml"), "jobs = [\"mine\"]\nmemory = 5\n")?;
    let plugins = open_plugins(folder.path()).await?;
    let Resolved::Unloadable(why) = plugins.resolve("mine") else {
        panic!("it cannot load")
    };
    assert!(
        why.contains("bad.toml: line 2, column 1: unknown field `memory`"),
        "{why}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_producer_can_have_a_plugin_set_aside() -> anyhow::Result<()> {
    let limits = "timeout = \"300ms\"\nmax_memory = \"512KiB\"";
    let folder = folder_of(&[("spin", limits), ("grow", limits)])?;
    let settings = PluginSettings {
        quarantine: Some(Quarantine {
            share: 0.5,
            window: Duration::from_mins(1),
            least_attempts: 2,
        }),
        ..PluginSettings::default()
    };
    let plugins = open_plugins_with(folder.path(), settings).await?;
    let ends = async |name: &str, timeout_ns: i64, payload_bytes: usize| {
        let payload = serde_json::value::to_raw_value(&"x".repeat(payload_bytes))?;
        let mut job = Job::new(name, "default", payload);
        job.timeout_ns = timeout_ns;
        for _ in 0..2 {
            let Resolved::Plugin(plugin) = plugins.resolve(name) else {
                panic!("set aside too early")
            };
            let attempt = plugin.handler.run(&job, "default", &AttemptContext::default()).await;
            assert!(
                matches!(attempt.outcome, Outcome::Failed { .. }),
                "{:?}",
                attempt.outcome
            );
            let run = Run {
                tag: 0,
                queue: "default",
                job: &job,
                fetched: std::time::Instant::now(),
                from_lane: false,
                plugin: plugin.id(),
                attempt: 1,
                max_attempts: 3,
                span: None,
            };
            plugins.events().tell(Event::Started(run));
            plugins.events().tell(Event::Ended { run, attempt: &attempt });
        }
        anyhow::Ok(matches!(plugins.resolve(name), Resolved::NotNow { .. }))
    };
    assert!(!ends("spin", 1, 0).await?, "the job asked for a nanosecond");
    assert!(!ends("grow", 0, 100_000).await?, "a fifth of its memory is the payload");
    assert!(ends("spin", 300_000_000, 0).await?, "as long as the plugin may take");
    assert!(ends("grow", 0, 1_000).await?, "it is the handler that wants more");
    Ok(())
}
