//! Takes jobs, as many as there is room for, in number and in bytes, and starts each.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::future::select_all;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::ServiceSettings;
use super::faults::{Faults, Resting};
use super::lanes::{Asks, Lanes, TurnWish};
use super::room::{Free, Room, SMALL_BYTES, Taken};
use crate::queue::{Consumer, Delivery, MAX_BATCH, QueueError, QueueName};
use crate::worker::{Reserved, Worker};

/// Longest time that a free place waits for others before jobs are fetched for them.
const GATHER: Duration = Duration::from_millis(1);

/// Fetches as many jobs as there are free permits and bytes of room, and starts each.
pub(super) async fn fetch(
    settings: &ServiceSettings,
    consumer: &Arc<Consumer>,
    worker: &Arc<Worker>,
    mut lanes: Lanes,
    attempts: &TaskTracker,
    guests: &Handle,
) {
    let permits = usize::try_from(settings.concurrency.get()).unwrap_or(Semaphore::MAX_PERMITS);
    let permits = Arc::new(Semaphore::new(permits));
    let mut gathering = Gathering::default();
    let rooms = Rooms::new(settings);
    let (mut fetching, mut waiting) = (Faults::new(consumer, "fetch"), Faults::new(consumer, "wait"));
    let mut resting = Resting::new(consumer, "fetch");
    loop {
        let mut free = acquire(&permits, gathering.least(settings)).await;
        let order = order(settings);
        let count = free.num_permits();
        lanes.begin();
        let (fetched, failed) = fetch_in_order(&order, consumer, count, &rooms, &mut lanes, &mut resting).await;
        lanes.end();
        match failed {
            None => fetching.over(),
            Some(err) if fetched.is_empty() => {
                fetching.wait(&err).await;
                continue;
            }
            Some(err) => fetching.tell(&err),
        }
        let idle = fetched.is_empty();
        gathering.fetched(fetched.len() == count, permits.available_permits());
        for Fetched {
            delivery,
            taken,
            reserved,
        } in fetched
        {
            let worker = Arc::clone(worker);
            let permit = free.split(1);
            // Spawned on the runtime of the guest threads, so that no job changes threads on its way.
            let line = async move {
                // In a box that is made where the job runs: what is handed over to that thread is copied several times.
                Box::pin(worker.process(delivery, reserved)).await;
                drop((permit, taken));
            };
            attempts.spawn_on(line, guests);
        }
        drop(free);
        if idle {
            let mut awake = resting.awake();
            // A queue from which nothing is taken may be full: waiting for it to have a job would not wait at all.
            awake.retain(|queue| !consumer.is_paused(queue) && !consumer.is_outbox_full(queue));
            let full = awake.iter().filter(|queue| rooms.of(queue).free().is_none());
            let full: Vec<_> = full.cloned().collect();
            let ready = async {
                if awake.is_empty() {
                    pending().await
                } else {
                    consumer.wait_ready_on(&awake).await
                }
            };
            tokio::select! {
                ready = timeout_at(resting.next(), ready) => match ready {
                    Ok(Err(err)) => waiting.wait(&err).await,
                    Ok(Ok(())) => waiting.over(),
                    Err(_) => {}
                },
                () = rooms.one_freed(&full) => {}
                () = lanes.more() => {}
                () = consumer.orders_changed() => {}
                () = consumer.outbox_has_room() => {}
            }
        }
    }
}

/// A fetched job, with the room that it occupies.
struct Fetched {
    delivery: Delivery,
    taken: Taken,
    /// The permit to start it, if it came from a lane.
    reserved: Option<Reserved>,
}

/// The room that each queue has for its jobs in hand.
struct Rooms(HashMap<QueueName, Room>);

impl Rooms {
    /// Divides the room equally among the queues.
    fn new(settings: &ServiceSettings) -> Self {
        let share = settings.job_memory_bytes / settings.queues.len().max(1) as u64;
        let queues = settings.queues.iter();
        Self(queues.map(|(queue, _)| (queue.clone(), Room::new(share))).collect())
    }

    fn of(&self, queue: &QueueName) -> &Room {
        &self.0[queue]
    }

    /// Waits until one of these queues has room again. Never returns if `full` is empty.
    async fn one_freed(&self, full: &[QueueName]) {
        if full.is_empty() {
            return pending().await;
        }
        select_all(full.iter().map(|queue| Box::pin(self.of(queue).freed()))).await;
    }
}

/// How many places to wait for before the next fetch, so that it is worth its way.
///
/// While a queue has more jobs than there are places, those that become free during one fetch are filled by the next. Where jobs
/// are short this comes to a handful each time, and each fetch costs Redis as much as several jobs do.
#[derive(Debug, Default)]
struct Gathering {
    /// Places that became free while the last fetch was on its way; none if that did not fill all that it was for.
    freed: usize,
}

impl Gathering {
    /// Takes note of a fetch: whether it brought all that there were places for, and how many are free now.
    fn fetched(&mut self, filled: bool, freed: usize) {
        self.freed = if filled { freed } else { 0 };
    }

    /// Four times as many as one fetch makes wait anyway, but never more than a fourth of all places: the others have to last
    /// meanwhile.
    fn least(&self, settings: &ServiceSettings) -> u32 {
        let most = settings.concurrency.get() / 4;
        let least = u32::try_from(self.freed.saturating_mul(4)).unwrap_or(most);
        if self.freed < 2 { 1 } else { least.min(most).max(1) }
    }
}

/// Waits for one permit, and a moment for as many as are worth a fetch; then takes all others that are free.
async fn acquire(permits: &Arc<Semaphore>, least: u32) -> OwnedSemaphorePermit {
    let first = Arc::clone(permits).acquire_owned().await;
    let mut permit = first.unwrap_or_else(|_| unreachable!("nobody closes the semaphore"));
    if least > 1
        && let Ok(Ok(some)) = timeout(GATHER, Arc::clone(permits).acquire_many_owned(least - 1)).await
    {
        permit.merge(some);
    }
    let more = permits
        .available_permits()
        .min(MAX_BATCH.saturating_sub(permit.num_permits()));
    if let Some(more) = u32::try_from(more)
        .ok()
        .and_then(|n| Arc::clone(permits).try_acquire_many_owned(n).ok())
    {
        permit.merge(more);
    }
    permit
}

/// The order in which to fetch from the queues this time: as they were named, or drawn by weight, so that none starves.
fn order(settings: &ServiceSettings) -> Vec<&QueueName> {
    let drawn = |weight: f64| {
        if settings.strict {
            0.0
        } else {
            fastrand::f64().powf(1.0 / weight)
        }
    };
    let mut order: Vec<_> = settings
        .queues
        .iter()
        .map(|(queue, weight)| (drawn(f64::from(weight.get())), queue))
        .collect();
    // A stable sort: without weights all keys are equal, and the order stays.
    order.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    order.into_iter().map(|(_, queue)| queue).collect()
}

/// Fetches up to `count` jobs from the first queue, then fills up from the others, so that no permit stays unused while
/// any queue has jobs and room for them. A queue that fails does not keep the others from being fetched. Returns the
/// first outage.
async fn fetch_in_order(
    order: &[&QueueName],
    consumer: &Consumer,
    count: usize,
    rooms: &Rooms,
    lanes: &mut Lanes,
    resting: &mut Resting<'_>,
) -> (Vec<Fetched>, Option<QueueError>) {
    let (mut all, mut failed) = (Vec::new(), None);
    for queue in order {
        let missing = count - all.len();
        if missing == 0 {
            break;
        }
        if resting.rests(queue) || consumer.is_paused(queue) || consumer.is_outbox_full(queue) {
            continue;
        }
        let mut asks = lanes.asks(queue, missing, rooms.of(queue).free().is_some());
        // Where both have jobs, those that wait for limits and all others come first equally often.
        let turns_first = fastrand::bool();
        for turns in [turns_first, !turns_first] {
            let missing = count - all.len();
            if missing == 0 || (turns && asks.turns.is_empty()) {
                continue;
            }
            let fetched = if turns {
                serve(consumer, queue, missing, rooms, &mut asks).await
            } else {
                fetch_ready(consumer, queue, missing, rooms, &mut asks).await
            };
            match resting.note(queue, fetched) {
                Ok(fetched) => all.extend(fetched.into_iter().flatten()),
                Err(err) => failed = failed.or(Some(err)),
            }
        }
    }
    (all, failed)
}

/// Fetches from the lanes of a host, then what is ready.
async fn fetch_ready(
    consumer: &Consumer,
    queue: &QueueName,
    count: usize,
    rooms: &Rooms,
    asks: &mut Asks,
) -> Result<Vec<Fetched>, QueueError> {
    // Without room for a large job, small ones are still fetched.
    let room = rooms.of(queue).free();
    let longest = room.is_none().then_some(SMALL_BYTES);
    let fetched = consumer.fetch_from(queue, count, &asks.wishes, longest).await?;
    Ok(with_room(fetched, room, asks))
}

/// Fetches from groups of lanes what their limits let start.
async fn serve(
    consumer: &Consumer,
    queue: &QueueName,
    count: usize,
    rooms: &Rooms,
    asks: &mut Asks,
) -> Result<Vec<Fetched>, QueueError> {
    let mut all = Vec::new();
    for TurnWish { group, caps, jobs } in std::mem::take(&mut asks.turns) {
        let room = rooms.of(queue).free();
        let longest = room.is_none().then_some(SMALL_BYTES);
        let jobs = jobs.min(count - all.len());
        if jobs > 0 {
            let fetched = consumer.serve(queue, jobs, &group, &caps, longest).await?;
            all.extend(with_room(fetched, room, asks));
        }
    }
    Ok(all)
}

fn with_room(fetched: Vec<Delivery>, mut room: Option<Free>, asks: &mut Asks) -> Vec<Fetched> {
    let fetched = fetched.into_iter().map(|delivery| Fetched {
        taken: room
            .as_mut()
            .map_or_else(Taken::default, |room| room.take(delivery.pushed_bytes())),
        reserved: asks.reserved(delivery.lane()),
        delivery,
    });
    fetched.collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn queues_are_asked_as_they_are_named_or_as_often_first_as_their_weight_says() {
        let queue = |name: &str| QueueName::new(name).expect("a name");
        let weight = |weight| NonZeroU32::new(weight).expect("more than 0");
        let mut settings = ServiceSettings::new(queue("low"), NonZeroU32::MIN);
        settings.queues.push((queue("high"), weight(9)));
        let mut first = 0_u32;
        for _ in 0..10_000 {
            let order = order(&settings);
            assert_eq!(order.len(), 2);
            first += u32::from(order[0].as_str() == "low");
        }
        // One in ten, give or take ten times the deviation that chance allows for.
        assert!((700..1_300).contains(&first), "{first}");
        settings.strict = true;
        for _ in 0..100 {
            assert_eq!(order(&settings)[0].as_str(), "low");
        }
    }

    #[test]
    fn only_what_ends_quickly_is_gathered_and_never_more_than_a_fourth_of_all_places() {
        let places = |places| {
            let queue = QueueName::new("default").expect("a name");
            ServiceSettings::new(queue, NonZeroU32::new(places).expect("more than 0"))
        };
        let least = |filled, freed, of| {
            let mut gathering = Gathering::default();
            gathering.fetched(filled, freed);
            gathering.least(&places(of))
        };
        assert_eq!(Gathering::default().least(&places(64)), 1);
        assert_eq!(least(true, 1, 64), 1, "jobs that take long");
        assert_eq!(least(true, 3, 64), 12);
        assert_eq!(least(true, 9, 64), 16);
        assert_eq!(least(true, 3, 2), 1, "so few places are never left free");
        assert_eq!(least(false, 9, 64), 1, "nothing waits that could be fetched");
    }
}
