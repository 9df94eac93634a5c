//! When each job's handler was called, and when what became of it was settled: what `kiln bench` measures by.
//!
//! By the machine's clock, so that whoever pushed the job from another process can compare.

use std::mem;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::outcome::{Attempt, Outcome};
use parking_lot::{Mutex, MutexGuard};

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

    /// What writes these down once the job is settled.
    pub(super) fn of(self: &Arc<Self>, mut times: JobTimes) -> impl FnOnce() + use<> {
        let all = Arc::clone(self);
        move || {
            times.settled_ns = unix_ns();
            all.lock().push(times);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<JobTimes>> {
        self.0.lock()
    }
}

impl JobTimes {
    /// Those of a job that is begun now, and has not been run yet.
    pub(super) fn begin(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            started_ns: unix_ns(),
            settled_ns: 0,
            completed: false,
        }
    }

    /// What an attempt came to that was started at that time.
    pub(super) fn ran(&mut self, began_ns: u64, attempt: &Attempt) {
        let instantiate = attempt.report.instantiate.unwrap_or_default();
        self.started_ns = began_ns + u64::try_from(instantiate.as_nanos()).unwrap_or(0);
        self.completed = matches!(attempt.outcome, Outcome::Completed { .. });
    }
}

/// Now, in nanoseconds since the Unix epoch.
pub(crate) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
