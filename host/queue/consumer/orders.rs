//! What operators have ordered, as far as this host knows.
//!
//! The store tells when that may have changed, and the host then looks. A fetch that finds its queue paused counts at
//! once, unless something was learned since it was sent.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::queue::orders::Orders;
use crate::queue::queue_name::QueueName;

/// The known orders.
#[derive(Debug, Default)]
pub(super) struct KnownOrders {
    state: Mutex<State>,
    /// Whether anything is paused. Usually nothing is, and this is checked before each job, so it must be cheap.
    any: AtomicBool,
    /// Told whenever they change.
    pub(super) changed: Notify,
    /// Told whenever a fetch has found its queue paused of which no look knew.
    pub(super) told: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What the last look found.
    found: Orders,
    /// Queues of which a fetch has said that they are paused, since the last look.
    told: BTreeSet<QueueName>,
    /// How many looks there were.
    looks: u64,
}

impl KnownOrders {
    /// What the last look has found and fetches have told since; none before the first look.
    pub(super) fn believed(&self, queues: &[QueueName]) -> Option<Orders> {
        let state = self.state.lock();
        let mut believed = (state.looks > 0).then(|| state.found.clone())?;
        for (pause, queue) in believed.queues.iter_mut().zip(queues) {
            if state.told.contains(queue) {
                pause.get_or_insert_default();
            }
        }
        Some(believed)
    }

    /// How many looks there were so far.
    pub(super) fn looks(&self) -> u64 {
        self.state.lock().looks
    }

    /// A fetch found its queue paused. `looks`: the count when the fetch was sent.
    pub(super) fn is_told(&self, queue: &QueueName, looks: u64) {
        let mut state = self.state.lock();
        if state.looks == looks && state.told.insert(queue.clone()) {
            self.any.store(true, Ordering::Release);
            self.told.notify_one();
        }
    }

    /// Takes in what a look found, and returns what was found before.
    pub(super) fn learn(&self, found: Orders) -> Orders {
        let any = found.queues.iter().any(Option::is_some) || !found.jobs.is_empty();
        let mut state = self.state.lock();
        state.looks += 1;
        let has_changed = !state.found.pauses_as(&found) || !state.told.is_empty();
        state.told.clear();
        let before = std::mem::replace(&mut state.found, found);
        self.any.store(any, Ordering::Release);
        drop(state);
        if has_changed {
            self.changed.notify_one();
        }
        before
    }

    pub(super) fn is_paused(&self, place: usize, queue: &QueueName) -> bool {
        self.any.load(Ordering::Acquire) && {
            let state = self.state.lock();
            state.told.contains(queue) || state.found.queues.get(place).is_some_and(Option::is_some)
        }
    }

    pub(super) fn is_job_paused(&self, name: &str) -> bool {
        self.any.load(Ordering::Acquire) && self.state.lock().found.jobs.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::queue::orders::Pause;

    fn paused(queue: bool) -> Orders {
        Orders {
            queues: vec![queue.then(Pause::default)],
            ..Orders::default()
        }
    }

    #[test]
    fn a_fetch_that_was_sent_before_a_look_does_not_count_after_it() {
        let (known, queue) = (KnownOrders::default(), QueueName::new("a").expect("a name"));
        let is_told = || known.changed.notified().now_or_never().is_some();
        let sent = known.looks();
        known.is_told(&queue, sent);
        assert!(known.is_paused(0, &queue));
        // It was resumed meanwhile.
        known.learn(paused(false));
        assert!(!known.is_paused(0, &queue) && is_told());
        known.is_told(&queue, sent);
        assert!(!known.is_paused(0, &queue) && !is_told());
        known.learn(paused(true));
        assert!(known.is_paused(0, &queue) && is_told());
        known.learn(paused(true));
        assert!(known.is_paused(0, &queue) && !is_told());
    }
}
