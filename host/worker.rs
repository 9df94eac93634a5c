//! The line of one job: decode, resolve, run, decide, settle.
//!
//! Knows nothing about Redis keys or Wasm engines, and starts nothing: `service` calls it once for each delivery, on the
//! thread on which the handler then runs.
//!
#![doc = include_str!("../docs/performance.md")]

mod times;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::aside::aside;
use crate::config::{HOLD_DEFAULT, RetryPolicy, Unknown};
use crate::job::{DecodeError, Job, wrap_partial};
use crate::outcome::{Attempt, Failure, FailureKind, Outcome, RetryHint, Settlement};
use crate::plugins::{Plugin, Plugins, Resolved};
use crate::queue::{Consumer, Delivery};
use crate::retry::{self, Moment};
use crate::sandbox::{AttemptContext, Handler, Listener, PluginPermit};
use crate::stop::StopReason;
use crate::text;

pub(crate) use times::unix_ns;
pub use times::{JobTimes, Times};

/// Wait before the store is told again that a job starts, while it cannot be told.
const UNPARK_RETRY: Duration = Duration::from_millis(500);

/// How often it is said that jobs of a name are held.
const TELL_AGAIN: Duration = Duration::from_mins(1);

/// Names of held jobs that are remembered; they come from producers, in any number.
const MAX_TOLD: usize = 1_000;

/// Bytes of a backtrace, and of each of standard output and error, that are logged with a failed attempt.
const MAX_LOGGED_BYTES: usize = 512;

/// Frames of a backtrace that are logged.
const MAX_LOGGED_FRAMES: usize = 4;

/// Runs deliveries.
#[derive(Debug)]
pub struct Worker {
    consumer: Arc<Consumer>,
    plugins: Arc<Plugins>,
    unknown: Unknown,
    told: Told,
    draining: Arc<CancellationToken>,
    listener: Option<Arc<dyn Listener>>,
    times: Option<Arc<Times>>,
}

impl Worker {
    /// A worker that settles through `consumer`, runs what `plugins` hold and starts nothing once it is `draining`.
    #[must_use]
    pub fn new(consumer: Arc<Consumer>, plugins: Arc<Plugins>, unknown: Unknown, draining: CancellationToken) -> Self {
        Self {
            consumer,
            plugins,
            unknown,
            told: Told::default(),
            draining: Arc::new(draining),
            listener: None,
            times: None,
        }
    }

    /// Has a listener hear what handlers say while they run.
    #[must_use]
    pub fn with_listener(self, listener: Arc<dyn Listener>) -> Self {
        let listener = Some(listener);
        Self { listener, ..self }
    }

    /// Has the times of jobs written down, if somebody wants them.
    #[must_use]
    pub fn with_times(self, times: Option<Arc<Times>>) -> Self {
        Self { times, ..self }
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
                let mut times = self.times.as_ref().map(|_| JobTimes::begin(&job.id));
                let settlement = self.attempt(job, &delivery, times.as_mut()).await;
                if let Some((all, times)) = self.times.as_ref().zip(times) {
                    delivery.when_settled(all.of(times));
                }
                settlement
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

    async fn attempt(&self, job: Job, delivery: &Delivery, times: Option<&mut JobTimes>) -> Settlement {
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
        let running = plugin.start();
        let began_ns = if times.is_some() { unix_ns() } else { 0 };
        let attempt = plugin.handler.attempt(permit, &job, queue, &context).await;
        drop(running);
        if let Some(times) = times {
            times.ran(began_ns, &attempt);
        }
        log_attempt(&job, queue, &plugin, &attempt);
        self.plugins.note(&plugin, &attempt);
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

/// What a producer or a guest wrote is logged as a value, never as text: quoted, no line can be forged with it.
fn log_attempt(job: &Job, queue: &str, plugin: &Plugin, attempt: &Attempt) {
    let (id, name) = (&*text::name(&job.id), &*text::name(&job.name));
    let attempts = plugin.handler.retry().attempts_of(job);
    let (plugin, digest) = (plugin.handler.name(), plugin.handler.short_digest());
    let number = job.next_attempt();
    let report = &attempt.report;
    let duration_ms = (report.duration.as_secs_f64() * 1e4).round() / 10.0;
    let peak_memory_bytes = report.peak_memory_bytes;
    match &attempt.outcome {
        Outcome::Completed { .. } => {
            tracing::debug!(id, name, queue, plugin, %digest, attempt = number, duration_ms, peak_memory_bytes, "job completed");
            let (stdout, stderr) = (report.stdout.text.trim_end(), report.stderr.text.trim_end());
            if !(stdout.is_empty() && stderr.is_empty()) {
                // Of one that failed, they are in its failed entry.
                tracing::debug!(target: "guest", id, name, queue, plugin, %digest, stdout, stderr, "output");
            }
        }
        Outcome::Stopped => {
            tracing::info!(id, name, queue, plugin, %digest, attempt = number, duration_ms, "attempt stopped; the job goes back, unless another host has it");
        }
        Outcome::Failed { failure, retry } => {
            let (kind, why, cpu_ms) = (failure.kind, failure.message.as_str(), failure.cpu_ms);
            let counts = !matches!(retry, RetryHint::NotBeforeUncounted(_));
            let backtrace = failure.backtrace.as_deref().map(log_frames);
            let (stdout, stderr) = (
                failure.stdout.as_deref().map(log_tail),
                failure.stderr.as_deref().map(log_tail),
            );
            macro_rules! event {
                ($level:ident, $fate:literal) => {
                    tracing::$level!(id, name, queue, plugin, %digest, %kind, attempt = number, duration_ms, cpu_ms, peak_memory_bytes, why, backtrace, stdout, stderr, $fate)
                };
            }
            if *retry == RetryHint::Never || (counts && number >= attempts) {
                event!(warn, "job failed");
            } else {
                event!(info, "attempt failed; the job will be retried");
            }
        }
    }
}

/// The innermost frames, without their places in the file, short enough for a line of a log; the failed entry has more.
fn log_frames(backtrace: &str) -> String {
    let frames = backtrace.lines().take(MAX_LOGGED_FRAMES).map(|frame| {
        let frame = frame.rsplit(" - ").next().unwrap_or(frame).trim();
        &frame[..frame.floor_char_boundary(MAX_LOGGED_BYTES / MAX_LOGGED_FRAMES)]
    });
    frames.collect::<Vec<_>>().join(" < ")
}

/// The end of a guest's words, short enough for a line of a log; the failed entry has more.
fn log_tail(text: &str) -> &str {
    let text = text.trim_end();
    &text[text.ceil_char_boundary(text.len().saturating_sub(MAX_LOGGED_BYTES))..]
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
