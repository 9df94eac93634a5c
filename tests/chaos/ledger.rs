//! The books: which jobs were pushed, and how often a worker said that it completed one.
//!
//! They are kept from what Redis answered to the producers and from the workers' logs. Nothing of Kiln's own has a part
//! in them.

use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::handler::Handler;

/// One job, from its producer's side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) handler: Handler,
    /// Redis has answered: from here on it may not get lost. Until then it may or may not exist.
    pub(crate) pushed: bool,
    /// How often a worker's log said that it completed.
    pub(crate) completions: usize,
}

/// All jobs, by number.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Mutex<Vec<Entry>>,
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

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id that a job goes by.
pub(crate) fn id(number: usize) -> String {
    format!("job-{number}")
}

/// The number of a job by its id.
pub(crate) fn number(id: &str) -> Option<usize> {
    id.strip_prefix("job-")?.parse().ok()
}
