//! A host's claim on some queues: what it takes, settles and gives back, and its leases.

mod admissions;
mod arrival;
mod cancelling;
mod cancels;
mod clock;
mod delivery;
mod fetching;
mod heartbeat;
mod held;
mod in_flight;
mod lanes;
mod lease;
mod orders;
mod outage;
mod outbox;
mod outboxes;
mod pausing;
mod refusals;
mod settler;
mod shared;
mod turns;
mod unique;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use admissions::Admissions;
pub use arrival::{Arrival, MAX_PIECE_TRIES};
use cancels::KnownCancels;
use clock::Clock;
pub use delivery::Delivery;
pub use heartbeat::Heartbeat;
use in_flight::InFlight;
pub use lease::LEASE_DEFAULT;
use lease::Lease;
use orders::KnownOrders;
use outage::Outage;
use outboxes::Outboxes;
pub(super) use refusals::MAX_REFUSALS;
pub(super) use settler::{MAX_BEHIND, MAX_UNSETTLED, MAX_UNSETTLED_KIB};
use settler::{Settled, room_kib, settle_in_batches};
use shared::Shared;

use super::error::QueueError;
use super::limits::MAX_BATCH;
use super::queue_name::QueueName;
use super::store::Store;
use crate::events::{Event, Events};
use crate::outcome::Settlement;
use crate::stop::Moment;

/// One host's claim on queues, from start to [`Consumer::leave`].
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    queues: Vec<QueueName>,
    /// One channel for each table: a queue whose settlements the store refuses must not delay those of other queues.
    settlements: Vec<mpsc::Sender<Settled>>,
    settlers: Mutex<Vec<JoinHandle<()>>>,
    /// Free room for settlements in KiB, one semaphore for each table.
    room: Vec<Arc<Semaphore>>,
    /// One for each table.
    admissions: Vec<Admissions>,
    closing: CancellationToken,
    /// Stops every attempt.
    stop: CancellationToken,
    next_tag: AtomicU64,
}

impl Consumer {
    /// Joins the hosts that serve `queues`, under an identity that no other host and no earlier start has. What happens
    /// to its deliveries goes to `events`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn join(
        store: Store,
        queues: Vec<QueueName>,
        lease: Duration,
        events: Events,
    ) -> Result<Self, QueueError> {
        let (stop, closing) = (CancellationToken::new(), CancellationToken::new());
        let table = |queue: &QueueName| InFlight::new(Lease::new(queue.clone(), lease, stop.clone()));
        let shared = Arc::new(Shared {
            store,
            host: host_name(),
            tables: queues.iter().map(table).collect(),
            length: lease,
            room_kib: (MAX_UNSETTLED_KIB / u32::try_from(queues.len().max(1)).unwrap_or(u32::MAX)).max(1),
            lanes: Arc::default(),
            orders: KnownOrders::default(),
            cancels: KnownCancels::new(queues.len()),
            outboxes: Outboxes::default(),
            outage: Outage::new(events.clone()),
            events,
            clock: Clock::default(),
        });
        let settler = |table| {
            let (settlements, receiver) = mpsc::channel(MAX_UNSETTLED);
            let settling = settle_in_batches(Arc::clone(&shared), table, receiver, closing.clone());
            (settlements, tokio::spawn(settling))
        };
        let room = queues
            .iter()
            .map(|_| Arc::new(Semaphore::new(shared.room_kib as usize)))
            .collect();
        let (settlements, settlers) = (0..queues.len()).map(settler).unzip();
        let admissions = queues.iter().map(|queue| Admissions::begin(&shared, queue)).collect();
        let consumer = Self {
            shared,
            queues,
            settlements,
            settlers: Mutex::new(settlers),
            room,
            admissions,
            closing,
            stop,
            next_tag: AtomicU64::new(1),
        };
        consumer.heartbeat().await?;
        for queue in &consumer.queues {
            // An earlier host may have left something there.
            consumer.shared.outboxes.filled(queue);
        }
        Ok(consumer)
    }

    /// This host's identity, as leases and logs show it.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.shared.host
    }

    /// The queues it serves.
    #[must_use]
    pub fn queues(&self) -> &[QueueName] {
        &self.queues
    }

    /// The time by the store's clock, as near as heartbeats tell it: what is written into jobs.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// How long its leases last, and so how long it may be silent.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.shared.length
    }

    /// Time until the first of its leases ends; zero if one has ended.
    #[must_use]
    pub fn lease_left(&self) -> Duration {
        let left = self.shared.tables.iter().map(|table| table.lease.left());
        left.min().unwrap_or_default()
    }

    /// How many deliveries it has to settle.
    #[must_use]
    pub fn held(&self) -> usize {
        self.shared.tables.iter().map(InFlight::held).sum()
    }

    /// The attempts that have run for at least so long: the queue, the job's id, and for how long. In no order.
    #[must_use]
    pub fn running(&self, least: Duration) -> Vec<(&QueueName, String, Duration)> {
        let tables = self.shared.tables.iter();
        let running = tables.flat_map(|table| {
            let of_table = table.running(least).into_iter();
            of_table.map(|(id, runs_for)| (table.queue(), id, runs_for))
        });
        running.collect()
    }

    /// Whether the store can be used, as far as was noticed.
    #[must_use]
    pub fn store_answers(&self) -> bool {
        !self.shared.outage.is_on()
    }

    /// Takes over some jobs of dead hosts: at once, or, if this host's own lease is young, after some host has known
    /// for a while that they are dead. Each of these jobs may have started, and is now this host's to settle.
    ///
    /// # Errors
    /// When the store fails before anything could be taken over.
    pub async fn adopt(&self, queue: &QueueName) -> Result<Vec<Delivery>, QueueError> {
        let Some((_, table)) = self.table(queue).filter(|(_, table)| !table.is_behind()) else {
            return Ok(Vec::new());
        };
        let found = self.shared.backend().dead(queue).await?;
        let patience = table.lease.patience();
        // Whoever waits out the patience looks more often meanwhile.
        let waits = !found.hosts.is_empty() && !patience.is_zero();
        table
            .lease
            .next_ends_in(if waits { Some(patience / 10) } else { found.next });
        for dead in found.hosts.iter().filter(|host| **host != self.shared.host) {
            let taking = self.shared.take(table).await?;
            let tag = self.next_tag.fetch_add(MAX_BATCH as u64, Ordering::Relaxed);
            let (asked, claim) = (Moment::now(), self.shared.claim(queue));
            let Some(taken) = self
                .shared
                .backend()
                .adopt(&claim, dead, tag, MAX_BATCH, patience)
                .await?
            else {
                taking.nothing();
                return Ok(Vec::new());
            };
            let deliveries = taking.heard(tag, taken.jobs, asked);
            self.shared.outboxes.filled(queue);
            // A dead host that held nothing only loses its lease.
            if !deliveries.is_empty() {
                self.shared.events.tell(Event::Adopted {
                    queue: queue.as_str(),
                    host: dead,
                    jobs: deliveries.len(),
                });
                return Ok(deliveries);
            }
        }
        Ok(Vec::new())
    }

    /// How long until the next lease on a queue runs out, unless it is renewed, as the last [`Self::adopt`] found it. None: that
    /// one did not look, or it was told already.
    #[must_use]
    pub fn next_lease_end(&self, queue: &QueueName) -> Option<Duration> {
        self.table(queue)?.1.lease.next_end()
    }

    /// Returns once one of the queues may have a ready job, at the latest after a few seconds. Cancel safe: waiting
    /// takes nothing.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wait_ready(&self) -> Result<(), QueueError> {
        self.wait_ready_on(&self.queues).await
    }

    /// The same for some of the queues.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wait_ready_on(&self, queues: &[QueueName]) -> Result<(), QueueError> {
        self.shared.backend().wait_ready(queues).await
    }

    /// The queues that have a due job. Returns once one may have, at the latest after a few seconds.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wait_due(&self) -> Result<Vec<QueueName>, QueueError> {
        self.wait_due_on(&self.queues).await
    }

    /// The same for some of the queues.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wait_due_on(&self, queues: &[QueueName]) -> Result<Vec<QueueName>, QueueError> {
        self.shared.backend().wait_due(queues).await
    }

    /// Hands over a delivery's fate to be carried out. Waits only while too many settlements are pending.
    pub async fn settle(&self, delivery: Delivery, settlement: Settlement) {
        let Some((place, _)) = self.table(&delivery.queue) else {
            return;
        };
        let on_its_way = match &settlement {
            Settlement::Wait { lane } => Some(self.shared.lanes.expect(&delivery.queue, &lane.group())),
            _ => None,
        };
        let kib = room_kib(&delivery, &settlement).min(self.shared.room_kib);
        let room = Arc::clone(&self.room[place]).try_acquire_many_owned(kib).ok();
        let settled = Settled {
            delivery,
            settlement,
            written: false,
            answered: false,
            refusals: None,
            _on_its_way: on_its_way,
            room,
        };
        let waits = if settled.room.is_none() {
            settled
        } else {
            match self.settlements[place].try_send(settled) {
                Ok(()) => return,
                Err(TrySendError::Full(settled) | TrySendError::Closed(settled)) => settled,
            }
        };
        // In a box: nearly always there is room, and the state of every job would have to hold this one.
        Box::pin(self.hand_over(waits, place, kib)).await;
    }

    /// Hands over a settlement once there is room for it.
    async fn hand_over(&self, mut settled: Settled, place: usize, kib: u32) {
        if settled.room.is_none() {
            settled.room = Arc::clone(&self.room[place]).acquire_many_owned(kib).await.ok();
        }
        if self.settlements[place].send(settled).await.is_err() {
            tracing::error!("a delivery came too late to be settled; its job goes back");
        }
    }

    /// Gives back dropped deliveries now, without taking jobs.
    ///
    /// # Errors
    /// When the store fails. They are given back later then.
    pub async fn tidy(&self) -> Result<(), QueueError> {
        let mut done = Ok(());
        for table in &self.shared.tables {
            match self.shared.take(table).await {
                Ok(taking) => taking.nothing(),
                Err(err) => done = Err(err),
            }
        }
        done
    }

    /// Tells every attempt to stop.
    pub fn stop_attempts(&self) {
        self.stop.cancel();
    }

    /// Cancels the attempts that run the job with this id, or are about to, and returns how many: several jobs may have
    /// one id. Each ends as a failed entry of kind `cancelled`.
    pub fn cancel(&self, id: &str) -> usize {
        self.shared.tables.iter().map(|table| table.cancel(id)).sum()
    }

    /// Records an error of the store, and reports it once if the store cannot be used. False: the error means something
    /// else, and nothing was reported.
    pub fn note(&self, err: &QueueError) -> bool {
        self.shared.outage.note(err)
    }

    /// Waits about that long before the next try, or until the outage is over.
    pub async fn wait_out(&self, about: Duration) {
        self.shared.outage.wait(about).await;
    }

    /// How many deliveries of a queue are set aside, because the store refuses every settlement of them. They stay in
    /// flight until this process has ended and another host takes them over.
    #[must_use]
    pub fn aside(&self, queue: &QueueName) -> usize {
        self.table(queue)
            .map_or(0, |(_, table)| table.aside.load(Ordering::Relaxed))
    }

    /// Waits until every settlement handed over is carried out, and gives back deliveries that were never settled.
    /// Later settlements are refused. The leases must still be renewed meanwhile.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn finish(&self) -> Result<(), QueueError> {
        self.closing.cancel();
        let settlers = std::mem::take(&mut *self.settlers.lock());
        for settler in settlers {
            if let Err(err) = settler.await {
                tracing::error!(%err, "a settling task ended early");
            }
        }
        for table in &self.shared.tables {
            table.suspect().await;
        }
        self.tidy().await
    }

    /// Gives the leases up, after [`Self::finish`]. Other hosts look into the outboxes of a host whose lease ran out, but
    /// not into those of one that left. So a host that could not empty its outboxes does not leave.
    ///
    /// # Errors
    /// When the store fails for any of them.
    pub async fn leave(&self) -> Result<(), QueueError> {
        let mut done = Ok(());
        for queue in &self.queues {
            done = done.and(self.shared.backend().leave(&self.shared.claim(queue)).await);
        }
        done
    }

    fn table(&self, queue: &QueueName) -> Option<(usize, &InFlight)> {
        let mut tables = self.shared.tables.iter().enumerate();
        tables.find(|(_, table)| table.queue() == queue)
    }
}

/// `machine-process-random`: readable in the list of hosts, and never the same twice.
fn host_name() -> String {
    let machine = gethostname::gethostname()
        .to_string_lossy()
        .replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
    format!("{machine}-{}-{:08x}", std::process::id(), fastrand::u32(..))
}
