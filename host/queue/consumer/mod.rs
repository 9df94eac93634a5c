//! A host's claim on some queues: what it takes, settles and gives back, and its leases.

mod arrival;
mod clock;
mod delivery;
mod held;
mod in_flight;
mod lanes;
mod lease;
mod outage;
mod outbox;
mod outboxes;
mod refusals;
mod settler;
mod shared;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use arrival::{Arrival, MAX_PIECE_TRIES};
use clock::Clock;
pub use delivery::Delivery;
use in_flight::InFlight;
use lanes::name_lanes;
pub use lease::LEASE_DEFAULT;
use lease::Lease;
use outage::Outage;
use outboxes::Outboxes;
use settler::{MAX_UNSETTLED, MAX_UNSETTLED_KIB, Settled, room_kib, settle_in_batches};
use shared::Shared;

use super::error::QueueError;
use super::limits::MAX_BATCH;
use super::moves::LaneWish;
use super::queue_name::QueueName;
use super::store::Store;
use crate::events::{Event, Events, LeaseLoss};
use crate::outcome::Settlement;
use crate::stop::Moment;

/// Longest time between two looks at the clock by which leases end: timers stop while the machine sleeps, that clock
/// does not.
const GUARD_INTERVAL: Duration = Duration::from_millis(500);

/// Leases that end within this time of each other are lost together.
const TOGETHER: Duration = Duration::from_millis(50);

/// One host's claim on queues, from start to [`Consumer::close`].
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    queues: Vec<QueueName>,
    /// One channel for each table: a queue whose settlements the store refuses must not delay those of other queues.
    settlements: Vec<mpsc::Sender<Settled>>,
    settlers: Mutex<Vec<JoinHandle<()>>>,
    /// Free room for settlements in KiB, one semaphore for each table.
    room: Vec<Arc<Semaphore>>,
    closing: CancellationToken,
    /// Stops every attempt.
    stop: CancellationToken,
    next_tag: AtomicU64,
}

/// What a heartbeat found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeat {
    /// The lease was good and has been renewed.
    Kept,
    /// The lease had run out: other hosts may have taken over its jobs. The attempts under it were stopped, and there
    /// is a new lease.
    Lapsed,
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
        let consumer = Self {
            shared,
            queues,
            settlements,
            settlers: Mutex::new(settlers),
            room,
            closing,
            stop,
            next_tag: AtomicU64::new(1),
        };
        consumer.heartbeat().await?;
        // An earlier host may have left something in the outboxes.
        consumer.shared.outboxes.filled.notify_one();
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

    /// Time between heartbeats: two may fail before the lease ends.
    #[must_use]
    pub fn heartbeat_interval(&self) -> Duration {
        self.shared.length * 3 / 10
    }

    /// Takes up to `count` ready jobs, at most [`MAX_BATCH`], without waiting for any. If the lease has run out, takes
    /// no job but a new lease.
    ///
    /// # Errors
    /// When the store fails. Jobs that may have been taken all the same go back before the next fetch.
    pub async fn fetch(&self, queue: &QueueName, count: usize) -> Result<Vec<Delivery>, QueueError> {
        self.fetch_from(queue, count, &[], None).await
    }

    /// Like [`Self::fetch`], but takes jobs of these lanes first, as many as each asks for. With `longest`, a ready job
    /// of more bytes moves to the lane of large jobs and waits there.
    ///
    /// # Errors
    /// As for [`Self::fetch`].
    pub async fn fetch_from(
        &self,
        queue: &QueueName,
        count: usize,
        lanes: &[LaneWish],
        longest: Option<usize>,
    ) -> Result<Vec<Delivery>, QueueError> {
        let Some((_, table)) = self.table(queue) else {
            return Ok(Vec::new());
        };
        if table.is_behind() {
            let queue = queue.clone();
            return Err(QueueError::Behind { queue });
        }
        let taking = self.shared.take(table).await?;
        let count = count.min(MAX_BATCH);
        let tag = self.next_tag.fetch_add(count as u64, Ordering::Relaxed);
        let (asked, stop, lessons) = (Moment::now(), table.lease.running(), self.shared.lanes.lessons());
        let wish = taking.wish(count, lanes, longest);
        let taken = match self.shared.backend().fetch(&self.shared.claim(queue), tag, wish).await {
            Ok(Some(taken)) => taken,
            Ok(None) => {
                taking.nothing();
                self.shared.renew(&table.lease).await?;
                return Ok(Vec::new());
            }
            Err(err) => {
                // Small messages get through, so it is the size of the fetch that failed.
                if err.is_on_the_way() && self.shared.renew(&table.lease).await.is_ok() {
                    taking.did_not_come();
                }
                return Err(err);
            }
        };
        if !taken.jobs.is_empty() {
            table.lease.renewed(asked);
        }
        // The answer may have waited while this process was suspended. If the lease ended meanwhile, the jobs must not
        // start.
        self.stop_in_time();
        let mut deliveries = taking.heard(tag, taken.jobs, &stop);
        name_lanes(&mut deliveries, lanes, &taken.lanes);
        for (LaneWish { lane, .. }, _) in lanes.iter().zip(&taken.lanes).filter(|(_, taken)| taken.left == 0) {
            self.shared.lanes.forget(queue, lane, lessons);
        }
        if !deliveries.is_empty() {
            self.shared.events.tell(Event::Fetched {
                queue: queue.as_str(),
                first_tag: tag,
                jobs: deliveries.len(),
            });
        }
        Ok(deliveries)
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
        let dead = self.shared.backend().dead(queue).await?;
        for dead in dead.iter().filter(|host| **host != self.shared.host) {
            let taking = self.shared.take(table).await?;
            let tag = self.next_tag.fetch_add(MAX_BATCH as u64, Ordering::Relaxed);
            let (stop, claim, patience) = (table.lease.running(), self.shared.claim(queue), table.lease.patience());
            let Some(taken) = self
                .shared
                .backend()
                .adopt(&claim, dead, tag, MAX_BATCH, patience)
                .await?
            else {
                taking.nothing();
                return Ok(Vec::new());
            };
            let deliveries = taking.heard(tag, taken.jobs, &stop);
            self.shared.outboxes.filled.notify_one();
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
            Settlement::Wait { lane } => Some(self.shared.lanes.expect(&delivery.queue, lane)),
            _ => None,
        };
        let kib = room_kib(&settlement).min(self.shared.room_kib);
        let room = Arc::clone(&self.room[place]).acquire_many_owned(kib).await;
        let settled = Settled {
            delivery,
            settlement,
            written: false,
            refusals: None,
            _on_its_way: on_its_way,
            _room: room.ok(),
        };
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

    /// Renews the leases.
    ///
    /// # Errors
    /// When the store cannot be used, or refuses all of them.
    pub async fn heartbeat(&self) -> Result<Heartbeat, QueueError> {
        let (mut all, mut failed) = (None, None);
        for (queue, beat) in self.queues.iter().zip(self.heartbeats().await) {
            match beat {
                Ok(beat) => all = all.filter(|all| *all == Heartbeat::Lapsed).or(Some(beat)),
                Err(err) if err.is_outage() => return Err(err),
                Err(err) => failed = failed.or(Some((queue, err))),
            }
        }
        match (all, failed) {
            (None, Some((queue, err))) => Err(QueueError::Queue {
                queue: queue.clone(),
                source: Box::new(err),
            }),
            (all, _) => Ok(all.unwrap_or(Heartbeat::Kept)),
        }
    }

    /// Renews the leases, and returns the result of each, in the order of the queues. One that the store refuses, or
    /// that gets no answer in time, does not delay the others.
    pub async fn heartbeats(&self) -> Vec<Result<Heartbeat, QueueError>> {
        let beats = self.shared.tables.iter().map(|table| async move {
            let kept = self.shared.renew(&table.lease).await?;
            Ok(if kept { Heartbeat::Kept } else { Heartbeat::Lapsed })
        });
        let beats = join_all(beats).await;
        let is_outage = |beat: &Result<_, QueueError>| beat.as_ref().is_err_and(QueueError::is_outage);
        if !beats.iter().any(is_outage) {
            self.shared.outage.beat();
        }
        beats
    }

    /// Stops the attempts under any lease that is about to end unrenewed, and returns when to look again. So no two
    /// hosts run one job at once, as long as this host's clock runs.
    pub fn stop_in_time(&self) -> Duration {
        let (mut next, mut stopped, mut soon) = (GUARD_INTERVAL, Vec::new(), Vec::new());
        for table in &self.shared.tables {
            match table.lease.stop_in_time() {
                Ok(left) if left < TOGETHER => soon.push((table, left)),
                Ok(left) => next = next.min(left),
                Err(_stopped) => stopped.push(table.queue().as_str()),
            }
        }
        if stopped.is_empty() {
            return soon.iter().fold(next, |next, (_, left)| next.min(*left));
        }
        // One outage ends the leases on all queues within moments: that is reported as one loss.
        for (table, _) in soon {
            if table.lease.ran_out() {
                stopped.push(table.queue().as_str());
            }
        }
        self.shared.events.tell(Event::LeaseLost {
            queues: &stopped,
            loss: LeaseLoss::NotRenewed,
        });
        next
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
        self.tidy().await?;
        // What is left in the outboxes is for other hosts, or for the next start.
        self.empty_outboxes().await.map(|_left| ())
    }

    /// Leaves: calls [`Self::finish`], and gives the leases up.
    ///
    /// # Errors
    /// When the store fails for any of them.
    pub async fn close(&self) -> Result<(), QueueError> {
        let mut done = self.finish().await;
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
