//! Which deliveries this process has.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::stop::StopToken;

/// The deliveries that this process has, by their tags, and what stops each.
#[derive(Debug, Default)]
pub(super) struct HeldTags {
    tags: Mutex<HashMap<u64, Arc<StopToken>>>,
    /// Some were dropped unsettled: they are still in the table.
    dropped: AtomicBool,
}

impl HeldTags {
    /// These came from the store.
    pub(super) fn add(&self, tags: impl Iterator<Item = (u64, Arc<StopToken>)>) {
        self.tags().extend(tags);
    }

    /// Cancels the attempts that run the job with this id, and tells how many.
    pub(super) fn cancel(&self, id: &str) -> usize {
        self.tags().values().filter(|stop| stop.cancel_job(id)).count()
    }

    /// A delivery has come to its end. One that was dropped is still in the table.
    pub(super) fn release(&self, tag: u64, dropped: bool) {
        self.tags().remove(&tag);
        if dropped {
            self.dropped.store(true, Ordering::Release);
        }
    }

    /// Whether any was dropped since this was last asked.
    pub(super) fn take_dropped(&self) -> bool {
        self.dropped.swap(false, Ordering::AcqRel)
    }

    /// Leaves those of the tags that this process does not have.
    pub(super) fn retain_unknown(&self, tags: &mut Vec<u64>) {
        let held = self.tags();
        tags.retain(|tag| !held.contains_key(tag));
    }

    fn tags(&self) -> MutexGuard<'_, HashMap<u64, Arc<StopToken>>> {
        self.tags.lock()
    }
}
