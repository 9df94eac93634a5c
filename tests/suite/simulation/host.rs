//! A host as `service` runs it, with attempts that only take time, in a runtime that can die at any instruction.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use kiln::config::{Cap, Manifest};
use kiln::events::Events;
use kiln::outcome::{BatchMark, Commit, Lane, NewJob, Settlement};
use kiln::queue::{Admitted, Consumer, Delivery, LaneWish, QueueError, Store, StoreSettings, Sweep};
use kiln::retry::{self, Moment};
use kiln::state::{Action, BucketId, Change, Condition, Quota, Write};
use kiln::stop::StopReason;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::line::{Held, Ledger, Line, number_in};
use super::{JOBS, Mistake};
use crate::sandbox::json;
use crate::support::default_queue;

/// Short, so that leases are lost all the time.
pub(super) const LEASE: Duration = Duration::from_millis(400);

/// Limited jobs at work at once, over all hosts. Every fourth job is one.
pub(super) const PLACES: usize = 2;

/// Jobs that a host takes at once.
const FETCHED: usize = 4;

/// Pause between two looks of a loop.
const PAUSE: Duration = Duration::from_millis(15);

/// When an attempt was at work: each time is from before it was found that it may be.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) job: usize,
    pub(super) held: Held,
    pub(super) at: Instant,
    /// It is one of those of which only [`PLACES`] may be at work at once.
    pub(super) limited: bool,
}

pub(super) type Steps = Arc<Mutex<Vec<Step>>>;

/// How a host ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// Between two instructions, without a word.
    Dies,
    /// Its process is stopped for longer than its lease, goes on, and then dies.
    Pauses,
    /// It gives back what it holds, as far as the line lets it.
    Leaves,
}

/// What hosts share.
#[derive(Clone)]
pub(super) struct World {
    pub(super) settings: StoreSettings,
    /// The store, if it is in memory.
    pub(super) memory: Option<Store>,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) steps: Steps,
    /// Lines are good from now on.
    pub(super) calm: Arc<AtomicBool>,
    pub(super) mistake: Option<Mistake>,
}

impl World {
    /// The store at the end of a line of its own.
    async fn store(&self, luck: fastrand::Rng) -> Store {
        let store = match &self.memory {
            Some(store) => store.clone(),
            None => Store::open(&self.settings).await.expect("a redis-server"),
        };
        Store::over(Arc::new(Line {
            store: store.into_backend(),
            ledger: Arc::clone(&self.ledger),
            calm: Arc::clone(&self.calm),
            luck: Mutex::new(luck),
            mistake: self.mistake,
        }))
    }
}

/// Runs a host for so long on this thread.
pub(super) fn run(world: World, luck: fastrand::Rng, life: Duration, end: End) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let Ok((consumer, mut parts)) = tokio::time::timeout(life, serve(world, luck)).await else {
            return;
        };
        sleep(life).await;
        match end {
            End::Dies => {}
            End::Pauses => {
                // Blocks all that this host does.
                thread::sleep(LEASE * 2);
                sleep(LEASE).await;
            }
            End::Leaves => {
                parts.shutdown().await;
                // A line that is bad at this moment is one more way to end.
                _ = leave(&consumer).await;
            }
        }
    });
    runtime.shutdown_background();
}

/// The loops of a host.
async fn serve(world: World, mut luck: fastrand::Rng) -> (Arc<Consumer>, JoinSet<()>) {
    let store = world.store(luck.fork()).await;
    let consumer = loop {
        match Consumer::join(store.clone(), vec![default_queue()], LEASE, Events::default()).await {
            Ok(consumer) => break Arc::new(consumer),
            Err(_) => sleep(PAUSE).await,
        }
    };
    let mut parts = JoinSet::new();
    parts.spawn(heartbeat(Arc::clone(&consumer)));
    parts.spawn(guard(Arc::clone(&consumer)));
    parts.spawn(look_at_orders(Arc::clone(&consumer)));
    parts.spawn(promote(store, Arc::clone(&consumer)));
    parts.spawn(reap(Arc::clone(&consumer)));
    parts.spawn(write_outboxes(Arc::clone(&consumer)));
    parts.spawn(work(Arc::clone(&consumer), world, luck));
    (consumer, parts)
}

async fn heartbeat(consumer: Arc<Consumer>) {
    loop {
        note(&consumer, consumer.heartbeat().await);
        sleep(consumer.heartbeat_interval()).await;
    }
}

async fn guard(consumer: Arc<Consumer>) {
    loop {
        sleep(consumer.stop_in_time()).await;
    }
}

async fn look_at_orders(consumer: Arc<Consumer>) {
    loop {
        note(&consumer, consumer.look_at_orders().await);
        sleep(PAUSE).await;
    }
}

async fn promote(store: Store, consumer: Arc<Consumer>) {
    loop {
        note(&consumer, store.promote(&default_queue()).await);
        sleep(PAUSE).await;
    }
}

async fn reap(consumer: Arc<Consumer>) {
    loop {
        let adopted = note(&consumer, consumer.adopt(&default_queue()).await);
        for mut delivery in adopted.unwrap_or_default() {
            delivery.note(&ended(number_in(delivery.bytes()), true));
            let job = delivery.decode().expect("what was pushed");
            consumer.settle(delivery, retry::settle_lost(job, now(&consumer))).await;
        }
        note(
            &consumer,
            consumer.sweep(&default_queue(), &group(), &caps(), Sweep::InTurn).await,
        );
        sleep(PAUSE).await;
    }
}

async fn write_outboxes(consumer: Arc<Consumer>) {
    loop {
        consumer.outbox_filled().await;
        note(&consumer, consumer.empty_outboxes().await);
        sleep(PAUSE).await;
    }
}

async fn leave(consumer: &Consumer) -> Result<(), QueueError> {
    consumer.finish().await?;
    if !consumer.empty_outboxes().await? {
        consumer.leave().await?;
    }
    Ok(())
}

async fn work(consumer: Arc<Consumer>, world: World, mut luck: fastrand::Rng) {
    let mut attempts = JoinSet::new();
    loop {
        let lanes = [LaneWish {
            lane: Lane::of_plugin("slow"),
            jobs: FETCHED,
        }];
        let fetched = consumer.fetch_from(&default_queue(), FETCHED, &lanes, None).await;
        let served = consumer.serve(&default_queue(), FETCHED, &group(), &caps(), None).await;
        let fetched = note(&consumer, fetched).into_iter().flatten();
        for delivery in fetched.chain(note(&consumer, served).into_iter().flatten()) {
            attempts.spawn(attempt(Arc::clone(&consumer), delivery, world.clone(), luck.fork()));
        }
        while attempts.len() >= FETCHED {
            attempts.join_next().await;
        }
        sleep(PAUSE).await;
    }
}

async fn attempt(consumer: Arc<Consumer>, mut delivery: Delivery, world: World, mut luck: fastrand::Rng) {
    let World { steps, mistake, .. } = world;
    let (stop, job) = (delivery.stop(), number_in(delivery.bytes()));
    delivery.note(&ended(job, true));
    let ends = |delivery: &Delivery| Settlement::Fail {
        entry: String::from_utf8_lossy(delivery.bytes()).into_owned(),
    };
    delivery.starts(&delivery.decode().expect("what was pushed"));
    let is_cancelled = consumer.is_cancelled(&default_queue(), &job.to_string());
    if is_cancelled && mistake != Some(Mistake::StartsWhatIsCancelled) {
        let settlement = ends(&delivery);
        return consumer.settle(delivery, settlement).await;
    }
    let (limited, lane) = (job.is_multiple_of(4), Lane::of_limits("limited", "*"));
    if limited && delivery.lane() != Some(&lane) && mistake != Some(Mistake::StartsWithoutAPlace) {
        // As a worker does it, or as whoever sorts jobs into lanes.
        let admitted = if luck.bool() {
            consumer.admit(&mut delivery, &lane, &caps().into()).await
        } else {
            None
        };
        match admitted {
            Some(Admitted::Starts) => {}
            Some(Admitted::Waits | Admitted::Gone) => return,
            None => return consumer.settle(delivery, Settlement::Wait { lane }).await,
        }
    }
    for _ in 0..luck.u32(1..8) {
        let at = Instant::now();
        if stop.reason() == Some(StopReason::Cancelled) && mistake != Some(Mistake::StartsWhatIsCancelled) {
            let settlement = ends(&delivery);
            return consumer.settle(delivery, settlement).await;
        }
        if stop.is_stopped() && mistake != Some(Mistake::LetsGuestsOutliveTheLease) {
            consumer.settle(delivery, Settlement::Requeue).await;
            return;
        }
        let held = (consumer.host().to_owned(), delivery.tag());
        steps.lock().push(Step { job, held, at, limited });
        sleep(Duration::from_millis(luck.u64(..30))).await;
    }
    let decoded = delivery.decode().expect("what was pushed");
    let settlement = match luck.u32(..20) {
        ..2 => Settlement::Requeue,
        2..4 => Settlement::Wait {
            lane: Lane::of_plugin("slow"),
        },
        4..7 => retry::wait(decoded, consumer.now(), consumer.now()),
        7 => Settlement::Fail {
            entry: String::from_utf8_lossy(delivery.bytes()).into_owned(),
        },
        // Not settled at all: it goes back.
        8 => return,
        _ => Settlement::Ack { result: None }.with(Commit {
            writes: vec![counts_one()],
            jobs: vec![follows("after", &job.to_string())],
            ..ended(job, false)
        }),
    };
    consumer.settle(delivery, settlement).await;
}

/// That a job of the batch `all` has ended.
fn ended(job: usize, failed: bool) -> Commit {
    let mark = BatchMark {
        id: "all".to_owned(),
        of: JOBS as u64,
        member: job.to_string(),
        failed,
        adds: Vec::new(),
        then: None,
        complete: Some(follows("ended", "complete")),
        late: Some(follows("ended", "late")),
    };
    Commit {
        batches: vec![mark],
        ..Commit::default()
    }
}

/// A job that nobody serves.
fn follows(queue: &str, id: &str) -> NewJob {
    NewJob {
        queue: queue.to_owned(),
        job: json(&format!(r#"{{"id":"{id}","name":"after"}}"#)),
        due_ms: None,
    }
}

fn group() -> Lane {
    Lane::of_group("limited")
}

fn caps() -> Vec<Cap> {
    let limit = format!("[[limit]]\nconcurrency = {PLACES}");
    Manifest::parse(&limit).expect("a manifest").caps
}

/// Where completed jobs count themselves.
pub(super) fn bucket() -> BucketId {
    BucketId::shared("counts")
}

fn counts_one() -> Write {
    let change = Change {
        key: "done".to_owned(),
        action: Action::Add(1),
        condition: Condition::Always,
        ttl_ms: None,
        keeps_time: false,
    };
    Write {
        bucket: bucket(),
        quota: Quota { bytes: 100, keys: 1 },
        changes: vec![change],
    }
}

fn now(consumer: &Consumer) -> Moment {
    Moment {
        now: consumer.now(),
        luck: 0.0,
    }
}

fn note<T>(consumer: &Consumer, answer: Result<T, QueueError>) -> Option<T> {
    answer.inspect_err(|err| _ = consumer.note(err)).ok()
}
