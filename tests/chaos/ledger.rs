//! The books: which jobs were pushed, and how often a worker said that it completed one.
//!
//! They are kept from what Redis answered to the producers and from the workers' logs. Nothing of Kiln's own has a part
//! in them.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::handler::Handler;

/// One job, from its producer's side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) handler: Handler,
    /// Redis has answered: from here on it may not get lost. Until then it may or may not exist.
    pub(crate) pushed: bool,
    /// How often a worker's log said that it completed.
    pub(crate) completions: usize,
    /// From when on it is cancelled, in Unix seconds: by then the command had ended. Infinity: nobody can tell whether the
    /// command succeeded, or it has not ended.
    pub(crate) cancelled: Option<f64>,
    /// When the last attempt began that a worker's log speaks of, in Unix seconds.
    pub(crate) last_start: Option<f64>,
}

/// All jobs, by number.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Mutex<Vec<Entry>>,
    /// How often a job of each instant of the schedule came to an end.
    ticks: Mutex<BTreeMap<i64, usize>>,
    /// Jobs that workers said they took from others or put back: each may be done once more.
    pub(crate) moved: AtomicUsize,
}

impl Ledger {
    /// Opens an entry for a job that is about to be pushed.
    pub(crate) fn open(&self, handler: Handler) -> usize {
        let mut entries = self.lock();
        entries.push(Entry {
            handler,
            pushed: false,
            completions: 0,
            cancelled: None,
            last_start: None,
        });
        entries.len() - 1
    }

    pub(crate) fn pushed(&self, numbers: &[usize]) {
        let mut entries = self.lock();
        for number in numbers {
            entries[*number].pushed = true;
        }
    }

    /// Notes a completion, if there is such a job.
    pub(crate) fn completed(&self, id: &str) -> Option<()> {
        let number = number(id)?;
        self.lock().get_mut(number)?.completions += 1;
        Some(())
    }

    /// Notes that a job of an instant of the schedule has come to an end.
    pub(crate) fn ticked(&self, instant: i64) {
        *self.lock_ticks().entry(instant).or_default() += 1;
    }

    /// The instants whose jobs have, and how often.
    pub(crate) fn ticks(&self) -> BTreeMap<i64, usize> {
        self.lock_ticks().clone()
    }

    fn lock_ticks(&self) -> MutexGuard<'_, BTreeMap<i64, usize>> {
        self.ticks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that jobs are cancelled, from this time on.
    pub(crate) fn is_cancelled(&self, numbers: &[usize], from: f64) {
        let mut entries = self.lock();
        for number in numbers {
            let known = entries[*number].cancelled.unwrap_or(f64::INFINITY);
            entries[*number].cancelled = Some(known.min(from));
        }
    }

    /// Notes when an attempt began, if there is such a job.
    pub(crate) fn started(&self, id: &str, at: f64) {
        let mut entries = self.lock();
        if let Some(entry) = number(id).and_then(|number| entries.get_mut(number)) {
            entry.last_start = Some(entry.last_start.map_or(at, |last| last.max(at)));
        }
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time, in Unix seconds.
pub(crate) fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// The id that a job goes by.
pub(crate) fn id(number: usize) -> String {
    format!("job-{number}")
}

/// The id of the job that comes after one in its chain.
pub(crate) fn next_id(number: usize) -> String {
    format!("next-{number}")
}

/// The number of the job that one comes after, by its id.
pub(crate) fn number_before(id: &str) -> Option<usize> {
    id.strip_prefix("next-")?.parse().ok()
}

/// The number of a job by its id.
pub(crate) fn number(id: &str) -> Option<usize> {
    id.strip_prefix("job-")?.parse().ok()
}
