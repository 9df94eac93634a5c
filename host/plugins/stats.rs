//! What became of the attempts of one version of a plugin.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use std::time::Instant;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use super::quarantine::Window;
use crate::config::Quarantine;
use crate::outcome::{Attempt, Failure, FailureKind, Outcome};

/// Counts, since the version was loaded.
#[derive(Debug, Default)]
pub(super) struct Stats {
    attempts: AtomicU64,
    in_flight: AtomicU64,
    failures: [AtomicU64; FailureKind::ALL.len()],
    peak_memory_bytes: AtomicU64,
    longest_ms: AtomicU64,
    last: Mutex<Option<LastError>>,
    window: Mutex<Window>,
}

/// The last failed attempt of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When it ended, RFC 3339.
    pub at: String,
    /// Its kind and its message.
    pub error: String,
}

impl Stats {
    /// Counts an attempt as under way.
    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what an attempt came to and took, which is no longer under way.
    pub(super) fn end(&self, attempt: &Attempt) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        raise(&self.peak_memory_bytes, attempt.report.peak_memory_bytes);
        let ms = u64::try_from(attempt.report.duration.as_millis()).unwrap_or(u64::MAX);
        raise(&self.longest_ms, ms);
        self.count(&attempt.outcome);
    }

    /// Counts an outcome, unless the host stopped or failed the attempt: that says nothing about the handler.
    fn count(&self, outcome: &Outcome) {
        if is_of_the_host(outcome) {
            return;
        }
        self.attempts.fetch_add(1, Ordering::Relaxed);
        if let Outcome::Failed { failure, .. } = outcome {
            self.failed(failure);
        }
    }

    fn failed(&self, failure: &Failure) {
        if let Some(place) = FailureKind::ALL.iter().position(|kind| *kind == failure.kind) {
            self.failures[place].fetch_add(1, Ordering::Relaxed);
        }
        *locked(&self.last) = Some(LastError {
            at: Timestamp::now().to_string(),
            error: failure.to_string(),
        });
    }

    /// Counts an attempt towards quarantine. Leaves out attempts that the host failed or that their job alone ended,
    /// since no producer may have a plugin set aside. Returns why the version is to be set aside, if it is.
    pub(super) fn judge(&self, rule: &Quarantine, attempt: &Attempt) -> Option<String> {
        let outcome = &attempt.outcome;
        if is_of_the_host(outcome) || attempt.report.caused_by_job {
            return None;
        }
        let fault = matches!(outcome, Outcome::Failed { failure, .. } if is_fault(failure.kind));
        locked(&self.window).count(rule, fault, Instant::now())
    }

    /// Forgets what was counted towards quarantine.
    pub(super) fn absolve(&self) {
        *locked(&self.window) = Window::default();
    }

    pub(super) fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The most memory that an attempt has had.
    pub(super) fn peak_memory_bytes(&self) -> u64 {
        self.peak_memory_bytes.load(Ordering::Relaxed)
    }

    /// How long the longest attempt took, in milliseconds.
    pub(super) fn longest_ms(&self) -> u64 {
        self.longest_ms.load(Ordering::Relaxed)
    }

    /// Failed attempts by kind, those kinds only that there were.
    pub(super) fn failures(&self) -> BTreeMap<FailureKind, u64> {
        let counted = FailureKind::ALL.iter().zip(&self.failures);
        let counted = counted.map(|(kind, count)| (*kind, count.load(Ordering::Relaxed)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    pub(super) fn last(&self) -> Option<LastError> {
        locked(&self.last).clone()
    }
}

/// Raises a number that is nearly always as high already.
fn raise(number: &AtomicU64, to: u64) {
    if to > number.load(Ordering::Relaxed) {
        number.fetch_max(to, Ordering::Relaxed);
    }
}

/// Whether the host or an operator ended the attempt.
fn is_of_the_host(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Stopped => true,
        Outcome::Completed { .. } => false,
        Outcome::Failed { failure, .. } => matches!(failure.kind, FailureKind::Internal | FailureKind::Cancelled),
    }
}

/// Whether a failure speaks against the version. One that the handler itself reports does not.
fn is_fault(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::Trap | FailureKind::Timeout | FailureKind::Memory)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Report, RetryHint};
    use std::time::Duration;

    #[test]
    fn what_the_host_or_an_operator_ends_is_not_counted_against_the_plugin() {
        let stats = Stats::default();
        let rule = Quarantine {
            share: 0.0,
            window: Duration::from_mins(1),
            least_attempts: 1,
        };
        let failed = |kind| Attempt {
            outcome: Outcome::Failed {
                failure: Failure::new(kind, "no"),
                retry: RetryHint::ByPolicy,
            },
            asked: crate::outcome::Asked::default(),
            report: Report::default(),
        };
        for kind in [FailureKind::Internal, FailureKind::Cancelled] {
            let attempt = failed(kind);
            stats.count(&attempt.outcome);
            assert_eq!((stats.judge(&rule, &attempt), stats.attempts()), (None, 0), "{kind}");
        }
        assert!(stats.last().is_none());
        let trap = failed(FailureKind::Trap);
        stats.count(&trap.outcome);
        assert!(stats.judge(&rule, &trap).is_some());
        assert_eq!(stats.attempts(), 1);
    }
}
