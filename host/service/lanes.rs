//! For which of the lanes that hold jobs this host has room.
//!
//! A lane's jobs are taken only with the right to start each of them in hand, so none goes back and forth. Where there is none
//! to be had, the fetching waits for it, in the order in which rights are given out, together with whatever else it waits
//! for: nothing is asked of the store meanwhile.

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

/// Least time between two looks at which lanes hold jobs: short jobs can fill and empty one all the time.
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

/// The right to start a job, once there is one.
type Awaited = BoxFuture<'static, Option<Reserved>>;

/// The lanes for which this host may have room.
pub(super) struct Lanes {
    consumer: Arc<Consumer>,
    plugins: Arc<Plugins>,
    changes: watch::Receiver<()>,
    /// The rights that are waited for, one for each lane that holds jobs and has no room.
    awaited: HashMap<Key, Awaited>,
    /// The rights that came meanwhile.
    came: HashMap<Key, Reserved>,
}

/// What is asked of the lanes of a queue, and the rights to start what comes of each: none where whoever takes its jobs only
/// has to see what becomes of them.
#[derive(Default)]
pub(super) struct Asks {
    pub(super) wishes: Vec<LaneWish>,
    reserved: HashMap<Lane, Vec<Reserved>>,
}

impl Asks {
    /// The right to start what came from this lane.
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

    /// Takes in what has come meanwhile, before anything is asked for.
    pub(super) fn begin(&mut self) {
        if !self.awaited.is_empty() {
            _ = first(&mut self.awaited, &mut self.came).now_or_never();
        }
    }

    /// What to ask of a queue's lanes, for up to so many jobs together, large ones among them or not.
    pub(super) fn asks(&mut self, queue: &QueueName, jobs: usize, large: bool) -> Asks {
        let (mut asks, mut left) = (Asks::default(), jobs);
        let mut lanes = self.consumer.lanes(queue);
        // None is always first.
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

    /// How many of a lane's jobs this host can take, and the rights to start them.
    fn room(&mut self, queue: &QueueName, lane: &Lane, jobs: usize) -> (usize, Vec<Reserved>) {
        let served = lane
            .plugin()
            .map_or(InService::Nothing, |stem| self.plugins.in_service(stem));
        let plugin = match served {
            InService::Plugin(plugin) => plugin,
            // It has room as soon as its plugin serves.
            InService::NotNow => return (0, Vec::new()),
            // Each of its jobs is decided about by its name.
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

    /// Lets go of the rights that nothing was asked for with: others may be waiting for them.
    pub(super) fn end(&mut self) {
        self.came.clear();
        self.awaited.retain(|(queue, lane), _| self.consumer.holds(queue, lane));
    }

    /// Returns once a lane may have room that had none, or holds jobs that it did not. Dropping it loses nothing.
    pub(super) async fn more(&mut self) {
        tokio::select! {
            () = self.consumer.more_waits() => {}
            // Another version has rights of its own to give.
            _ = self.changes.changed() => self.awaited.clear(),
            () = first(&mut self.awaited, &mut self.came) => {}
        }
    }
}

/// Returns once one of the rights has come.
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
