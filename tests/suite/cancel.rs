//! Cancelling one job while it runs: it ends for good, and nothing else of its queue notices.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use futures::future::join_all;
use kiln::config::Unknown;
use kiln::job::{Job, null};
use kiln::outcome::{Failure, FailureKind, Lane, Outcome, RetryHint};
use kiln::plugins::{Plugins, Resolved};
use kiln::queue::{Consumer, Delivery, LEASE_DEFAULT, LaneWish, Store, StoreSettings};
use kiln::sandbox::{AttemptContext, Listener, LogLine, Speaker};
use kiln::worker::{Reserved, Worker};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::sandbox::{TestHost, assert_completes, failed, job_of, settings_with};
use crate::service::{folder_of, open_plugins, push};
use crate::support::{PATIENCE, default_queue, eventually, redis_settings};

/// A worker with its claim on the default queue, and what it has fetched from there.
struct Host {
    consumer: Arc<Consumer>,
    plugins: Arc<Plugins>,
    worker: Arc<Worker>,
}

impl Host {
    async fn join(store: &Store, folder: &Path) -> anyhow::Result<Self> {
        let plugins = open_plugins(folder).await?;
        let (queues, events) = (vec![default_queue()], plugins.events().clone());
        let consumer = Arc::new(Consumer::join(store.clone(), queues, LEASE_DEFAULT, events).await?);
        let (ours, draining) = (Arc::clone(&plugins), CancellationToken::new());
        let worker = Worker::new(Arc::clone(&consumer), ours, Unknown::default(), draining);
        Ok(Self {
            consumer,
            plugins,
            worker: Arc::new(worker),
        })
    }

    /// Runs the next jobs, each in a task of its own, as the service does.
    async fn start(&self, jobs: usize) -> anyhow::Result<Vec<tokio::task::JoinHandle<()>>> {
        let fetched = self.consumer.fetch(&default_queue(), jobs).await?;
        assert_eq!(fetched.len(), jobs);
        let run = |delivery: Delivery| {
            let worker = Arc::clone(&self.worker);
            self.plugins
                .guests()
                .spawn(async move { worker.process(delivery, None).await })
        };
        Ok(fetched.into_iter().map(run).collect())
    }

    /// Cancels a job as soon as it runs, or waits to.
    async fn cancel(&self, id: &str) -> anyhow::Result<()> {
        let cancelled = async || Ok((self.consumer.cancel(id) > 0).then_some(()));
        eventually("the job is about to run", cancelled).await
    }
}

async fn stores() -> anyhow::Result<[Store; 2]> {
    Ok([
        Store::open(&StoreSettings::new("memory:")).await?,
        Store::open(&redis_settings()).await?,
    ])
}

async fn only_failed(store: &Store) -> anyhow::Result<(Job, Failure)> {
    let entries = store.failed(0, 10).await?;
    assert_eq!(entries.len(), 1, "{entries:?}");
    let job = entries[0].job().cloned().map_err(|err| anyhow::anyhow!("{err}"))?;
    let failure = entries[0].failure().context("a failure")?;
    Ok((job, failure))
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_running_job_ends_it_for_good_and_its_neighbour_goes_on() -> anyhow::Result<()> {
    for (name, store) in ["spin", "sleep"].into_iter().zip(stores().await?) {
        let folder = folder_of(&[(name, ""), ("nap", "")])?;
        let victim = format!(r#"{{"id":"victim","name":"{name}","max_attempts":9}}"#);
        push(&store, &[&victim, r#"{"id":"neighbour","name":"nap","payload":1000}"#]).await?;
        let host = Host::join(&store, folder.path()).await?;
        let running = host.start(2).await?;
        host.cancel("victim").await?;
        for ended in join_all(running).await {
            ended?;
        }
        host.consumer.finish().await?;
        host.consumer.leave().await?;
        assert!(
            store.counts(&default_queue()).await?.is_empty(),
            "{name} is not tried again"
        );
        assert_eq!(store.result("neighbour").await?.as_deref(), Some("1000"));
        let (job, failure) = only_failed(&store).await?;
        assert_eq!((job.id.as_str(), job.attempts, job.max_attempts), ("victim", 1, 9));
        assert_eq!(job.error.as_deref(), Some("cancelled: an operator cancelled this job"));
        assert_eq!((failure.kind, failure.attempt), (FailureKind::Cancelled, 1));
        assert_eq!((failure.handler.as_str(), failure.digest.len()), (name, 64));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_for_its_plugin_is_in_nobodys_hands_and_cancelled_once_it_is() -> anyhow::Result<()> {
    for store in stores().await? {
        let folder = folder_of(&[("sleep", "concurrency = 1")])?;
        push(&store, &[r#"{"id":"waits","name":"sleep"}"#]).await?;
        let host = Host::join(&store, folder.path()).await?;
        let Resolved::Plugin(plugin) = host.plugins.resolve("sleep") else {
            anyhow::bail!("no plugin");
        };
        let permit = plugin.handler.try_permit().context("its only one")?;
        for ended in join_all(host.start(1).await?).await {
            ended?;
        }
        eventually("that it waits", async || {
            Ok((store.counts(&default_queue()).await?.waiting == 1).then_some(()))
        })
        .await?;
        assert_eq!(host.consumer.cancel("waits"), 0);
        let (lane, jobs) = (Lane::of_plugin("sleep"), 1);
        let wish = [LaneWish { lane, jobs }];
        let mut taken = host.consumer.fetch_from(&default_queue(), 1, &wish, None).await?;
        let (worker, delivery) = (Arc::clone(&host.worker), taken.remove(0));
        let reserved = Some(Reserved { plugin, permit });
        let run = async move { worker.process(delivery, reserved).await };
        let running = host.plugins.guests().spawn(run);
        host.cancel("waits").await?;
        running.await?;
        host.consumer.finish().await?;
        host.consumer.leave().await?;
        let (job, failure) = only_failed(&store).await?;
        assert_eq!((job.attempts, failure.kind), (1, FailureKind::Cancelled));
    }
    Ok(())
}

#[tokio::test]
async fn an_attempt_that_is_over_is_not_cancelled_and_one_that_failed_meanwhile_is() -> anyhow::Result<()> {
    let host = TestHost::with(&settings_with(PATIENCE))?;
    let (ok, retry) = (host.load("ok")?, host.load("retry")?);
    let late = AttemptContext::default();
    assert_completes(&ok.run(&job_of("ok", null()), "default", &late).await);
    assert!(!late.stop.cancel());
    let early = AttemptContext::default();
    assert!(early.stop.cancel());
    let attempt = retry.run(&job_of("retry", null()), "default", &early).await;
    assert_eq!(attempt.report.instantiate, None, "it never ran");
    let (failure, retry) = failed(attempt)?;
    assert_eq!((failure.kind, retry), (FailureKind::Cancelled, RetryHint::Never));
    let drained = AttemptContext::default();
    drained.stop.interrupt();
    let attempt = ok.run(&job_of("ok", null()), "default", &drained).await;
    assert!(matches!(attempt.outcome, Outcome::Stopped), "{:?}", attempt.outcome);
    Ok(())
}

/// Writes down what it hears.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Listener for Heard {
    fn log(&self, speaker: &Speaker<'_>, line: &LogLine<'_>) {
        let LogLine {
            level,
            context,
            message,
        } = line;
        self.0
            .lock()
            .push(format!("{} {level} {context}: {message}", speaker.plugin));
    }

    fn progress(&self, speaker: &Speaker<'_>, percent: u8, note: &str) {
        let Speaker {
            name, queue, attempt, ..
        } = speaker;
        self.0.lock().push(format!("{name} {queue} {attempt} {percent} {note}"));
    }
}

#[tokio::test]
async fn a_listener_hears_what_a_handler_logs_and_reports_within_its_limits() -> anyhow::Result<()> {
    let host = TestHost::with(&settings_with(PATIENCE))?;
    let hear = async |name: &str, manifest: &str| {
        let heard = Arc::new(Heard::default());
        let context = AttemptContext {
            listener: Some(heard.clone()),
            ..AttemptContext::default()
        };
        let handler = host.load_with(name, manifest)?;
        assert_completes(&handler.run(&job_of(name, null()), "night", &context).await);
        anyhow::Ok(std::mem::take(&mut *heard.0.lock()))
    };
    assert_eq!(hear("remaining", "").await?, ["remaining night 1 40 half"]);
    let line = "log_flood INFO main: one\\n\\u001b[31mtw";
    assert_eq!(hear("log_flood", "limits.log_lines = 2").await?, [line, line]);
    Ok(())
}
