//! What a host tells of what happens in it.

use std::sync::Arc;

use kiln::config::{PluginSettings, SandboxSettings};
use kiln::events::{Event, Events, Subscriber};
use kiln::outcome::{Fate, Outcome};
use kiln::plugins::Plugins;
use kiln::queue::{Store, StoreSettings};
use kiln::sandbox::Sandbox;
use kiln::service;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::service::{CONCURRENCY, folder_of, push, settings};

/// Every event in a line, tags as numbers from the first on.
#[derive(Default)]
struct Story(Mutex<Vec<String>>);

impl Subscriber for Story {
    fn on(&self, event: &Event<'_>) {
        let line = match event {
            Event::Fetched { queue, first_tag, jobs } => format!("{jobs} from {queue} as {first_tag}"),
            Event::Started(run) => format!(
                "{} starts {} {}/{}",
                run.tag, run.job.name, run.attempt, run.max_attempts
            ),
            Event::Ended { run, attempt } => match &attempt.outcome {
                Outcome::Completed { .. } => format!("{} by {} completes", run.tag, run.plugin.name),
                Outcome::Failed { failure, .. } => {
                    format!("{} by {} fails: {}", run.tag, run.plugin.name, failure.kind)
                }
                stopped @ Outcome::Stopped => format!("{} {stopped:?}", run.tag),
            },
            Event::Settled { settled, refused, .. } => {
                assert!(refused.is_empty());
                let mut lines: Vec<_> = settled.iter().map(|(tag, fate)| format!("{tag} {fate:?}")).collect();
                return self.0.lock().append(&mut lines);
            }
            Event::PluginLoaded(loaded) => format!("{} loads", loaded.plugin.name),
            _ => return,
        };
        self.0.lock().push(line);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_job_is_followed_from_its_fetch_to_its_fate() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", ""), ("trap", "[retry]\nattempts = 1")])?;
    let (events, heard) = (Events::default(), Arc::new(Story::default()));
    events.subscribe(&heard);
    let sandbox = Arc::new(Sandbox::new(&SandboxSettings::new(CONCURRENCY))?);
    let plugins = Plugins::open(sandbox, folder.path(), PluginSettings::default(), events).await?;
    let store = Store::open(&StoreSettings::new("memory:")).await?;
    push(
        &store,
        &[r#"{"name":"ok"}"#, r#"{"name":"trap"}"#, r#"{"name":"nobody"}"#],
    )
    .await?;
    service::run(settings(), store, plugins, CancellationToken::new()).await?;

    let lines = heard.0.lock();
    let told: Vec<_> = lines.iter().map(String::as_str).collect();
    for loaded in ["ok loads", "trap loads"] {
        assert!(told[..2].contains(&loaded), "{told:?}");
    }
    assert_eq!(told[2], "3 from default as 1");
    let of = |tag: u64| {
        let tag = format!("{tag} ");
        let lines = told[3..].iter().filter(|line| line.starts_with(&tag));
        lines.map(|line| &line[tag.len()..]).collect::<Vec<_>>()
    };
    assert_eq!(of(1), ["starts ok 1/3", "by ok completes", "Acked"]);
    assert_eq!(of(2), ["starts trap 1/1", "by trap fails: trap", "Failed"]);
    assert_eq!(of(3), [format!("{:?}", Fate::Failed)], "none ran");
    assert_eq!(told.len(), 3 + 3 + 3 + 1, "{told:?}");
    Ok(())
}
