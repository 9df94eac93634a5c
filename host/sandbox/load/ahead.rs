//! Whether instances of a component are made ahead of the jobs that they are for.
//!
//! That pays where an instance takes long to make: the job then need not wait for it. Only a component that asks nothing of
//! the host while it is instantiated has such instances. It cannot tell when that was, nor for which job: there is nothing
//! that it has read, drawn or logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::config::MAX_AHEAD;

/// Time to make an instance from which on it is made ahead. To find one takes some hundreds of nanoseconds, and a component
/// that is ready sooner than this keeps nobody waiting.
const WORTH: Duration = Duration::from_micros(200);

/// What is known of a component's starts.
pub(in crate::sandbox) struct Ahead {
    /// The shortest time that an attempt took to make its instance, in nanoseconds.
    least_ns: AtomicU64,
    /// No instance is to be made ahead: a start asked something of the host, or failed, or nobody runs the component any
    /// more.
    never: AtomicBool,
    /// Instances that were made ahead and are not in use yet, with those that are being made.
    made: AtomicUsize,
}

impl Default for Ahead {
    fn default() -> Self {
        Self {
            least_ns: AtomicU64::new(u64::MAX),
            never: AtomicBool::new(false),
            made: AtomicUsize::new(0),
        }
    }
}

impl Ahead {
    /// Notes how long an attempt took to make its instance, and whether that asked anything of the host.
    pub(in crate::sandbox) fn note(&self, took: Duration, asked: bool) {
        if asked {
            self.never();
        }
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Read first: nearly always nothing is written, and attempts of all threads share this.
        if took < self.least_ns.load(Ordering::Relaxed) {
            self.least_ns.fetch_min(took, Ordering::Relaxed);
        }
    }

    /// Whether there may be instances that were made ahead.
    pub(in crate::sandbox) fn pays(&self) -> bool {
        let least = self.least_ns.load(Ordering::Relaxed);
        least != u64::MAX && Duration::from_nanos(least) >= WORTH && !self.is_never()
    }

    /// From now on, no more are to be made.
    pub(in crate::sandbox) fn never(&self) {
        self.never.store(true, Ordering::Release);
    }

    /// Whether no more are to be made.
    pub(in crate::sandbox) fn is_never(&self) -> bool {
        self.never.load(Ordering::Acquire)
    }

    /// Begins to make one, unless there are enough.
    pub(in crate::sandbox) fn begin(self: &Arc<Self>) -> Option<MadeAhead> {
        let one_more = |made| (made < MAX_AHEAD).then_some(made + 1);
        let begun = self.made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        begun.ok().map(|_| MadeAhead(Arc::clone(self)))
    }
}

/// Counts one instance among those that were made ahead, until it is used or dropped.
pub(in crate::sandbox) struct MadeAhead(Arc<Ahead>);

impl Drop for MadeAhead {
    fn drop(&mut self) {
        self.0.made.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_starts_slowly_every_time_and_asks_for_nothing_is_made_ahead_and_only_so_many() {
        let ahead = Arc::new(Ahead::default());
        assert!(!ahead.pays(), "nothing is known");
        ahead.note(10 * WORTH, false);
        assert!(ahead.pays());
        let mut begun: Vec<_> = (0..=MAX_AHEAD).filter_map(|_| ahead.begin()).collect();
        assert_eq!(begun.len(), MAX_AHEAD);
        begun.pop();
        begun.extend(ahead.begin());
        assert!(begun.len() == MAX_AHEAD && ahead.begin().is_none());
        ahead.note(WORTH / 2, false);
        assert!(!ahead.pays(), "the processor was only busy");

        let asks = Ahead::default();
        asks.note(10 * WORTH, true);
        assert!(!asks.pays());
    }
}
