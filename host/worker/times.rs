//! When each job's handler was called, and when what became of it was settled: what `kiln bench` measures by.
//!
//! By the machine's clock, so that whoever pushed the job from another process can compare.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::outcome::Outcome;
use crate::sandbox::Attempt;

/// The times of settled jobs, until somebody takes them.
#[derive(Debug, Default)]
pub struct Times(Mutex<Vec<JobTimes>>);

/// The times of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobTimes {
    /// The job's id.
    pub id: String,
    /// When its handler was called, in nanoseconds since the Unix epoch; where it never was, when that was begun.
    pub started_ns: u64,
    /// When the store had taken what became of it.
    pub settled_ns: u64,
    /// Whether the handler completed the job.
    pub completed: bool,
}

impl Times {
    /// Takes what was written down since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<JobTimes> {
        mem::take(&mut self.lock())
    }

    /// What writes an attempt down once it is settled, which began at that time.
    pub(super) fn of(self: &Arc<Self>, id: &str, began_ns: u64, attempt: &Attempt) -> impl FnOnce() + use<> {
        let instantiate = attempt.report.instantiate.unwrap_or_default();
        let (times, id) = (Arc::clone(self), id.to_owned());
        let started_ns = began_ns + u64::try_from(instantiate.as_nanos()).unwrap_or(0);
        let completed = matches!(attempt.outcome, Outcome::Completed { .. });
        move || {
            let settled_ns = unix_ns();
            times.lock().push(JobTimes {
                id,
                started_ns,
                settled_ns,
                completed,
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<JobTimes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Now, in nanoseconds since the Unix epoch.
pub(crate) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
