//! The line of one job: decode, resolve, run, decide, settle.
//!
//! Knows nothing about Redis keys or Wasm engines, and starts nothing: `service` calls it once for each delivery, on the
//! thread on which the handler then runs.
//!
#![doc = include_str!("../docs/performance.md")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::aside::aside;
use crate::config::{HOLD_DEFAULT, RetryPolicy, Unknown};
use crate::events::{Event, Events, Run};
use crate::job::{DecodeError, Job, wrap_partial};
use crate::outcome::{Failure, FailureKind, Outcome, RetryHint, Settlement};
use crate::plugins::{Plugins, Resolved};
use crate::queue::{Consumer, Delivery};
use crate::retry::{self, Moment};
use crate::sandbox::{AttemptContext, Handler, Listener, PluginPermit};
use crate::stop::StopReason;
use crate::text;

/// Wait before the store is told again that a job starts, while it cannot be told.
const UNPARK_RETRY: Duration = Duration::from_millis(500);

/// How often it is said that jobs of a name are held.
const TELL_AGAIN: Duration = Duration::from_mins(1);

/// Names of held jobs that are remembered; they come from producers, in any number.
const MAX_TOLD: usize = 1_000;

/// Runs deliveries.
#[derive(Debug)]
pub struct Worker {
    consumer: Arc<Consumer>,
    plugins: Arc<Plugins>,
    unknown: Unknown,
    told: Told,
    draining: Arc<CancellationToken>,
    listener: Option<Arc<dyn Listener>>,
    events: Events,
}

impl Worker {
    /// A worker that settles through `consumer`, runs what `plugins` hold and starts nothing once it is `draining`. It tells
    /// of attempts where the plugins tell of themselves.
    #[must_use]
    pub fn new(consumer: Arc<Consumer>, plugins: Arc<Plugins>, unknown: Unknown, draining: CancellationToken) -> Self {
        Self {
            consumer,
            events: plugins.events().clone(),
            plugins,
            unknown,
            told: Told::default(),
            draining: Arc::new(draining),
            listener: None,
        }
    }

    /// Has a listener hear what handlers say while they run.
    #[must_use]
    pub fn with_listener(self, listener: Arc<dyn Listener>) -> Self {
        let listener = Some(listener);
        Self { listener, ..self }
    }

    /// Runs one job and has its fate carried out.
    pub async fn process(&self, mut delivery: Delivery) {
        if delivery.is_incomplete() && !self.consumer.complete(&mut delivery).await {
            return;
        }
        let bytes = delivery.bytes().len();
        let settlement = match aside(bytes, || delivery.decode()) {
            Ok(job) => {
                delivery.drop_bytes();
                self.attempt(job, &delivery).await
            }
            Err(err) => aside(bytes, || malformed(&delivery, &err, self.consumer.now())),
        };
        match settlement {
            Settlement::Requeue => drop(delivery),
            settlement => self.consumer.settle(delivery, settlement).await,
        }
    }

    /// Decides about a delivery that was taken over from a host that died, without running it.
    pub async fn recover(&self, mut delivery: Delivery) {
        if delivery.is_incomplete() && !self.consumer.complete(&mut delivery).await {
            return;
        }
        let bytes = delivery.bytes().len();
        let settlement = match aside(bytes, || delivery.decode()) {
            Ok(job) => {
                let (id, name) = (text::name(&job.id).into_owned(), text::name(&job.name).into_owned());
                let lost = job.lost.saturating_add(1);
                let settlement = aside(bytes, || retry::settle_lost(job, self.moment()));
                let fails = matches!(settlement, Settlement::Fail { .. });
                tracing::warn!(id, name, queue = %delivery.queue(), lost, fails, "job lost its host");
                settlement
            }
            Err(err) => aside(bytes, || malformed(&delivery, &err, self.consumer.now())),
        };
        self.consumer.settle(delivery, settlement).await;
    }

    async fn attempt(&self, job: Job, delivery: &Delivery) -> Settlement {
        if let Some(until) = job.is_early(|| self.consumer.now()) {
            return retry::wait(job, until, self.consumer.now());
        }
        let context = AttemptContext {
            draining: Arc::clone(&self.draining),
            stop: delivery.stop(),
            listener: self.listener.clone(),
        };
        let queue = delivery.queue().as_str();
        let (plugin, permit) = loop {
            let plugin = match self.plugins.resolve(&job.name) {
                Resolved::Plugin(plugin) => plugin,
                Resolved::Unloadable(why) => return unloadable(job, queue, &why, self.moment()),
                Resolved::Later(why) => return self.hold(job, queue, &why),
                Resolved::Unknown => return self.unhandled(job, queue),
            };
            delivery.starts(&job);
            match self.permit(&plugin.handler, delivery, &context).await {
                Start::Now(permit) => break (plugin, permit),
                Start::Later(permit) if self.plugins.serves(&plugin, &job.name) => break (plugin, permit),
                // Another version has come meanwhile.
                Start::Later(_) => {}
                Start::Never => return self.never_started(job, &context),
            }
        };
        let run = Run {
            tag: delivery.tag(),
            queue,
            job: &job,
            plugin: plugin.id(),
            attempt: job.next_attempt(),
            max_attempts: plugin.handler.retry().attempts_of(&job),
        };
        self.events.tell(Event::Started(run));
        let attempt = plugin.handler.attempt(permit, &job, queue, &context).await;
        self.events.tell(Event::Ended { run, attempt: &attempt });
        let bytes = job.given_bytes();
        aside(bytes, || {
            retry::settle(plugin.handler.retry(), job, attempt.outcome, self.moment())
        })
    }

    /// Waits until the plugin may run once more. Meanwhile the store knows that the job has not started.
    async fn permit(&self, handler: &Handler, delivery: &Delivery, context: &AttemptContext) -> Start {
        if context.draining.is_cancelled() || context.stop.is_stopped() {
            return Start::Never;
        }
        if let Some(permit) = handler.try_permit() {
            return Start::Now(permit);
        }
        if let Err(err) = self.consumer.park(delivery).await {
            self.consumer.note(&err);
        }
        let Some(permit) = handler.permit(context).await else {
            return Start::Never;
        };
        // It starts only once the store knows, or a crash would give it back as if nothing had happened.
        match context.stop.run_until_stopped(self.unpark(delivery)).await {
            Some(true) => Start::Later(permit),
            Some(false) | None => Start::Never,
        }
    }

    /// The fate of a job that was stopped while it waited for its plugin.
    fn never_started(&self, job: Job, context: &AttemptContext) -> Settlement {
        match context.stop.close() {
            Some(StopReason::Cancelled) => retry::give_up(job, &Failure::cancelled(), self.consumer.now()),
            Some(StopReason::Host) | None => Settlement::Requeue,
        }
    }

    /// The fate of a job that nobody handles.
    fn unhandled(&self, job: Job, queue: &str) -> Settlement {
        let (id, name) = (&*text::name(&job.id), &*text::name(&job.name));
        let failure = Failure::new(FailureKind::UnknownJob, format!("no plugin handles \"{name}\""));
        match self.unknown {
            Unknown::Fail => {
                tracing::warn!(id, name, queue, "no plugin handles this job; it fails");
                retry::give_up(job, &failure, self.consumer.now())
            }
            Unknown::Hold(wait) => {
                if self.told.is_news(name) {
                    tracing::warn!(
                        id,
                        name,
                        queue,
                        "no plugin handles this job; it is held, as others of its name are"
                    );
                }
                retry::hold(job, &failure, wait, self.moment())
            }
        }
    }

    /// The fate of a job whose plugin cannot serve just now: it is put off, and nothing is counted.
    fn hold(&self, job: Job, queue: &str, why: &str) -> Settlement {
        let (id, name) = (&*text::name(&job.id), &*text::name(&job.name));
        if self.told.is_news(name) {
            tracing::warn!(id, name, queue, why, "job is held, as others of its name are");
        }
        let failure = Failure::new(FailureKind::Unloadable, why);
        retry::hold(job, &failure, HOLD_DEFAULT, self.moment())
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.consumer.now(),
            luck: fastrand::f64(),
        }
    }

    async fn unpark(&self, delivery: &Delivery) -> bool {
        loop {
            match self.consumer.unpark(delivery).await {
                Ok(ours) => return ours,
                Err(err) => self.consumer.note(&err),
            };
            self.consumer.wait_out(UNPARK_RETRY).await;
        }
    }
}

/// When a job may start, as far as its plugin's own limit goes.
enum Start {
    Now(PluginPermit),
    /// It had to wait for this.
    Later(PluginPermit),
    /// The host stops first, or the job is not ours any more.
    Never,
}

/// Names of which something was said, and when: jobs that are held come back again and again.
#[derive(Debug, Default)]
struct Told(Mutex<HashMap<String, Instant>>);

impl Told {
    /// Whether nothing was said of this name, as it is shown, within the last minute. Remembers a bounded number of names.
    fn is_news(&self, name: &str) -> bool {
        let name = &*text::name(name);
        let mut told = self.0.lock();
        if told.get(name).is_some_and(|when| when.elapsed() < TELL_AGAIN) {
            return false;
        }
        if told.len() >= MAX_TOLD {
            told.clear();
        }
        told.insert(name.to_owned(), Instant::now());
        true
    }
}

/// The fate of a job whose plugin is there and does not load. It counts as an attempt, or it would go round for ever.
fn unloadable(job: Job, queue: &str, why: &str, at: Moment) -> Settlement {
    let (id, name) = (&*text::name(&job.id), &*text::name(&job.name));
    tracing::warn!(id, name, queue, why, "job cannot run");
    let failure = Failure::new(FailureKind::Unloadable, why);
    let retry = RetryHint::ByPolicy;
    retry::settle(&RetryPolicy::default(), job, Outcome::Failed { failure, retry }, at)
}

/// The fate of bytes that are no job: a failed entry that holds them.
#[must_use]
pub fn malformed(delivery: &Delivery, err: &DecodeError, now: Timestamp) -> Settlement {
    let queue = delivery.queue().as_str();
    let bytes = delivery.pushed_bytes();
    let sha1 = delivery.sha1().map(str::to_owned);
    tracing::warn!(queue, bytes, %err, "malformed job");
    Settlement::Fail {
        entry: wrap_partial(delivery.bytes(), bytes, sha1, queue, err, now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::MAX_NAME_BYTES;

    #[test]
    fn names_of_held_jobs_are_remembered_within_bounds() {
        let told = Told::default();
        let long = "n".repeat(100_000);
        for number in 0..2 * MAX_TOLD {
            assert!(told.is_news(&format!("{number} {long}")));
        }
        assert!(!told.is_news(&format!("{} {long}", 2 * MAX_TOLD - 1)));
        let told = told.0.lock();
        assert!(told.len() <= MAX_TOLD && told.keys().all(|name| name.capacity() <= 2 * MAX_NAME_BYTES));
    }
}
