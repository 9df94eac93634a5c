//! What is counted, by queue, by plugin, by version of a plugin, and by operation of the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::exemplars::Exemplars;
use super::histogram::{Sizes, Times};
use super::sharded::Sharded;
use crate::outcome::{Attempt, Boundary, FailureKind, Fate, Outcome};

/// Every fate of a delivery, with its name. A refused settlement comes last: another host decides about that job.
pub(super) const FATES: [(Option<Fate>, &str); 7] = [
    (Some(Fate::Acked), "done"),
    (Some(Fate::Delayed), "delayed"),
    (Some(Fate::Failed), "failed"),
    (Some(Fate::Waiting), "waiting"),
    (Some(Fate::Requeued), "requeued"),
    (Some(Fate::Dropped), "dropped"),
    (None, "refused"),
];

/// Why a job ends without an attempt, as far as that is counted.
pub(super) const NOT_RUN: [FailureKind; 3] = [FailureKind::Cancelled, FailureKind::Expired, FailureKind::Duplicate];

/// What is counted of a queue's jobs beside their fates: how they came into this host's hands.
pub(super) const FETCHED: usize = 0;
pub(super) const PROMOTED: usize = 1;
pub(super) const ADOPTED: usize = 2;

/// One queue.
#[derive(Debug, Default)]
pub(super) struct QueueSeries {
    pub(super) came: Sharded<3>,
    pub(super) fates: Sharded<{ FATES.len() }>,
    pub(super) not_run: Sharded<{ NOT_RUN.len() }>,
    /// From when jobs were due until they were fetched.
    pub(super) wait: Times,
    /// From the end of an attempt until the store has taken its settlement.
    pub(super) settle: Times,
}

impl QueueSeries {
    /// Counts a job that ends without an attempt.
    pub(super) fn not_run(&self, why: FailureKind) {
        if let Some(place) = NOT_RUN.iter().position(|known| *known == why) {
            self.not_run.add(place, 1);
        }
    }

    /// Counts one delivery's fate; none: its settlement was refused.
    pub(super) fn fate(&self, fate: Option<Fate>) {
        if let Some(place) = FATES.iter().position(|(known, _)| *known == fate) {
            self.fates.add(place, 1);
        }
    }
}

/// One plugin, whatever its version.
#[derive(Debug, Default)]
pub(super) struct PluginSeries {
    pub(super) name: String,
    /// From when jobs were due until they were taken from the plugin's lane.
    pub(super) lane: Times,
    /// From fetch to the beginning of the attempt.
    pub(super) start: Times,
    pub(super) attempt: Times,
    pub(super) exemplars: Exemplars,
    pub(super) peak_memory: Sizes,
    /// Loads, and contents that do not load.
    pub(super) loads: Sharded<2>,
    /// How often an attempt met each boundary. Both kinds are names of Kiln's own, so there are only so many.
    pub(super) denials: Mutex<BTreeMap<&'static str, u64>>,
    pub(super) limit_hits: Mutex<BTreeMap<&'static str, u64>>,
    /// Since when the plugin is gone.
    pub(super) gone: Mutex<Option<Instant>>,
}

impl PluginSeries {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    /// Counts what an attempt took, and the boundaries that it met.
    pub(super) fn ended(&self, attempt: &Attempt) {
        let report = &attempt.report;
        self.attempt.time(report.duration);
        self.peak_memory.bytes(report.peak_memory_bytes);
        match report.boundary {
            Some(Boundary::Grant(capability)) => count(&self.denials, capability),
            Some(Boundary::Limit(limit)) => count(&self.limit_hits, limit),
            None => {}
        }
        let dropped = [
            ("log_lines", report.log_lines.dropped),
            ("progress_reports", report.progress_reports.dropped),
        ];
        for (limit, _) in dropped.iter().filter(|(_, dropped)| *dropped > 0) {
            count(&self.limit_hits, limit);
        }
    }
}

fn count(counts: &Mutex<BTreeMap<&'static str, u64>>, of: &'static str) {
    *counts.lock().entry(of).or_default() += 1;
}

/// Outcomes of an attempt that are no failures.
pub(super) const COMPLETED: usize = FailureKind::ALL.len();
pub(super) const STOPPED: usize = COMPLETED + 1;
/// Where processor time is summed up, in nanoseconds, beside the outcomes.
const CPU: usize = STOPPED + 1;

/// One version of a plugin, by its digest.
#[derive(Debug)]
pub(super) struct VersionSeries {
    pub(super) plugin: Arc<PluginSeries>,
    pub(super) digest: String,
    pub(super) version: String,
    numbers: Sharded<{ CPU + 1 }>,
    pub(super) aside: AtomicBool,
    /// Since when another version serves in its place, or none.
    pub(super) left: Mutex<Option<Instant>>,
}

impl VersionSeries {
    pub(super) fn new(plugin: Arc<PluginSeries>, digest: String, version: String) -> Self {
        Self {
            plugin,
            digest,
            version,
            numbers: Sharded::default(),
            aside: AtomicBool::new(false),
            left: Mutex::default(),
        }
    }

    pub(super) fn ended(&self, attempt: &Attempt) {
        let outcome = match &attempt.outcome {
            Outcome::Completed { .. } => Some(COMPLETED),
            Outcome::Stopped => Some(STOPPED),
            Outcome::Failed { failure, .. } => FailureKind::ALL.iter().position(|kind| *kind == failure.kind),
        };
        if let Some(outcome) = outcome {
            self.numbers.add(outcome, 1);
        }
        let cpu_ns = u64::try_from(attempt.report.cpu.as_nanos()).unwrap_or(u64::MAX);
        self.numbers.add(CPU, cpu_ns);
        self.plugin.ended(attempt);
    }

    /// Each outcome with its name and how often there was it.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = FailureKind::ALL.map(FailureKind::as_str).into_iter();
        let numbers = self.numbers.totals();
        names.chain(["completed", "stopped"]).zip(numbers)
    }

    /// Processor time of all attempts.
    pub(super) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.numbers.totals()[CPU])
    }
}

/// One operation of the store.
#[derive(Debug, Default)]
pub(super) struct StoreSeries {
    pub(super) took: Times,
    pub(super) errors: Sharded<1>,
}
