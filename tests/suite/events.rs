//! What a host tells of what happens in it.

use std::sync::Arc;
use std::time::Duration;

use kiln::config::{PluginSettings, SandboxSettings};
use kiln::events::{Event, Events, Subscriber};
use kiln::outcome::{Fate, Outcome, Settlement};
use kiln::plugins::Plugins;
use kiln::queue::{Consumer, Delivery, Store, StoreSettings};
use kiln::sandbox::Sandbox;
use kiln::service;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::queue::{ACK, LONG, counts, fetch, push_numbered};
use crate::service::{CONCURRENCY, folder_of, push, settings};
use crate::support::{default_queue, eventually};

on_every_store! {
    only_a_settlement_that_was_carried_out_is_told_as_settled
}

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

/// What a host was told of its settlements, by the tags of the deliveries.
#[derive(Default)]
struct Told {
    settled: Mutex<Vec<(u64, Fate)>>,
    refused: Mutex<Vec<u64>>,
}

impl Subscriber for Told {
    fn on(&self, event: &Event<'_>) {
        if let Event::Settled { settled, refused, .. } = event {
            self.settled.lock().extend(*settled);
            self.refused.lock().extend(*refused);
        }
    }
}

async fn only_a_settlement_that_was_carried_out_is_told_as_settled(store: Store) -> anyhow::Result<()> {
    let join = async |lease| {
        let (events, told) = (Events::default(), Arc::new(Told::default()));
        events.subscribe(&told);
        let host = Consumer::join(store.clone(), vec![default_queue()], lease, events).await?;
        anyhow::Ok((host, told))
    };
    let retry = || Settlement::Retry {
        job: r#"{"name":"hello"}"#.to_owned(),
        wait: Duration::from_mins(1),
    };
    let (slow, told_slow) = join(Duration::from_millis(500)).await?;
    push_numbered(&store, 3).await?;
    let mut late = eventually("jobs", async || {
        Ok(Some(fetch(&slow, 3).await?).filter(|all| all.len() == 3))
    })
    .await?;
    let mut late_tags: Vec<_> = late.iter().map(Delivery::tag).collect();
    let (heir, told_heir) = join(LONG).await?;
    let taken_over = eventually("jobs to take over", async || {
        heir.heartbeat().await?;
        Ok(Some(heir.adopt(&default_queue()).await?).filter(|all| !all.is_empty()))
    })
    .await?;
    push_numbered(&store, 1).await?;
    slow.heartbeat().await?;
    let own = eventually("a job", async || Ok(fetch(&slow, 1).await?.pop())).await?;
    let own_tag = own.tag();
    slow.settle(late.remove(0), ACK).await;
    slow.settle(own, ACK).await;
    slow.settle(late.remove(0), retry()).await;
    slow.settle(late.remove(0), ACK).await;
    slow.finish().await?;
    let mut heirs: Vec<_> = taken_over.iter().map(|job| (job.tag(), Fate::Acked)).collect();
    for delivery in taken_over {
        heir.settle(delivery, ACK).await;
    }
    heir.finish().await?;
    assert_eq!(*told_slow.settled.lock(), [(own_tag, Fate::Acked)]);
    let mut refused = told_slow.refused.lock().clone();
    refused.sort_unstable();
    late_tags.sort_unstable();
    assert_eq!(refused, late_tags);
    let mut settled = told_heir.settled.lock().clone();
    settled.sort_unstable_by_key(|(tag, _)| *tag);
    heirs.sort_unstable_by_key(|(tag, _)| *tag);
    assert_eq!(settled, heirs);
    assert_eq!(counts(&store).await?, (0, 0, 0));
    Ok(())
}
