//! The deliveries that this process holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::stop::StopToken;

/// The deliveries that this process holds, by tag, each with the token that stops it.
#[derive(Debug, Default)]
pub(super) struct HeldTags {
    tags: Mutex<HashMap<u64, Arc<StopToken>>>,
    /// Some deliveries were dropped unsettled: the store still has them in the table.
    dropped: AtomicBool,
}

impl HeldTags {
    /// Adds deliveries that were fetched.
    pub(super) fn add(&self, tags: impl Iterator<Item = (u64, Arc<StopToken>)>) {
        self.tags().extend(tags);
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.tags().len()
    }

    /// Cancels the attempts that run the job with this id, and tells how many.
    pub(super) fn cancel(&self, id: &str) -> usize {
        self.tags().values().filter(|stop| stop.cancel_job(id)).count()
    }

    /// Cancels the attempts whose jobs' ids it holds for.
    pub(super) fn cancel_if(&self, is_cancelled: impl Fn(&str) -> bool) {
        let of_one = |stop: &&Arc<StopToken>| stop.job_id().is_some_and(&is_cancelled);
        self.tags().values().filter(of_one).for_each(|stop| _ = stop.cancel());
    }

    /// The attempts that have run for at least so long: the job's id, and for how long.
    pub(super) fn running(&self, least: Duration) -> Vec<(String, Duration)> {
        let tags = self.tags();
        let running = tags.values().filter_map(|stop| {
            let runs_for = stop.runs_for().filter(|runs_for| *runs_for >= least)?;
            Some((stop.job_id()?.to_owned(), runs_for))
        });
        running.collect()
    }

    /// Removes a delivery. `dropped`: it was not settled, so the store still has it in the table.
    pub(super) fn release(&self, tag: u64, dropped: bool) {
        self.tags().remove(&tag);
        if dropped {
            self.dropped.store(true, Ordering::Release);
        }
    }

    /// Whether any delivery was dropped unsettled since the last call.
    pub(super) fn take_dropped(&self) -> bool {
        self.dropped.swap(false, Ordering::AcqRel)
    }

    /// Removes the tags that this process holds, and leaves the others.
    pub(super) fn retain_unknown(&self, tags: &mut Vec<u64>) {
        let held = self.tags();
        tags.retain(|tag| !held.contains_key(tag));
    }

    fn tags(&self) -> MutexGuard<'_, HashMap<u64, Arc<StopToken>>> {
        self.tags.lock()
    }
}
