//! Decides from which lanes this host can take jobs.
//!
//! A job is taken from a lane only once its permit to start is held, so no job has to go back. Where no permit is free,
//! the fetch loop waits for one, in the order in which the plugin grants them, beside everything else that it waits
//! for. Meanwhile it sends nothing to the store.

use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::faults::Faults;
use crate::config::Cap;
use crate::outcome::Lane;
use crate::plugins::{InService, Plugins, Resolved};
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

/// Wait after a fault of the store before turns are waited for again.
const FAULT_WAIT: Duration = Duration::from_millis(500);

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
    /// Groups for which there were permits this round: their next turn is waited for.
    awake: Vec<(QueueName, Lane)>,
}

/// What to take from the lanes of a queue, and the permits for those jobs. For a lane that belongs to no plugin here
/// there are no permits: admission decides about each of its jobs.
#[derive(Default)]
pub(super) struct Asks {
    pub(super) wishes: Vec<LaneWish>,
    pub(super) turns: Vec<TurnWish>,
    reserved: HashMap<Lane, Vec<Reserved>>,
}

/// How much of a group of lanes to take.
pub(super) struct TurnWish {
    pub(super) group: Lane,
    pub(super) caps: Arc<[Cap]>,
    pub(super) jobs: usize,
}

impl Asks {
    /// A permit for a job that came from this lane.
    pub(super) fn reserved(&mut self, lane: Option<&Lane>) -> Option<Reserved> {
        self.reserved.get_mut(&lane?.group())?.pop()
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
            awake: Vec::new(),
        }
    }

    /// Collects the permits that were granted since the last round.
    pub(super) fn begin(&mut self) {
        self.awake.clear();
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
            if jobs == 0 {
                continue;
            }
            asks.reserved.insert(lane.clone(), reserved);
            if lane.limited().is_some() {
                // What of them may start is not known before. So they leave as much for others.
                if large {
                    self.awake.push((queue.clone(), lane.clone()));
                }
                let caps = self.caps(&lane);
                asks.turns.push(TurnWish {
                    group: lane,
                    caps,
                    jobs,
                });
            } else {
                left -= jobs;
                asks.wishes.push(LaneWish { lane, jobs });
            }
        }
        asks
    }

    /// How many of a lane's jobs this host can take, and the permits to start them.
    fn room(&mut self, queue: &QueueName, lane: &Lane, jobs: usize) -> (usize, Vec<Reserved>) {
        let plugin = match self.served(lane) {
            InService::Plugin(plugin) => plugin,
            // The lane has room as soon as its plugin serves, or its name is resumed.
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

    /// The limits for which the lanes of a group wait.
    fn caps(&self, group: &Lane) -> Arc<[Cap]> {
        match self.served(group) {
            InService::Plugin(plugin) => Arc::clone(plugin.handler.caps()),
            InService::NotNow | InService::Nothing => Arc::default(),
        }
    }

    /// What serves the jobs of a lane.
    fn served(&self, lane: &Lane) -> InService {
        if let Some(stem) = lane.plugin().or_else(|| lane.limited()) {
            return self.plugins.in_service(stem);
        }
        let Some(name) = lane.job() else {
            return InService::Nothing;
        };
        if self.consumer.is_job_paused(name) {
            return InService::NotNow;
        }
        match self.plugins.resolve(name) {
            Resolved::Plugin(plugin) => InService::Plugin(plugin),
            Resolved::NotNow { .. } => InService::NotNow,
            Resolved::NotThis(_) | Resolved::Unloadable(_) | Resolved::Unknown => InService::Nothing,
        }
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
            () = turn(&self.consumer, &self.awake) => {}
        }
    }
}

/// Returns once a lane may have its turn in one of these groups.
async fn turn(consumer: &Consumer, groups: &[(QueueName, Lane)]) {
    let groups: Vec<_> = groups
        .iter()
        .filter(|(queue, _)| !consumer.is_paused(queue))
        .cloned()
        .collect();
    if groups.is_empty() {
        return pending().await;
    }
    loop {
        match consumer.wait_turns(&groups).await {
            Ok(true) => return,
            Ok(false) => {}
            // The fetches meet the same fault, and tell of it.
            Err(_) => consumer.wait_out(FAULT_WAIT).await,
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
