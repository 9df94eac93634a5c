//! Logs one line for each event that an operator may have to know of.
//!
//! Whatever a producer or a guest wrote is logged as a quoted value, so that it cannot forge a line of the log.

use std::time::Duration;

use tracing::{Level, enabled};

use crate::events::{Event, LeaseLoss, LoadedPlugin, Pausable, Run, Subscriber};
use crate::outcome::{Attempt, Failure, Outcome, RetryHint};
use crate::text::{self, MAX_LINE_BYTES};

/// Bytes of a backtrace, and of each of standard output and error, that are logged with a failed attempt.
const MAX_LOGGED_BYTES: usize = 512;

/// Frames of a backtrace that are logged.
const MAX_LOGGED_FRAMES: usize = 4;

/// Writes events to the log.
#[derive(Debug, Default)]
pub struct Log;

impl Subscriber for Log {
    fn on(&self, event: &Event<'_>) {
        match *event {
            Event::Ended { run, attempt } => log_attempt(&run, attempt),
            Event::NotRun {
                queue,
                job,
                why,
                duplicate_of,
            } => {
                let (id, name, trace_id) = (&*text::name(&job.id), &*text::name(&job.name), job.trace_id());
                let duplicate_of = duplicate_of.map(text::name);
                let duplicate_of = duplicate_of.as_deref();
                tracing::info!(id, name, queue, trace_id, duplicate_of, "job is {why}; it does not run");
            }
            Event::Settled {
                queue,
                settled,
                refused,
                again,
            } => {
                if again {
                    let jobs = settled.len() + refused.len();
                    tracing::info!(queue, jobs, "settlements delivered after a failure of the store");
                } else if !refused.is_empty() {
                    let jobs = refused.len();
                    tracing::warn!(
                        queue,
                        jobs,
                        "settlements refused: these jobs were no longer this host's"
                    );
                }
            }
            Event::Adopted { queue, host, jobs } => {
                tracing::warn!(
                    host = &*text::name(host),
                    queue,
                    jobs,
                    "took over from a host that died"
                );
            }
            Event::LeaseLost { queues, loss } => log_lease_lost(&queues.join(","), loss),
            Event::Paused { what, by, reason } => log_pause(what, by, reason),
            Event::Resumed { what } => log_resumed(what),
            Event::StoreAway { why } => {
                tracing::error!(err = why, "the store cannot be used; attempts go on, settlements wait");
            }
            Event::StoreBack { after } => {
                tracing::info!(outage_ms = millis(after), "the store can be used again");
            }
            Event::PluginLoaded(loaded) => log_loaded(&loaded),
            Event::PluginRefused { name, why, in_service } => {
                tracing::error!(plugin = name, in_service, "plugin does not load: {why}");
            }
            Event::PluginSetAside { plugin, why, instead } => {
                let (plugin, digest) = (plugin.name, plugin.digest);
                tracing::error!(plugin, %digest, instead, why, "plugin set aside; kiln plugins release brings it back");
            }
            Event::PluginReleased { name } => tracing::info!(plugin = name, "plugin released; it serves again"),
            Event::PluginRemoved { name } => tracing::info!(plugin = name, "plugin removed"),
            Event::Started(run) => {
                let (queue, plugin) = (run.queue, run.plugin.name);
                tracing::trace!(
                    id = &*text::name(&run.job.id),
                    name = &*text::name(&run.job.name),
                    queue,
                    plugin,
                    attempt = run.attempt,
                    "attempt starts"
                );
            }
            Event::Fired {
                schedule,
                queue,
                jobs,
                instant,
                late,
                skipped,
            } => {
                let late_ms = millis(late);
                if skipped > 0 {
                    tracing::warn!(schedule, queue, skipped, %instant, "schedule skipped: the job of an earlier time has not ended");
                }
                if jobs == 0 {
                    return;
                }
                tracing::info!(schedule, queue, jobs, %instant, late_ms, "schedule fired");
            }
            Event::Fetched { .. } | Event::Promoted { .. } | Event::StoreAsked { .. } => {}
        }
    }
}

fn log_pause(what: Pausable<'_>, by: &str, reason: &str) {
    let (by, reason) = (&*text::name(by), &*text::line(reason, MAX_LINE_BYTES));
    match what {
        Pausable::Queue(queue) => tracing::warn!(queue, by, reason, "queue paused; kiln resume brings it back"),
        Pausable::Job(name) => {
            let name = &*text::name(name);
            tracing::warn!(
                name,
                by,
                reason,
                "jobs of this name paused; kiln resume --job brings them back"
            );
        }
    }
}

fn log_resumed(what: Pausable<'_>) {
    match what {
        Pausable::Queue(queue) => tracing::info!(queue, "queue resumed"),
        Pausable::Job(name) => tracing::info!(name = &*text::name(name), "jobs of this name resumed"),
    }
}

fn log_lease_lost(queues: &str, loss: LeaseLoss) {
    match loss {
        LeaseLoss::NotRenewed => {
            tracing::error!(queues, "the lease could not be put off; stopping the attempts under it");
        }
        LeaseLoss::RanOut => tracing::error!(
            queues,
            "the lease had run out: other hosts may have taken over its jobs; stopped their attempts here"
        ),
    }
}

fn log_loaded(loaded: &LoadedPlugin<'_>) {
    let (plugin, digest, version) = (loaded.plugin.name, loaded.plugin.digest, loaded.version);
    let (jobs, bytes, replaced) = (text::list(loaded.jobs, ","), loaded.bytes, loaded.replaced);
    let duration_ms = millis(loaded.took);
    tracing::info!(plugin, %digest, version, %jobs, bytes, duration_ms, replaced, "plugin loaded");
}

fn log_attempt(run: &Run<'_>, attempt: &Attempt) {
    let report = &attempt.report;
    match &attempt.outcome {
        Outcome::Completed { .. } => log_completed(run, attempt),
        Outcome::Stopped => {
            let (id, name) = (&*text::name(&run.job.id), &*text::name(&run.job.name));
            let (plugin, digest, duration_ms) = (run.plugin.name, run.plugin.digest, millis(report.duration));
            let trace_id = run.job.trace_id();
            tracing::info!(id, name, queue = run.queue, trace_id, plugin, %digest, attempt = run.attempt, duration_ms, "attempt stopped; the job goes back, unless another host has it");
        }
        Outcome::Failed { failure, retry } => log_failed(run, attempt, failure, *retry),
    }
}

fn log_completed(run: &Run<'_>, attempt: &Attempt) {
    // Most jobs end here, and most logs leave this line out: then it should cost nothing.
    if !(enabled!(Level::DEBUG) || enabled!(target: "guest", Level::DEBUG)) {
        return;
    }
    let (id, name) = (&*text::name(&run.job.id), &*text::name(&run.job.name));
    let (queue, plugin, digest) = (run.queue, run.plugin.name, run.plugin.digest);
    let (report, trace_id) = (&attempt.report, run.job.trace_id());
    let (duration_ms, peak_memory_bytes) = (millis(report.duration), report.peak_memory_bytes);
    tracing::debug!(id, name, queue, trace_id, plugin, %digest, attempt = run.attempt, duration_ms, peak_memory_bytes, "job completed");
    let (stdout, stderr) = (report.stdout.text.trim_end(), report.stderr.text.trim_end());
    if !(stdout.is_empty() && stderr.is_empty()) {
        // The output of a failed attempt is in its failed entry.
        tracing::debug!(target: "guest", id, name, queue, trace_id, plugin, %digest, stdout, stderr, "output");
    }
}

fn log_failed(run: &Run<'_>, attempt: &Attempt, failure: &Failure, retry: RetryHint) {
    let (id, name) = (&*text::name(&run.job.id), &*text::name(&run.job.name));
    let (queue, plugin, digest) = (run.queue, run.plugin.name, run.plugin.digest);
    let (duration_ms, peak_memory_bytes) = (millis(attempt.report.duration), attempt.report.peak_memory_bytes);
    let (kind, why, cpu_ms) = (failure.kind, failure.message.as_str(), failure.cpu_ms);
    let trace_id = run.job.trace_id();
    let counts = !matches!(retry, RetryHint::NotBeforeUncounted(_));
    let backtrace = failure.backtrace.as_deref().map(frames);
    let (stdout, stderr) = (failure.stdout.as_deref().map(tail), failure.stderr.as_deref().map(tail));
    macro_rules! event {
        ($level:ident, $fate:literal) => {
            tracing::$level!(id, name, queue, trace_id, plugin, %digest, %kind, attempt = run.attempt, duration_ms, cpu_ms, peak_memory_bytes, why, backtrace, stdout, stderr, $fate)
        };
    }
    if retry == RetryHint::Never || (counts && run.attempt >= run.max_attempts) {
        event!(warn, "job failed");
    } else {
        event!(info, "attempt failed; the job will be retried");
    }
}

/// The innermost frames, without file positions, short enough for a log line. The failed entry has more.
fn frames(backtrace: &str) -> String {
    let frames = backtrace.lines().take(MAX_LOGGED_FRAMES).map(|frame| {
        let frame = frame.rsplit(" - ").next().unwrap_or(frame).trim();
        &frame[..frame.floor_char_boundary(MAX_LOGGED_BYTES / MAX_LOGGED_FRAMES)]
    });
    frames.collect::<Vec<_>>().join(" < ")
}

/// The end of a guest's output, short enough for a log line. The failed entry has more.
fn tail(text: &str) -> &str {
    let text = text.trim_end();
    &text[text.ceil_char_boundary(text.len().saturating_sub(MAX_LOGGED_BYTES))..]
}

fn millis(time: Duration) -> f64 {
    tenths(time.as_secs_f64() * 1e3)
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
