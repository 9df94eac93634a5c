//! What is kept of each attempt, as the host's settings and its plugin's manifest say.

use std::sync::Arc;

use jiff::Timestamp;

use super::live::{AttemptLog, Lines, Live};
use crate::config::{HistorySettings, KeepAttempts, KeepLogs};
use crate::job::Job;
use crate::outcome::{Attempt, AttemptRecord, Failure, MAX_OUTPUT_KEPT_BYTES, Outcome, Output, Said, Settlement};
use crate::plugins::Plugin;
use crate::queue::{Delivery, cancellable};
use crate::sandbox::Listener;
use crate::stop::StopToken;
use crate::text::{self, MAX_LINE_BYTES};

/// Keeps what attempts came to.
#[derive(Debug)]
pub(super) struct History {
    settings: HistorySettings,
    host: String,
    live: Arc<Live>,
}

impl History {
    pub(super) fn new(settings: HistorySettings, host: &str) -> Self {
        Self {
            settings,
            host: host.to_owned(),
            live: Arc::new(Live::new(host)),
        }
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Hears what the handler of an attempt says, and passes it on.
    pub(super) fn listen(
        &self,
        plugin: &Plugin,
        stop: &Arc<StopToken>,
        next: Option<Arc<dyn Listener>>,
    ) -> Arc<AttemptLog> {
        let logs = self.logs_of(plugin);
        let lines = Lines {
            kept: logs != KeepLogs::Off,
            told: logs == KeepLogs::All,
        };
        AttemptLog::new(&self.live, stop, lines, next)
    }

    /// What to keep of an attempt that is over; none: nothing.
    pub(super) fn of_attempt(
        &self,
        plugin: &Plugin,
        job: &Job,
        delivery: &Delivery,
        attempt: &Attempt,
        said: Said,
        now: impl FnOnce() -> Timestamp,
    ) -> Option<Kept> {
        let failure = match &attempt.outcome {
            Outcome::Completed { .. } => None,
            Outcome::Failed { failure, .. } => Some(failure),
            // It is made again, here or elsewhere.
            Outcome::Stopped => return None,
        };
        let said = self.said(plugin, failure.is_some(), attempt, said);
        let keeps = self.settings.attempts.keeps(&job.id, failure.is_some());
        if !(keeps || said.is_some()) || cancellable(&job.id).is_err() {
            return None;
        }
        let (report, id, now) = (&attempt.report, plugin.id(), now());
        let record = AttemptRecord {
            attempt: job.next_attempt(),
            started_ms: now.checked_sub(report.duration).ok().map(Timestamp::as_millisecond),
            plugin: id.name.to_owned(),
            version: plugin.version().map(str::to_owned),
            digest: id.digest.to_owned(),
            cpu_us: u64::try_from(report.cpu.as_micros()).unwrap_or(u64::MAX),
            peak_memory_bytes: report.peak_memory_bytes,
            progress_percent: report.progress_percent,
            said,
            ..self.record(job, delivery, failure, now)
        };
        Some(Kept {
            id: job.id.clone(),
            record,
        })
    }

    /// What to keep of a job about which was decided without an attempt; none: nothing.
    pub(super) fn of_none(&self, job: &Job, delivery: &Delivery, failure: &Failure, now: Timestamp) -> Option<Kept> {
        let keeps = self.settings.attempts.keeps(&job.id, true) && cancellable(&job.id).is_ok();
        keeps.then(|| Kept {
            id: job.id.clone(),
            record: self.record(job, delivery, Some(failure), now),
        })
    }

    fn record(&self, job: &Job, delivery: &Delivery, failure: Option<&Failure>, now: Timestamp) -> AttemptRecord {
        let fetched = now.checked_sub(delivery.fetched().elapsed()).unwrap_or(now);
        AttemptRecord {
            due_ms: job.available_at().map(Timestamp::as_millisecond),
            fetched_ms: fetched.as_millisecond(),
            ended_ms: now.as_millisecond(),
            host: self.host.clone(),
            failure: failure.map(|failure| failure.kind),
            message: failure
                .map(|failure| text::message(&failure.message, MAX_LINE_BYTES).into_owned())
                .unwrap_or_default(),
            ..AttemptRecord::default()
        }
    }

    fn logs_of(&self, plugin: &Plugin) -> KeepLogs {
        match self.settings.attempts {
            KeepAttempts::Off => KeepLogs::Off,
            _ => plugin.handler.logs().unwrap_or(self.settings.logs),
        }
    }

    /// What the handler said, if that is kept and is anything.
    fn said(&self, plugin: &Plugin, failed: bool, attempt: &Attempt, mut said: Said) -> Option<Said> {
        if !self.logs_of(plugin).keeps(failed) {
            return None;
        }
        said.stdout = tail(&attempt.report.stdout);
        said.stderr = tail(&attempt.report.stderr);
        (!said.is_empty()).then_some(said)
    }
}

/// What is to be kept of an attempt, once it is known what becomes of its job.
pub(super) struct Kept {
    id: String,
    record: AttemptRecord,
}

impl Kept {
    /// The job's id, and what is kept.
    pub(super) fn into_parts(self) -> (String, String) {
        (self.id, self.record.encode())
    }
}

/// Hands it over to be kept beside the settlement.
pub(super) fn keep(delivery: &mut Delivery, kept: Option<Kept>, settlement: &Settlement) {
    let Some(Kept { id, mut record }) = kept else { return };
    if let Settlement::Retry { wait, .. } = settlement {
        record.again_in_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    }
    delivery.record(&id, record.encode());
}

/// The last of an output.
fn tail(output: &Output) -> String {
    let text = &output.text;
    let from = text.ceil_char_boundary(text.len().saturating_sub(MAX_OUTPUT_KEPT_BYTES));
    text[from..].to_owned()
}
