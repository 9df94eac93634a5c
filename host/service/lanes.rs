//! Decides from which lanes this host can take jobs.
//!
//! A job is taken from a lane only once its permit to start is held, so no job has to go back. Where no permit is free,
//! the fetch loop waits for one, in the order in which the plugin grants them, beside everything else that it waits
//! for. Meanwhile it sends nothing to the store.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::faults::Faults;
use crate::outcome::Lane;
use crate::plugins::{InService, Plugins};
use crate::queue::{Consumer, LaneWish, QueueName};
use crate::worker::Reserved;

/// Least time between two looks at which lanes hold jobs: short jobs can fill and empty a lane all the time.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Keeps what is known of the lanes up to date.
pub(super) async fn look_at_lanes(consumer: Arc<Consumer>, stop: CancellationToken) {
    let mut faults = Faults::new(&consumer, "lanes");
    let look = async {
        loop {
            match consumer.look_at_lanes().await {
                Ok(()) => {
                    faults.over();
                    sleep(LOOK_PAUSE).await;
                }
                Err(err) => faults.wait(&err).await,
            }
        }
    };
    stop.run_until_cancelled(look).await;
}

type Key = (QueueName, Lane);

/// Resolves to a permit to start a job, once one is free.
type Awaited = BoxFuture<'static, Option<Reserved>>;

/// The lanes for which this host may have room.
pub(super) struct Lanes {
    consumer: Arc<Consumer>,
    plugins: Arc<Plugins>,
    changes: watch::Receiver<()>,
    /// Permits being waited for, one for each lane that holds jobs while its plugin has no free permit.
    awaited: HashMap<Key, Awaited>,
    /// Permits that were granted since.
    came: HashMap<Key, Reserved>,
}

/// What to take from the lanes of a queue, and the permits for those jobs. For a lane that belongs to no plugin here
/// there are no permits: admission decides about each of its jobs.
#[derive(Default)]
pub(super) struct Asks {
    pub(super) wishes: Vec<LaneWish>,
    reserved: HashMap<Lane, Vec<Reserved>>,
}

impl Asks {
    /// A permit for a job that came from this lane.
    pub(super) fn reserved(&mut self, lane: Option<&Lane>) -> Option<Reserved> {
        self.reserved.get_mut(lane?)?.pop()
    }
}

impl Lanes {
    pub(super) fn new(consumer: Arc<Consumer>, plugins: Arc<Plugins>) -> Self {
        Self {
            consumer,
            changes: plugins.changes(),
            plugins,
            awaited: HashMap::new(),
            came: HashMap::new(),
        }
    }

    /// Collects the permits that were granted since the last round.
    pub(super) fn begin(&mut self) {
        if !self.awaited.is_empty() {
            _ = first(&mut self.awaited, &mut self.came).now_or_never();
        }
    }

    /// What to take from a queue's lanes, up to `jobs` in all. The lane of large jobs is left out unless `large`.
    pub(super) fn asks(&mut self, queue: &QueueName, jobs: usize, large: bool) -> Asks {
        let (mut asks, mut left) = (Asks::default(), jobs);
        let mut lanes = self.consumer.lanes(queue);
        // Shuffled, so that no lane is always first.
        fastrand::shuffle(&mut lanes);
        for lane in lanes {
            if left == 0 {
                break;
            }
            if lane.is_of_large() && !large {
                continue;
            }
            let (jobs, reserved) = self.room(queue, &lane, left);
            if jobs > 0 {
                left -= jobs;
                asks.reserved.insert(lane.clone(), reserved);
                asks.wishes.push(LaneWish { lane, jobs });
            }
        }
        asks
    }

    /// How many of a lane's jobs this host can take, and the permits to start them.
    fn room(&mut self, queue: &QueueName, lane: &Lane, jobs: usize) -> (usize, Vec<Reserved>) {
        let served = lane
            .plugin()
            .map_or(InService::Nothing, |stem| self.plugins.in_service(stem));
        let plugin = match served {
            InService::Plugin(plugin) => plugin,
            // The lane has room as soon as its plugin serves.
            InService::NotNow => return (0, Vec::new()),
            // The lane belongs to no plugin here: admission decides about each of its jobs by the job's name.
            InService::Nothing => return (jobs, Vec::new()),
        };
        let key = (queue.clone(), lane.clone());
        let came = self.came.remove(&key).filter(|came| Arc::ptr_eq(&came.plugin, &plugin));
        let mut reserved: Vec<_> = came.into_iter().collect();
        while reserved.len() < jobs
            && let Some(permit) = plugin.handler.try_permit()
        {
            let plugin = Arc::clone(&plugin);
            reserved.push(Reserved { plugin, permit });
        }
        if reserved.is_empty() {
            let permit = async move {
                let permit = plugin.handler.permit().await?;
                Some(Reserved { plugin, permit })
            };
            self.awaited.entry(key).or_insert_with(|| permit.boxed());
        }
        (reserved.len(), reserved)
    }

    /// Releases the permits that were not used: other queues or lanes may wait for them.
    pub(super) fn end(&mut self) {
        self.came.clear();
        self.awaited.retain(|(queue, lane), _| self.consumer.holds(queue, lane));
    }

    /// Returns once another lane may have room, or may hold more jobs. Cancel safe.
    pub(super) async fn more(&mut self) {
        tokio::select! {
            () = self.consumer.more_waits() => {}
            // A new version has permits of its own.
            _ = self.changes.changed() => self.awaited.clear(),
            () = first(&mut self.awaited, &mut self.came) => {}
        }
    }
}

/// Returns once a permit is granted.
async fn first(awaited: &mut HashMap<Key, Awaited>, came: &mut HashMap<Key, Reserved>) {
    poll_fn(|cx| {
        awaited.retain(|key, waiting| match waiting.poll_unpin(cx) {
            Poll::Pending => true,
            Poll::Ready(reserved) => {
                came.extend(reserved.map(|reserved| (key.clone(), reserved)));
                false
            }
        });
        if came.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
}
