//! What happened, and how often.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    events: BTreeMap<&'static str, u64>,
    longest_recovery: Duration,
}

impl Tally {
    pub(crate) fn count(&self, what: &'static str) {
        *self.lock().events.entry(what).or_default() += 1;
    }

    pub(crate) fn recovered(&self, after: Duration) {
        let mut counts = self.lock();
        counts.longest_recovery = counts.longest_recovery.max(after);
    }

    pub(crate) fn longest_recovery(&self) -> Duration {
        self.lock().longest_recovery
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.lock();
        for (what, times) in &counts.events {
            writeln!(f, "  {what:<26}{times:>9}")?;
        }
        let longest = counts.longest_recovery.as_millis();
        writeln!(f, "  {:<26}{longest:>9}", "longest recovery, ms")
    }
}
