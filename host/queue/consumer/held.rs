//! The deliveries that this process holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

    /// Cancels the attempts that run the job with this id, and tells how many.
    pub(super) fn cancel(&self, id: &str) -> usize {
        self.tags().values().filter(|stop| stop.cancel_job(id)).count()
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
