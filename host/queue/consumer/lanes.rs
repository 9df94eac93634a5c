//! Which lanes hold jobs, as far as this host knows.
//!
//! The store tells when its lanes may have changed, and the host then looks. A job that this host sends to a lane
//! counts at once. A lane that a fetch emptied is forgotten, unless something was learned meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::delivery::Delivery;
use crate::outcome::Lane;
use crate::queue::moves::{LaneTaken, LaneWish};
use crate::queue::queue_name::QueueName;

/// The known lanes.
#[derive(Debug, Default)]
pub(super) struct KnownLanes {
    state: Mutex<State>,
    /// Whether any lane is known. Usually none is, and this is checked before each job, so it must be cheap.
    any: AtomicBool,
    /// Told whenever a lane may hold more than it did.
    more: Notify,
}

#[derive(Debug, Default)]
struct State {
    lanes: HashMap<QueueName, BTreeMap<Lane, Holding>>,
    /// How often something was learned.
    lessons: u64,
}

/// What is known of one lane.
#[derive(Debug, Default)]
struct Holding {
    /// Whether the store says that the lane holds jobs.
    seen: bool,
    /// How many jobs this host is about to add.
    on_their_way: usize,
    /// Of a group: it holds as much as it may.
    is_full: bool,
}

/// A job on its way to a lane. Dropped once the job has arrived, or never will.
#[derive(Debug)]
pub(super) struct OnItsWay {
    known: Arc<KnownLanes>,
    queue: QueueName,
    lane: Lane,
}

/// Names the lane of each delivery that came from one. These are the first deliveries, as many as `taken` says for each
/// lane.
pub(super) fn name_lanes(deliveries: &mut [Delivery], lanes: &[LaneWish], taken: &[LaneTaken]) {
    let mut deliveries = deliveries.iter_mut();
    for (LaneWish { lane, .. }, taken) in lanes.iter().zip(taken) {
        let of_lane = deliveries.by_ref().take(taken.taken);
        of_lane.for_each(|delivery| delivery.lane = Some(lane.clone()));
    }
}

impl KnownLanes {
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    pub(super) fn of(&self, queue: &QueueName) -> Vec<Lane> {
        if !self.any() {
            return Vec::new();
        }
        let state = self.state.lock();
        let lanes = state.lanes.get(queue).into_iter().flat_map(BTreeMap::keys);
        lanes.cloned().collect()
    }

    pub(super) fn seen(&self, queue: &QueueName) -> BTreeSet<Lane> {
        let state = self.state.lock();
        let lanes = state.lanes.get(queue).into_iter().flatten();
        let seen = lanes.filter(|(_, holding)| holding.seen);
        seen.map(|(lane, _)| lane.clone()).collect()
    }

    pub(super) fn holds(&self, queue: &QueueName, lane: &Lane) -> bool {
        let state = self.state.lock();
        state.lanes.get(queue).is_some_and(|lanes| lanes.contains_key(lane))
    }

    /// Returns once a lane may hold more than before. Wakes one waiter only.
    pub(super) async fn more(&self) {
        self.more.notified().await;
    }

    /// How often something was learned so far.
    pub(super) fn lessons(&self) -> u64 {
        self.state.lock().lessons
    }

    /// Whether a group was found to hold as much as it may.
    pub(super) fn is_full(&self, queue: &QueueName, group: &Lane) -> bool {
        let state = self.state.lock();
        let holding = state.lanes.get(queue).and_then(|lanes| lanes.get(group));
        holding.is_some_and(|holding| holding.is_full)
    }

    pub(super) fn set_full(&self, queue: &QueueName, group: &Lane, is_full: bool) {
        self.change(queue, false, |lanes| {
            if let Some(holding) = lanes.get_mut(group) {
                holding.is_full = is_full;
            }
        });
    }

    /// Announces a job for a lane: from now on no ready job may overtake it.
    pub(super) fn expect(self: &Arc<Self>, queue: &QueueName, lane: &Lane) -> OnItsWay {
        self.change(queue, false, |lanes| {
            lanes.entry(lane.clone()).or_default().on_their_way += 1;
        });
        OnItsWay {
            known: Arc::clone(self),
            queue: queue.clone(),
            lane: lane.clone(),
        }
    }

    /// The store says that exactly these lanes of a queue hold jobs.
    pub(super) fn learn(&self, queue: &QueueName, holding: BTreeSet<Lane>) {
        let mut more = false;
        self.change(queue, true, |lanes| {
            for (lane, it) in lanes.iter_mut() {
                it.seen &= holding.contains(lane);
            }
            for lane in holding {
                more |= !std::mem::replace(&mut lanes.entry(lane).or_default().seen, true);
            }
        });
        if more {
            self.more.notify_one();
        }
    }

    /// A fetch emptied a lane or found it empty. `lessons`: the count when the fetch was sent. If something was learned
    /// since, the lane is not forgotten but asked again.
    pub(super) fn forget(&self, queue: &QueueName, lane: &Lane, lessons: u64) {
        if self.lessons() != lessons {
            return self.more.notify_one();
        }
        self.change(queue, false, |lanes| {
            if let Some(holding) = lanes.get_mut(lane) {
                holding.seen = false;
            }
        });
    }

    fn change(&self, queue: &QueueName, is_lesson: bool, change: impl FnOnce(&mut BTreeMap<Lane, Holding>)) {
        let mut state = self.state.lock();
        state.lessons += u64::from(is_lesson);
        let lanes = state.lanes.entry(queue.clone()).or_default();
        change(lanes);
        lanes.retain(|_, holding| holding.seen || holding.on_their_way > 0);
        if lanes.is_empty() {
            state.lanes.remove(queue);
        }
        self.any.store(!state.lanes.is_empty(), Ordering::Release);
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.known.change(&self.queue, true, |lanes| {
            if let Some(holding) = lanes.get_mut(&self.lane) {
                holding.on_their_way -= 1;
                // If the job never arrived, the next look or fetch finds that out.
                holding.seen = true;
            }
        });
        self.known.more.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn told(known: &KnownLanes) -> bool {
        known.more.notified().now_or_never().is_some()
    }

    fn queue(name: &str) -> QueueName {
        QueueName::new(name).expect("a name")
    }

    #[test]
    fn what_is_on_its_way_is_known_at_once_and_told_of_once_it_is_there() {
        let (known, queue, other) = (Arc::<KnownLanes>::default(), queue("a"), queue("b"));
        let lane = Lane::of_plugin("slow");
        assert!(!known.holds(&queue, &lane));
        let (first, second) = (known.expect(&queue, &lane), known.expect(&queue, &lane));
        assert!(known.holds(&queue, &lane) && !known.holds(&other, &lane) && !told(&known));
        // Neither a look nor a fetch that came too early takes it away.
        known.learn(&queue, BTreeSet::new());
        known.forget(&queue, &lane, known.lessons());
        assert!(known.holds(&queue, &lane) && !told(&known));
        drop(first);
        known.forget(&queue, &lane, known.lessons());
        assert!(known.holds(&queue, &lane) && told(&known));
        drop(second);
        assert!(told(&known));
        known.forget(&queue, &lane, known.lessons());
        assert!(!known.holds(&queue, &lane) && known.of(&queue).is_empty());
    }

    #[test]
    fn what_a_fetch_found_empty_before_something_was_learned_is_asked_again() {
        let (known, queue) = (KnownLanes::default(), queue("a"));
        let lane = Lane::of_plugin("slow");
        let holding = || BTreeSet::from([lane.clone()]);
        known.learn(&queue, holding());
        assert!(told(&known));
        let asked = known.lessons();
        known.learn(&queue, holding());
        assert!(!told(&known), "nothing new");
        known.forget(&queue, &lane, asked);
        assert!(known.holds(&queue, &lane) && told(&known));
        known.forget(&queue, &lane, known.lessons());
        assert!(!known.holds(&queue, &lane) && !told(&known));
        known.learn(&queue, holding());
        assert!(told(&known));
        known.learn(&queue, BTreeSet::new());
        assert!(known.of(&queue).is_empty());
    }
}
