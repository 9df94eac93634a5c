//! Which deliveries this process has.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

/// The tags of the deliveries that this process has.
#[derive(Debug, Default)]
pub(super) struct HeldTags {
    tags: Mutex<HashSet<u64>>,
    /// Some were dropped unsettled: they are still in the table.
    dropped: AtomicBool,
}

impl HeldTags {
    /// These came from the store.
    pub(super) fn add(&self, tags: impl Iterator<Item = u64>) {
        self.tags().extend(tags);
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
        tags.retain(|tag| !held.contains(tag));
    }

    fn tags(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.tags.lock()
    }
}
