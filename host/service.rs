//! Starts and stops the loops: fetch, promote due jobs, heartbeat, reap, reload, drain.
//!
//! Each loop outlives any fault of the store: it says so once, waits a little and tries again. None of them ever waits
//! for a guest, except the drain, and that has its grace period.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::plugins::{Plugins, watch};
use crate::queue::{Consumer, Heartbeat, LEASE_DEFAULT, MAX_BATCH, QueueError, QueueName, Store};
use crate::sandbox::Cancel;
use crate::worker::Worker;

/// How long running attempts may go on after the service was told to stop. Kubernetes kills after 30 s.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(25);

/// Longest time between two looks at the delayed set: producers add to it without telling us, and a due job may be late
/// by 100 ms at most. It is most of what an idle host asks of Redis.
const PROMOTE_INTERVAL: Duration = Duration::from_millis(90);

/// Time between two looks for hosts that died.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two looks whether everything is done, in burst mode.
const BURST_INTERVAL: Duration = Duration::from_millis(50);

/// Time for interrupted guests to give up their threads, and for the last settlements to reach the store.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);

/// Wait before a loop asks the store again after a fault; doubles up to [`FAULT_WAIT_MAX`].
const FAULT_WAIT_MIN: Duration = Duration::from_millis(100);
const FAULT_WAIT_MAX: Duration = Duration::from_secs(2);

/// How the service runs.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// The queues it serves, each with its share of the attempts while all have jobs.
    pub queues: Vec<(QueueName, NonZeroU32)>,
    /// Attempts at once.
    pub concurrency: NonZeroU32,
    /// How long running attempts may go on after a stop.
    pub grace: Duration,
    /// How long this host may be silent before others take over.
    pub lease: Duration,
    /// Stop by itself once nothing is ready, delayed or in flight.
    pub burst: bool,
    /// Reload plugins that change.
    pub watch: bool,
}

impl ServiceSettings {
    /// The defaults: one queue, this many attempts at once.
    #[must_use]
    pub fn new(queue: QueueName, concurrency: NonZeroU32) -> Self {
        Self {
            queues: vec![(queue, NonZeroU32::MIN)],
            concurrency,
            grace: GRACE_DEFAULT,
            lease: LEASE_DEFAULT,
            burst: false,
            watch: true,
        }
    }
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every attempt finished by itself.
    Clean,
    /// The grace period ended first: these attempts were interrupted and their jobs given back.
    Interrupted(usize),
    /// The store did not take the last settlements: their jobs come back when this host's lease runs out.
    Unsettled,
}

/// Serves queues until `stop`, then drains.
///
/// # Errors
/// When the store fails at the start or at the very end. In between it is waited for.
pub async fn run(
    settings: ServiceSettings,
    store: Store,
    plugins: Arc<Plugins>,
    stop: CancellationToken,
) -> Result<Drained, QueueError> {
    let queues: Vec<_> = settings.queues.iter().map(|(queue, _)| queue.clone()).collect();
    let consumer = Arc::new(Consumer::join(store.clone(), queues, settings.lease).await?);
    let cancel = Cancel::default();
    let worker = Arc::new(Worker::new(Arc::clone(&consumer), Arc::clone(&plugins), cancel.clone()));
    tracing::info!(host = consumer.host(), jobs = %plugins.jobs().join(","), concurrency = settings.concurrency, "worker started");

    // The loops that keep what runs safe go on until the drain is over; the others end with the fetching.
    let drained = CancellationToken::new();
    let loops = TaskTracker::new();
    loops.spawn(until(drained.clone(), heartbeat(Arc::clone(&consumer))));
    for queue in consumer.queues() {
        loops.spawn(until(stop.clone(), promote(store.clone(), queue.clone())));
        loops.spawn(until(
            stop.clone(),
            reap(Arc::clone(&consumer), Arc::clone(&worker), queue.clone()),
        ));
    }
    if settings.watch {
        loops.spawn(watch(plugins, stop.clone()));
    }
    if settings.burst {
        loops.spawn(stop_when_idle(store, Arc::clone(&consumer), stop.clone()));
    }
    let attempts = TaskTracker::new();
    until(stop, fetch(&settings, &consumer, &worker, &attempts)).await;

    let ended = drain(&attempts, &cancel, settings.grace).await;
    drained.cancel();
    loops.close();
    if timeout(CLOSE_TIMEOUT, loops.wait()).await.is_err() {
        tracing::warn!("a plugin is still being compiled; not waiting for it");
    }
    match timeout(CLOSE_TIMEOUT, consumer.close()).await {
        Ok(closed) => closed.map(|()| ended),
        Err(_) => Ok(Drained::Unsettled),
    }
}

/// Runs a loop until the token is cancelled. A loop may be dropped wherever it waits: deliveries it holds then go back.
async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    stop.run_until_cancelled(work).await;
}

/// Takes as many jobs as there are free permits, and starts each.
async fn fetch(settings: &ServiceSettings, consumer: &Arc<Consumer>, worker: &Arc<Worker>, attempts: &TaskTracker) {
    let permits = usize::try_from(settings.concurrency.get()).unwrap_or(Semaphore::MAX_PERMITS);
    let permits = Arc::new(Semaphore::new(permits));
    let (mut fetching, mut waiting) = (Faults::new("fetch"), Faults::new("wait"));
    loop {
        let mut free = acquire(&permits).await;
        let deliveries = match fetch_by_weight(&settings.queues, consumer, free.num_permits()).await {
            Ok(deliveries) => deliveries,
            Err(err) => {
                fetching.wait(&err).await;
                continue;
            }
        };
        fetching.over();
        let idle = deliveries.is_empty();
        for delivery in deliveries {
            let worker = Arc::clone(worker);
            let permit = free.split(1);
            attempts.spawn(async move {
                worker.process(delivery).await;
                drop(permit);
            });
        }
        drop(free);
        if idle {
            match consumer.wait().await {
                Ok(()) => waiting.over(),
                Err(err) => waiting.wait(&err).await,
            }
        }
    }
}

/// Waits for one permit and takes along what else is free.
async fn acquire(permits: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let first = Arc::clone(permits).acquire_owned().await;
    let mut permit = first.unwrap_or_else(|_| unreachable!("nobody closes the semaphore"));
    let more = permits.available_permits().min(MAX_BATCH - 1);
    if let Some(more) = u32::try_from(more)
        .ok()
        .and_then(|n| Arc::clone(permits).try_acquire_many_owned(n).ok())
    {
        permit.merge(more);
    }
    permit
}

/// Fetches up to `count` jobs, first from a queue drawn by weight, then from the others as far as they fill up: none
/// starves while it has weight, and none idles while another has jobs.
async fn fetch_by_weight(
    queues: &[(QueueName, NonZeroU32)],
    consumer: &Consumer,
    count: usize,
) -> Result<Vec<crate::queue::Delivery>, QueueError> {
    let mut order: Vec<_> = queues
        .iter()
        .map(|(queue, weight)| (fastrand::f64().powf(1.0 / f64::from(weight.get())), queue))
        .collect();
    order.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut deliveries = Vec::new();
    for (_, queue) in order {
        let missing = count - deliveries.len();
        if missing == 0 {
            break;
        }
        match consumer.fetch(queue, missing).await {
            Ok(fetched) => deliveries.extend(fetched),
            // What has been fetched must run, whatever else went wrong.
            Err(err) if deliveries.is_empty() => return Err(err),
            Err(_) => break,
        }
    }
    Ok(deliveries)
}

/// Moves due jobs to ready, each as its time comes.
async fn promote(store: Store, queue: QueueName) {
    let mut faults = Faults::new("promote");
    loop {
        match store.promote(&queue).await {
            Ok(promotion) => {
                faults.over();
                if promotion.moved < MAX_BATCH {
                    sleep(promotion.next_due.unwrap_or(PROMOTE_INTERVAL).min(PROMOTE_INTERVAL)).await;
                }
            }
            Err(err) => faults.wait(&err).await,
        }
    }
}

/// Keeps the lease.
async fn heartbeat(consumer: Arc<Consumer>) {
    let mut faults = Faults::new("heartbeat");
    loop {
        match consumer.heartbeat().await {
            Ok(beat) => {
                faults.over();
                if beat == Heartbeat::Lapsed {
                    tracing::warn!("the lease had run out: other hosts may have taken over what runs here");
                }
                sleep(consumer.heartbeat_interval()).await;
            }
            Err(err) => faults.wait(&err).await,
        }
    }
}

/// Takes over what dead hosts held.
async fn reap(consumer: Arc<Consumer>, worker: Arc<Worker>, queue: QueueName) {
    let mut faults = Faults::new("reap");
    loop {
        match consumer.adopt(&queue).await {
            Ok(deliveries) => {
                faults.over();
                let none = deliveries.is_empty();
                for delivery in deliveries {
                    worker.recover(delivery).await;
                }
                if none {
                    sleep(REAP_INTERVAL).await;
                }
            }
            Err(err) => faults.wait(&err).await,
        }
    }
}

/// Stops the service once its queues hold nothing, delayed and in flight included.
async fn stop_when_idle(store: Store, consumer: Arc<Consumer>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let mut idle = true;
        for queue in consumer.queues() {
            idle &= store.counts(queue).await.is_ok_and(|counts| counts.is_empty());
        }
        if idle {
            stop.cancel();
        } else {
            stop.run_until_cancelled(sleep(BURST_INTERVAL)).await;
        }
    }
}

/// Lets running attempts finish; interrupts what is left when the grace period ends.
async fn drain(attempts: &TaskTracker, cancel: &Cancel, grace: Duration) -> Drained {
    attempts.close();
    if !attempts.is_empty() {
        tracing::info!(attempts = attempts.len(), grace_s = grace.as_secs_f64(), "draining");
    }
    cancel.draining.cancel();
    if timeout(grace, attempts.wait()).await.is_ok() {
        return Drained::Clean;
    }
    let left = attempts.len();
    tracing::warn!(attempts = left, "the grace period ended; interrupting");
    cancel.stop.cancel();
    if timeout(CLOSE_TIMEOUT, attempts.wait()).await.is_err() {
        tracing::error!(
            attempts = attempts.len(),
            "attempts would not be interrupted; their lease will bring them back"
        );
    }
    Drained::Interrupted(left)
}

/// A loop's dealings with a store that fails: told once, tried again with growing waits.
struct Faults {
    of: &'static str,
    wait: Duration,
    failing: bool,
}

impl Faults {
    fn new(of: &'static str) -> Self {
        Self {
            of,
            wait: FAULT_WAIT_MIN,
            failing: false,
        }
    }

    async fn wait(&mut self, err: &QueueError) {
        if !self.failing {
            tracing::error!(during = self.of, %err, "the store fails; trying again");
        }
        self.failing = true;
        sleep(self.wait.mul_f64(0.5 + fastrand::f64())).await;
        self.wait = (self.wait * 2).min(FAULT_WAIT_MAX);
    }

    fn over(&mut self) {
        if self.failing {
            tracing::info!(during = self.of, "the store is back");
        }
        *self = Self::new(self.of);
    }
}
