//! Dropping a file into the plugin folder is deployment: safe at any moment.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use kiln::job::{Job, null};
use kiln::outcome::Outcome;
use kiln::plugins::{Plugins, Resolved, watch};
use kiln::sandbox::Cancel;
use tokio_util::sync::CancellationToken;

use crate::guests::guest;
use crate::service::{folder_of, open_plugins};
use crate::support::eventually;

/// Renames a new version into place, as a deployment does.
fn deploy(folder: &Path, plugin: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let new = folder.join(format!("{plugin}.new"));
    fs::write(&new, bytes)?;
    Ok(fs::rename(new, folder.join(plugin).with_extension("wasm"))?)
}

async fn outcome(plugins: &Plugins, name: &str) -> Option<Outcome> {
    let Resolved::Plugin(plugin) = plugins.resolve(name) else {
        return None;
    };
    let job = Job::new(name, "default", null());
    Some(plugin.handler.run(&job, "default", &Cancel::default()).await.outcome)
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
    let watching = tokio::spawn(watch(Arc::clone(&plugins), stop.clone()));
    eventually("the new version", async || {
        // Again and again: the watch may not have begun when the first one came.
        deploy(folder.path(), "ok", &guest("permanent")?)?;
        Ok((!completes(&plugins, "ok").await).then_some(()))
    })
    .await?;
    let job = Job::new("ok", "default", null());
    let held = old.handler.run(&job, "default", &Cancel::default()).await;
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
async fn a_plugin_taken_away_resolves_no_more_and_one_put_there_does() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    let plugins = open_plugins(folder.path()).await?;
    fs::remove_file(folder.path().join("ok.wasm"))?;
    deploy(folder.path(), "echo", &guest("echo")?)?;
    fs::create_dir(folder.path().join("folder.wasm"))?;
    plugins.refresh().await?;
    assert_eq!(plugins.jobs(), ["echo"]);
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
