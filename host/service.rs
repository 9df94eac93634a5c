//! Starts and stops the loops: fetch, promote due jobs, heartbeat, reap, reload, drain.
//!
//! Each loop outlives any fault of the store: it says so once, waits a little and tries again. None of them ever waits
//! for a guest, except the drain, and that has its grace period.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::plugins::{Plugins, watch};
use crate::queue::{Consumer, Delivery, LEASE_DEFAULT, MAX_BATCH, QueueError, QueueName, Retention, Store};
use crate::worker::Worker;

/// How long running attempts may go on after the service was told to stop. Kubernetes kills after 30 s, and what follows
/// the grace period may take three times [`CLOSE_TIMEOUT`].
pub const GRACE_DEFAULT: Duration = Duration::from_secs(20);

/// Least time between two looks at the delayed sets, which change all the time under load. A due job may be late by
/// 100 ms.
const PROMOTE_PAUSE: Duration = Duration::from_millis(20);

/// Time between two looks for hosts that died.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two looks at how long the failed list and its entries are.
const RETAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Time between two rounds of giving back what will not start any more, while the host drains.
const TIDY_INTERVAL: Duration = Duration::from_millis(100);

/// Time between two looks whether everything is done, in burst mode.
const BURST_INTERVAL: Duration = Duration::from_millis(50);

/// Time for interrupted guests to give up their threads, and for the last settlements to reach the store.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Wait before a loop asks the store again after a fault; doubles up to [`FAULT_WAIT_MAX`].
const FAULT_WAIT_MIN: Duration = Duration::from_millis(100);
const FAULT_WAIT_MAX: Duration = Duration::from_secs(1);

/// How the service runs.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// The queues it serves, each with its share of the attempts while all have jobs.
    pub queues: Vec<(QueueName, NonZeroU32)>,
    /// Serve a queue only while those before it have no ready job, whatever the shares.
    pub strict: bool,
    /// What is kept of the failed list.
    pub retention: Retention,
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
            strict: false,
            retention: Retention::default(),
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
    let draining = CancellationToken::new();
    let worker = Arc::new(Worker::new(
        Arc::clone(&consumer),
        Arc::clone(&plugins),
        draining.clone(),
    ));
    let queues = settings
        .queues
        .iter()
        .map(|(queue, weight)| format!("{queue}={weight}"));
    let (queues, jobs) = (queues.collect::<Vec<_>>().join(","), plugins.jobs().join(","));
    let (host, concurrency, lease_s) = (consumer.host(), settings.concurrency, settings.lease.as_secs_f64());
    tracing::info!(host, %queues, %jobs, concurrency, lease_s, "worker started");

    // The loops that keep what this host holds go on until it has given all of it back; the others end with the fetching.
    let (vital, loops) = (TaskTracker::new(), TaskTracker::new());
    let given_back = CancellationToken::new();
    vital.spawn(heartbeat(Arc::clone(&consumer), given_back.clone()));
    vital.spawn(until(given_back.clone(), guard(Arc::clone(&consumer))));
    loops.spawn(promote(store.clone(), Arc::clone(&consumer), stop.clone()));
    if !settings.retention.keeps_all() {
        let retaining = retain(store.clone(), Arc::clone(&consumer), settings.retention);
        loops.spawn(until(stop.clone(), retaining));
    }
    for queue in consumer.queues() {
        let (consumer, worker) = (Arc::clone(&consumer), Arc::clone(&worker));
        loops.spawn(reap(consumer, worker, queue.clone(), stop.clone()));
    }
    if settings.watch {
        loops.spawn(watch(plugins, stop.clone()));
    }
    if settings.burst {
        loops.spawn(stop_when_idle(store, Arc::clone(&consumer), stop.clone()));
    }
    let attempts = TaskTracker::new();
    until(stop, fetch(&settings, &consumer, &worker, &attempts)).await;

    let stopped = Instant::now();
    let ended = drain(&attempts, &consumer, &draining, settings.grace).await;
    loops.close();
    if timeout(CLOSE_TIMEOUT, loops.wait()).await.is_err() {
        tracing::warn!("a plugin is still being compiled, or the store is slow; not waiting for that");
    }
    // A store that is away may be back before the grace period ends.
    let patience = settings.grace.saturating_sub(stopped.elapsed()).max(CLOSE_TIMEOUT);
    let finished = timeout(patience, consumer.finish()).await;
    given_back.cancel();
    match finished {
        Ok(finished) => finished?,
        Err(_) => return Ok(Drained::Unsettled),
    }
    vital.close();
    vital.wait().await;
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
    let (mut fetching, mut waiting) = (Faults::new(consumer, "fetch"), Faults::new(consumer, "wait"));
    loop {
        let mut free = acquire(&permits).await;
        let order = order(settings);
        let (deliveries, failed) = fetch_in_order(&order, consumer, free.num_permits()).await;
        match failed {
            None => fetching.over(),
            Some(err) if deliveries.is_empty() => {
                fetching.wait(&err).await;
                continue;
            }
            Some(err) => fetching.tell(&err),
        }
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
            match consumer.wait_ready().await {
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

/// In which order queues are asked for jobs this time: as they were named, or drawn by weight, so that none starves.
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
    // Stable: where nothing was drawn, the order stays.
    order.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    order.into_iter().map(|(_, queue)| queue).collect()
}

/// Fetches up to `count` jobs from the first queue, then from the others as far as they fill up: none idles while
/// another has jobs. What can be fetched is, whatever is wrong with one of them.
async fn fetch_in_order(
    order: &[&QueueName],
    consumer: &Consumer,
    count: usize,
) -> (Vec<Delivery>, Option<QueueError>) {
    let (mut deliveries, mut failed) = (Vec::new(), None);
    for queue in order {
        let missing = count - deliveries.len();
        if missing == 0 {
            break;
        }
        match consumer.fetch(queue, missing).await {
            Ok(fetched) => deliveries.extend(fetched),
            Err(err) => failed = failed.or(Some(err)),
        }
    }
    (deliveries, failed)
}

/// Moves due jobs to ready, each as its time comes. Stops only between two promotions: one that is broken off may leave
/// its jobs in both places.
async fn promote(store: Store, consumer: Arc<Consumer>, stop: CancellationToken) {
    let mut faults = Faults::new(&consumer, "promote");
    while let Some(due) = stop.run_until_cancelled(consumer.wait_due()).await {
        let promoted = match due {
            Ok(due) => promote_due(&store, &due).await,
            Err(err) => Err(err),
        };
        match promoted {
            Ok(()) => faults.over(),
            Err(err) => _ = stop.run_until_cancelled(faults.wait(&err)).await,
        }
        sleep(PROMOTE_PAUSE).await;
    }
}

async fn promote_due(store: &Store, due: &[QueueName]) -> Result<(), QueueError> {
    let mut done = Ok(());
    for queue in due {
        // One that cannot be served must not keep the others from it.
        done = promote_all(store, queue).await.and(done);
    }
    done
}

async fn promote_all(store: &Store, queue: &QueueName) -> Result<(), QueueError> {
    while store.promote(queue).await? > 0 {}
    Ok(())
}

/// Keeps the leases. Stops only between two heartbeats: one that is under way could bring back a lease just given up.
async fn heartbeat(consumer: Arc<Consumer>, stop: CancellationToken) {
    let mut faults = Faults::new(&consumer, "heartbeat");
    while !stop.is_cancelled() {
        match consumer.heartbeat().await {
            Ok(_) => {
                faults.over();
                stop.run_until_cancelled(sleep(consumer.heartbeat_interval())).await;
            }
            Err(err) => _ = stop.run_until_cancelled(faults.wait(&err)).await,
        }
    }
}

/// Stops what runs under a lease that cannot be kept.
async fn guard(consumer: Arc<Consumer>) {
    loop {
        sleep(consumer.stop_in_time()).await;
    }
}

/// Drops of the failed list what the operator does not want kept.
async fn retain(store: Store, consumer: Arc<Consumer>, retention: Retention) {
    let mut faults = Faults::new(&consumer, "retain");
    loop {
        match store.retain_failed(&retention, Timestamp::now()).await {
            Ok(0) => {
                faults.over();
                sleep(RETAIN_INTERVAL).await;
            }
            Ok(entries) => tracing::warn!(entries, "dropped the oldest entries of the failed list, as configured"),
            Err(err) => faults.wait(&err).await,
        }
    }
}

/// Takes over what dead hosts held. Stops only between two rounds: what was taken over and is not settled would go back
/// as if it had never started.
async fn reap(consumer: Arc<Consumer>, worker: Arc<Worker>, queue: QueueName, stop: CancellationToken) {
    let mut faults = Faults::new(&consumer, "reap");
    while !stop.is_cancelled() {
        match consumer.adopt(&queue).await {
            Ok(deliveries) => {
                faults.over();
                let none = deliveries.is_empty();
                for delivery in deliveries {
                    worker.recover(delivery).await;
                }
                if none {
                    stop.run_until_cancelled(sleep(REAP_INTERVAL)).await;
                }
            }
            Err(err) => _ = stop.run_until_cancelled(faults.wait(&err)).await,
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

/// Lets running attempts finish; interrupts what is left when the grace period ends. What has not started goes back at
/// once.
async fn drain(attempts: &TaskTracker, consumer: &Consumer, draining: &CancellationToken, grace: Duration) -> Drained {
    attempts.close();
    if !attempts.is_empty() {
        tracing::info!(attempts = attempts.len(), grace_s = grace.as_secs_f64(), "draining");
    }
    draining.cancel();
    let tidying = async {
        loop {
            sleep(TIDY_INTERVAL).await;
            if let Err(err) = consumer.tidy().await {
                consumer.note(&err);
            }
        }
    };
    tokio::select! {
        biased;
        () = attempts.wait() => return Drained::Clean,
        () = sleep(grace) => {}
        () = tidying => {}
    }
    let left = attempts.len();
    tracing::warn!(attempts = left, "the grace period ended; interrupting");
    consumer.stop_attempts();
    if timeout(CLOSE_TIMEOUT, attempts.wait()).await.is_err() {
        tracing::error!(
            attempts = attempts.len(),
            "attempts would not be interrupted; their lease will bring them back"
        );
    }
    Drained::Interrupted(left)
}

/// A loop's dealings with a store that fails: told once, tried again with growing waits.
struct Faults<'a> {
    consumer: &'a Consumer,
    of: &'static str,
    wait: Duration,
    told: bool,
}

impl<'a> Faults<'a> {
    fn new(consumer: &'a Consumer, of: &'static str) -> Self {
        Self {
            consumer,
            of,
            wait: FAULT_WAIT_MIN,
            told: false,
        }
    }

    fn tell(&mut self, err: &QueueError) {
        if !self.consumer.note(err) && !self.told {
            tracing::error!(during = self.of, %err, "the store refuses; trying again");
            self.told = true;
        }
    }

    async fn wait(&mut self, err: &QueueError) {
        self.tell(err);
        self.consumer.wait_out(self.wait).await;
        self.wait = (self.wait * 2).min(FAULT_WAIT_MAX);
    }

    fn over(&mut self) {
        if self.told {
            tracing::info!(during = self.of, "the store takes it again");
        }
        *self = Self::new(self.consumer, self.of);
    }
}

#[cfg(test)]
mod tests {
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
}
