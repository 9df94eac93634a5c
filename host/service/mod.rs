//! Starts and stops the loops: fetch, look at lanes and orders, promote due jobs, heartbeat, reap, reload, drain.
//!
//! Each loop outlives any fault of the store: it logs the fault once, waits a little and tries again. Only the drain
//! ever waits for a guest, and its grace period limits that.

mod faults;
mod fetch;
mod lanes;
mod loops;
mod progress;
mod room;
mod schedules;
mod sort;
mod stats;
mod successes;
mod sweep;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::{Instant as Moment, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::config::{Expired, HistorySettings, Limit, Unknown};
use crate::observe::{Serving, Vitals};
use crate::plugins::{Plugins, Watching, watch};
use crate::queue::{Consumer, LEASE_DEFAULT, QueueError, QueueName, Retention, Store};
use crate::text;
use crate::worker::{Spans, Worker};
use lanes::{Lanes, look_at_lanes};
use loops::{
    guard, hear_orders, heartbeat, look_at_orders, promote, reap, report, retain, stop_when_idle, write_outboxes,
};
use stats::Stats;

/// How long running attempts may go on after the service was told to stop. Kubernetes kills after 30 s, and what follows
/// the grace period may take three times [`CLOSE_TIMEOUT`].
pub const GRACE_DEFAULT: Duration = Duration::from_secs(20);

/// Time between two rounds of giving back jobs that have not started, while the host drains.
const TIDY_INTERVAL: Duration = Duration::from_millis(100);

/// Time for interrupted guests to give up their threads, and for the last settlements to reach the store.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// How the service runs.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// The queues it serves, each with its weight: its share of the attempts while all have jobs.
    pub queues: Vec<(QueueName, NonZeroU32)>,
    /// Fetch from a queue only while those before it have no ready job, whatever the weights.
    pub strict: bool,
    /// What is kept of the failed list.
    pub retention: Retention,
    /// Attempts at once.
    pub concurrency: NonZeroU32,
    /// Bytes of jobs in hand at once: the limit `job_memory`.
    pub job_memory_bytes: u64,
    /// How long running attempts may go on after a stop.
    pub grace: Duration,
    /// How long this host may be silent before others take over.
    pub lease: Duration,
    /// Stop by itself once nothing is ready, waiting, delayed or in flight, except what is paused. Fires no schedules.
    pub burst: bool,
    /// What becomes of jobs that nobody handles.
    pub unknown: Unknown,
    /// What becomes of jobs that grew too old to run.
    pub expired: Expired,
    /// What is kept of attempts.
    pub history: HistorySettings,
    /// How attempts' spans belong to their producers'; none: nobody is told of spans.
    pub spans: Option<Spans>,
    /// When the plugin folder is looked at.
    pub watching: Watching,
    /// Where the service says how it is doing.
    pub vitals: Arc<Vitals>,
}

impl ServiceSettings {
    /// The defaults, with one queue and this many attempts at once.
    #[must_use]
    pub fn new(queue: QueueName, concurrency: NonZeroU32) -> Self {
        Self {
            queues: vec![(queue, NonZeroU32::MIN)],
            strict: false,
            retention: Retention::default(),
            concurrency,
            job_memory_bytes: Limit::JobMemory.spec().default,
            grace: GRACE_DEFAULT,
            lease: LEASE_DEFAULT,
            burst: false,
            unknown: Unknown::default(),
            expired: Expired::default(),
            history: HistorySettings::default(),
            spans: None,
            watching: Watching {
                by_itself: true,
                ..Watching::default()
            },
            vitals: Arc::default(),
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
    /// The store did not take some settlements: the last ones, or those of jobs that were set aside because it refused
    /// every settlement of them. These jobs come back when this host's lease runs out. Said before [`Self::Interrupted`].
    Unsettled,
}

/// Serves queues until `stop`, then drains. Events go to the subscribers of the plugins.
///
/// # Errors
/// When the store fails at the start or at the very end; in between, the service waits for it. In burst mode also when
/// one of the queues cannot be counted.
pub async fn run(
    settings: ServiceSettings,
    store: Store,
    plugins: Arc<Plugins>,
    stop: CancellationToken,
) -> Result<Drained, QueueError> {
    let queues: Vec<_> = settings.queues.iter().map(|(queue, _)| queue.clone()).collect();
    let events = plugins.events().clone();
    let consumer = Arc::new(Consumer::join(store.clone(), queues, settings.lease, events.clone()).await?);
    let (draining, guests) = (CancellationToken::new(), plugins.guests().clone());
    let waited_for = Arc::clone(&plugins);
    let worker = Arc::new(worker(&settings, &consumer, &plugins, draining.clone()));
    tell_start(&settings, consumer.host(), &plugins);

    // The vital loops keep what this host holds, and go on until all of it is given back. The others end with the
    // fetching.
    let (vital, loops) = (TaskTracker::new(), TaskTracker::new());
    let given_back = CancellationToken::new();
    let vitals = &settings.vitals;
    let (beats, rounds) = (vitals.pulse("heartbeat"), vitals.pulse("guard"));
    vital.spawn(heartbeat(Arc::clone(&consumer), given_back.clone(), beats));
    vital.spawn(until(given_back.clone(), guard(Arc::clone(&consumer), rounds)));
    let counting = Stats::begin(store.clone(), &consumer, &events).add_up(given_back.clone());
    vital.spawn(vitals.watch("stats", counting));
    let noting = successes::note(store.clone(), Arc::clone(&plugins), given_back.clone());
    vital.spawn(vitals.watch("successes", noting));
    let telling = progress::tell(store.clone(), Arc::clone(worker.live()), given_back.clone());
    vital.spawn(vitals.watch("progress", telling));
    // Attempts commit until they have ended.
    let writing = write_outboxes(Arc::clone(&consumer), given_back.clone());
    let writing = AbortOnDropHandle::new(tokio::spawn(vitals.watch("outbox", writing)));
    let promoting = promote(store.clone(), Arc::clone(&consumer), events, stop.clone());
    loops.spawn(vitals.watch("promote", promoting));
    if !settings.retention.keeps_all() {
        let retaining = retain(store.clone(), Arc::clone(&consumer), settings.retention);
        loops.spawn(vitals.watch("retain", until(stop.clone(), retaining)));
    }
    for queue in consumer.queues() {
        let (consumer, worker, plugins) = (Arc::clone(&consumer), Arc::clone(&worker), Arc::clone(&plugins));
        let reaping = reap(consumer, worker, plugins, queue.clone(), stop.clone());
        loops.spawn(vitals.watch("reap", reaping));
    }
    let watching = watch(Arc::clone(&plugins), settings.watching.clone(), stop.clone());
    loops.spawn(vitals.watch("watch", watching));
    let reporting = report(store.clone(), Arc::clone(&consumer), Arc::clone(&plugins), stop.clone());
    loops.spawn(vitals.watch("report", reporting));
    if !settings.burst {
        let firing = schedules::fire(store.clone(), Arc::clone(&consumer), Arc::clone(&plugins), stop.clone());
        loops.spawn(vitals.watch("schedules", firing));
    }
    let burst = settings.burst.then(|| {
        let stopping = stop_when_idle(store, Arc::clone(&consumer), settings.lease, stop.clone());
        loops.spawn(stopping)
    });
    let looking = look_at_lanes(Arc::clone(&consumer), stop.clone());
    loops.spawn(vitals.watch("lanes", looking));
    let sorting = sort::sort(Arc::clone(&consumer), Arc::clone(&worker), stop.clone());
    loops.spawn(vitals.watch("sort", sorting));
    let sweeping = sweep::sweep(Arc::clone(&consumer), Arc::clone(&plugins), stop.clone());
    loops.spawn(vitals.watch("sweep", sweeping));
    let attempts = TaskTracker::new();
    vitals.serves(Serving {
        consumer: Arc::clone(&consumer),
        plugins,
        stop: stop.clone(),
        slots: settings.concurrency,
        jobs: attempts.clone(),
    });
    let lanes = Lanes::new(Arc::clone(&consumer), waited_for);
    // As a trait object: the compiler proves here that it may change threads, and not once more wherever this is spawned.
    let fetching: BoxFuture<'_, ()> = Box::pin(async {
        hear_orders(&consumer).await;
        // Until the last attempt has ended, since its job may be cancelled.
        let looking = until(given_back.clone(), look_at_orders(Arc::clone(&consumer)));
        vital.spawn(vitals.watch("orders", looking));
        fetch::fetch(&settings, &consumer, &worker, lanes, &attempts, &guests).await;
    });
    until(stop.clone(), fetching).await;

    let stopped = Instant::now();
    loops.close();
    let ending = async {
        if timeout(CLOSE_TIMEOUT, loops.wait()).await.is_err() {
            tracing::warn!("a plugin is still being compiled, or the store is slow; not waiting for that");
        }
    };
    let drained = drain(&attempts, &consumer, &draining, settings.grace);
    let (ended, ()) = tokio::join!(drained, ending);
    // A store in an outage may be back before the grace period ends.
    let patience = settings.grace.saturating_sub(stopped.elapsed()).max(CLOSE_TIMEOUT);
    let finished = timeout(patience, consumer.finish()).await;
    given_back.cancel();
    match finished {
        Ok(finished) => finished?,
        Err(_) => return Ok(Drained::Unsettled),
    }
    vital.close();
    vital.wait().await;
    let close_by = Moment::now() + CLOSE_TIMEOUT;
    let closed = match timeout_at(close_by, writing).await {
        Ok(Ok(true)) => timeout_at(close_by, consumer.leave()).await,
        // What is left in the outboxes is for other hosts. They look there once this host's leases have run out.
        _ => Ok(Ok(())),
    };
    if let Some(idle) = burst.filter(JoinHandle::is_finished) {
        idle.await.unwrap_or(Ok(()))?;
    }
    let any_aside = consumer.queues().iter().any(|queue| consumer.aside(queue) > 0);
    match closed {
        Ok(Ok(())) if any_aside => Ok(Drained::Unsettled),
        Ok(closed) => closed.map(|()| ended),
        Err(_) => Ok(Drained::Unsettled),
    }
}

fn worker(
    settings: &ServiceSettings,
    consumer: &Arc<Consumer>,
    plugins: &Arc<Plugins>,
    draining: CancellationToken,
) -> Worker {
    Worker::new(Arc::clone(consumer), Arc::clone(plugins), settings.unknown, draining)
        .with_expired(settings.expired)
        .with_history(settings.history)
        .with_spans(settings.spans)
}

fn tell_start(settings: &ServiceSettings, host: &str, plugins: &Plugins) {
    let queues = settings.queues.iter();
    let queues: Vec<_> = queues.map(|(queue, weight)| format!("{queue}={weight}")).collect();
    let (queues, jobs) = (queues.join(","), text::list(&plugins.jobs(), ","));
    let (concurrency, lease_ms) = (settings.concurrency, whole_ms(settings.lease));
    tracing::info!(host, %queues, %jobs, concurrency, lease_ms, "worker started");
}

/// A length of time as the log has it.
fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Runs a loop until the token is cancelled. A loop may be dropped at any await: its deliveries then go back.
async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    stop.run_until_cancelled(work).await;
}

/// Lets running attempts finish, and interrupts those left when the grace period ends. Jobs that have not started go
/// back at once.
async fn drain(attempts: &TaskTracker, consumer: &Consumer, draining: &CancellationToken, grace: Duration) -> Drained {
    attempts.close();
    if !attempts.is_empty() {
        tracing::info!(attempts = attempts.len(), grace_ms = whole_ms(grace), "draining");
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
            "attempts could not be interrupted; their jobs come back once the lease has run out"
        );
    }
    Drained::Interrupted(left)
}
