//! Writes down when each job's handler was called and when the job was settled, by the events of the measured worker.
//!
//! Uses the machine's clock, so that another process, which pushed the job, can compare.

use std::collections::HashMap;
use std::mem;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::events::{Event, Subscriber};
use crate::outcome::{Attempt, Fate, Outcome};

/// The times of settled jobs, until somebody takes them.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// Times of attempts that are over and not yet settled, by the tags of their deliveries.
    unsettled: Mutex<HashMap<u64, JobTimes>>,
    settled: Mutex<Vec<JobTimes>>,
}

/// The times of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobTimes {
    /// The job's id; a dash where no handler was called.
    pub(crate) id: String,
    /// When the job's handler was called, in nanoseconds since the Unix epoch. Where it never was: when the job was
    /// settled.
    pub(crate) started_ns: u64,
    /// When the handler had answered, or the attempt had ended otherwise, in the same unit.
    pub(crate) answered_ns: u64,
    /// When the store had the settlement, in the same unit.
    pub(crate) settled_ns: u64,
    /// Whether the handler completed the job.
    pub(crate) completed: bool,
    /// Whether its instance was made before there was the job.
    pub(crate) made_ahead: bool,
}

impl Times {
    /// Takes what was written down since the last time.
    pub(crate) fn take(&self) -> Vec<JobTimes> {
        mem::take(&mut self.settled.lock())
    }
}

impl Subscriber for Times {
    fn on(&self, event: &Event<'_>) {
        match event {
            Event::Ended { run, attempt } => {
                let times = JobTimes::of(&run.job.id, attempt, unix_ns());
                self.unsettled.lock().insert(run.tag, times);
            }
            Event::Settled { settled, .. } => {
                let now_ns = unix_ns();
                let mut unsettled = self.unsettled.lock();
                // A waiting job is not over: it comes back under another tag.
                let over = settled.iter().filter(|(_, fate)| *fate != Fate::Waiting);
                let times = over.map(|(tag, _)| {
                    let times = unsettled.remove(tag).unwrap_or_else(|| JobTimes::of_none(now_ns));
                    JobTimes {
                        settled_ns: now_ns,
                        ..times
                    }
                });
                self.settled.lock().extend(times);
            }
            _ => {}
        }
    }
}

impl JobTimes {
    /// The times of a job whose attempt ended at `ended_ns`.
    fn of(id: &str, attempt: &Attempt, ended_ns: u64) -> Self {
        let report = &attempt.report;
        let called = report.duration.saturating_sub(report.instantiate.unwrap_or_default());
        Self {
            id: id.to_owned(),
            started_ns: ended_ns - u64::try_from(called.as_nanos()).unwrap_or(0),
            answered_ns: ended_ns,
            settled_ns: 0,
            completed: matches!(attempt.outcome, Outcome::Completed { .. }),
            made_ahead: report.made_ahead,
        }
    }

    /// The times of a job for which no handler was called.
    fn of_none(settled_ns: u64) -> Self {
        Self {
            id: "-".to_owned(),
            started_ns: settled_ns,
            answered_ns: settled_ns,
            settled_ns,
            completed: false,
            made_ahead: false,
        }
    }
}

/// Now, in nanoseconds since the Unix epoch.
pub(crate) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
