//! A host's claim on some queues: what it fetched, its lease, and the batches in which it settles.
//!
//! Settlements go through a bounded channel to one task for each consumer, which settles whatever has gathered in one
//! round trip and tries again until the store takes it.
//!
//! What the store says is in this host's table and what this process holds can differ: a reply may be lost, a delivery
//! dropped. So the two are compared, after every fault and now and then, and what is not held goes back.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::{MutexGuard, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Claim, Delivery, MAX_BATCH, MAX_BATCH_BYTES, QueueError, QueueName, Store};
use crate::outcome::Settlement;

/// How long a host may be silent before others take over what it holds. Recovery after a crash takes this long and no
/// more; much less, and a pause of a busy machine would pass for a crash.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(10);

/// Settlements held while the store cannot take them. Beyond that attempts wait, so nothing grows.
const MAX_UNSETTLED: usize = 1024;

/// First wait before a batch is offered again; doubles.
const SETTLE_RETRY_MIN: Duration = Duration::from_millis(50);

/// Longest wait before a batch is offered again.
const SETTLE_RETRY_MAX: Duration = Duration::from_secs(2);

/// Refusals of a batch between two log lines about it: about half a minute.
const SETTLE_RETRIES_LOGGED: u32 = 16;

/// How often this host's table is compared with what it holds, without any fault.
const COMPARE_INTERVAL: Duration = Duration::from_secs(30);

/// One host's claim on queues, from start to [`Consumer::close`].
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    settlements: mpsc::Sender<(Delivery, Settlement)>,
    settler: Mutex<Option<JoinHandle<()>>>,
    closing: CancellationToken,
    next_tag: AtomicU64,
    /// Held by whoever moves jobs into this host's table, until they are held here too.
    taking: tokio::sync::Mutex<Taking>,
    waiting: tokio::sync::Mutex<Waiting>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    host: String,
    queues: Vec<QueueName>,
    lease: Duration,
    held: Held,
}

/// The tags of the deliveries that this process has. A delivery takes its own out when it is dropped.
pub(super) type Held = Arc<Mutex<HashSet<u64>>>;

#[derive(Debug)]
struct Taking {
    /// Jobs may have moved without our having heard of it.
    suspect: bool,
    /// When the table was last compared.
    compared: Instant,
}

/// The waits under way, one for each queue. They outlive a call of [`Consumer::wait`]: to end a wait is to close its
/// connection, and a push to one queue must not cost new connections for all the others.
#[derive(Debug, Default)]
struct Waiting {
    tasks: JoinSet<(QueueName, Result<(), QueueError>)>,
    queues: HashSet<QueueName>,
}

/// What a heartbeat found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeat {
    /// The lease was good and has been put off.
    Kept,
    /// The lease had run out: other hosts may have taken over what this one held. It has a new one.
    Lapsed,
}

impl Consumer {
    /// Joins the hosts that serve `queues`, under an identity that no other host and no earlier start has.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn join(store: Store, queues: Vec<QueueName>, lease: Duration) -> Result<Self, QueueError> {
        let (host, held) = (host_name(), Held::default());
        let shared = Arc::new(Shared {
            store,
            host,
            queues,
            lease,
            held,
        });
        let (settlements, receiver) = mpsc::channel(MAX_UNSETTLED);
        let closing = CancellationToken::new();
        let settler = tokio::spawn(settle_in_batches(Arc::clone(&shared), receiver, closing.clone()));
        let taking = Taking {
            suspect: false,
            compared: Instant::now(),
        };
        let consumer = Self {
            shared,
            settlements,
            settler: Mutex::new(Some(settler)),
            closing,
            next_tag: AtomicU64::new(1),
            taking: tokio::sync::Mutex::new(taking),
            waiting: tokio::sync::Mutex::default(),
        };
        consumer.heartbeat().await?;
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
        &self.shared.queues
    }

    /// Time between heartbeats: two may fail before the lease ends.
    #[must_use]
    pub fn heartbeat_interval(&self) -> Duration {
        self.shared.lease * 3 / 10
    }

    /// Takes up to `count` ready jobs, at most [`MAX_BATCH`], without waiting for any.
    ///
    /// # Errors
    /// When the store fails. What may have been taken all the same goes back before anything else is taken.
    pub async fn fetch(&self, queue: &QueueName, count: usize) -> Result<Vec<Delivery>, QueueError> {
        let mut taking = self.begin_taking().await?;
        let count = count.min(MAX_BATCH);
        let tag = self.next_tag.fetch_add(count as u64, Ordering::Relaxed);
        let jobs = self.shared.store.fetch(&self.shared.claim(queue), tag, count).await?;
        let deliveries = self.shared.deliveries(queue, tag, jobs);
        taking.suspect = false;
        Ok(deliveries)
    }

    /// Takes over what dead hosts held, some at a time: each delivery is now this host's to settle.
    ///
    /// # Errors
    /// When the store fails before anything could be taken over.
    pub async fn adopt(&self, queue: &QueueName) -> Result<Vec<Delivery>, QueueError> {
        let hosts = self.shared.store.counts(queue).await?.hosts;
        for (dead, _) in hosts
            .iter()
            .filter(|(host, left_ms)| **left_ms < 0 && **host != self.shared.host)
        {
            let mut taking = self.begin_taking().await?;
            let tag = self.next_tag.fetch_add(MAX_BATCH as u64, Ordering::Relaxed);
            let jobs = self.shared.store.adopt(&self.shared.claim(queue), dead, tag).await?;
            let deliveries = self.shared.deliveries(queue, tag, jobs);
            taking.suspect = false;
            // One that held nothing only had its lease taken away.
            if !deliveries.is_empty() {
                tracing::warn!(host = %dead, %queue, jobs = deliveries.len(), "took over from a host that died");
                return Ok(deliveries);
            }
        }
        Ok(Vec::new())
    }

    /// Returns once one of the queues may have a ready job, at the latest after a few seconds. Dropping it is safe:
    /// waiting takes nothing.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wait(&self) -> Result<(), QueueError> {
        let mut waiting = self.waiting.lock().await;
        let Waiting { tasks, queues } = &mut *waiting;
        for queue in &self.shared.queues {
            if queues.insert(queue.clone()) {
                let (store, queue) = (self.shared.store.clone(), queue.clone());
                tasks.spawn(async move {
                    let waited = store.wait(&queue).await;
                    (queue, waited)
                });
            }
        }
        if let Some(Ok((queue, waited))) = tasks.join_next().await {
            queues.remove(&queue);
            return waited;
        }
        // One that panicked does not say whose it was; all begin anew.
        *waiting = Waiting::default();
        Ok(())
    }

    /// Hands a delivery's fate over to be carried out. Waits only while the store is too far behind.
    pub async fn settle(&self, delivery: Delivery, settlement: Settlement) {
        if self.settlements.send((delivery, settlement)).await.is_err() {
            tracing::error!("a delivery came too late to be settled; its lease will bring it back");
        }
    }

    /// Puts the leases off. One that cannot be reached in time does not hold up the others.
    ///
    /// # Errors
    /// When the store fails for any of them.
    pub async fn heartbeat(&self) -> Result<Heartbeat, QueueError> {
        let patience = self.shared.lease.max(Duration::from_secs(1)) / 4;
        let beats = self.shared.queues.iter().map(async |queue| {
            let claim = self.shared.claim(queue);
            let renewed = tokio::time::timeout(patience, self.shared.store.renew(&claim)).await;
            renewed.unwrap_or(Err(QueueError::Slow { patience }))
        });
        let kept = join_all(beats).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(if kept.into_iter().all(|kept| kept) {
            Heartbeat::Kept
        } else {
            Heartbeat::Lapsed
        })
    }

    /// Leaves: waits until every settlement handed over is carried out, gives back what was never settled, and gives
    /// the leases up. Settlements that come later are refused.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn close(&self) -> Result<(), QueueError> {
        self.closing.cancel();
        let settler = self.settler.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(settler) = settler
            && let Err(err) = settler.await
        {
            tracing::error!(%err, "the settling task ended early");
        }
        self.waiting.lock().await.tasks.abort_all();
        self.taking.lock().await.suspect = true;
        drop(self.begin_taking().await?);
        for queue in &self.shared.queues {
            self.shared.store.leave(&self.shared.claim(queue)).await?;
        }
        Ok(())
    }

    /// Compares this host's table with what it holds if that is due. Until the caller says otherwise, and so also if it
    /// fails or is dropped, it is due again.
    async fn begin_taking(&self) -> Result<MutexGuard<'_, Taking>, QueueError> {
        let mut taking = self.taking.lock().await;
        if taking.suspect || taking.compared.elapsed() > COMPARE_INTERVAL {
            taking.suspect = true;
            self.give_back_unknown().await?;
            taking.compared = Instant::now();
        }
        taking.suspect = true;
        Ok(taking)
    }

    /// Gives back to the front of their queues what the store says is ours and we do not hold: jobs whose fetch was
    /// carried out, but whose reply was lost, and deliveries that were dropped.
    async fn give_back_unknown(&self) -> Result<(), QueueError> {
        for queue in &self.shared.queues {
            let claim = self.shared.claim(queue);
            let mut unknown = self.shared.store.held(&claim).await?;
            {
                let held = self.shared.held.lock().unwrap_or_else(PoisonError::into_inner);
                unknown.retain(|tag| !held.contains(tag));
            }
            // The last fetched first: each goes to the very front.
            unknown.sort_unstable_by(|a, b| b.cmp(a));
            for batch in unknown.chunks(MAX_BATCH) {
                let batch: Vec<_> = batch.iter().map(|tag| (*tag, &Settlement::Requeue)).collect();
                self.shared.store.settle(&claim, &batch).await?;
                tracing::info!(%queue, jobs = batch.len(), "gave jobs back to the front of their queue");
            }
        }
        Ok(())
    }
}

impl Shared {
    fn claim<'a>(&'a self, queue: &'a QueueName) -> Claim<'a> {
        Claim {
            host: &self.host,
            queue,
            lease: self.lease,
        }
    }

    fn deliveries(&self, queue: &QueueName, tag: u64, jobs: Vec<Vec<u8>>) -> Vec<Delivery> {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend((tag..).take(jobs.len()));
        let deliver = |(tag, bytes)| Delivery {
            tag,
            queue: queue.clone(),
            bytes,
            held: Arc::clone(&self.held),
        };
        (tag..).zip(jobs).map(deliver).collect()
    }
}

impl Drop for Delivery {
    /// Settled or lost: it is held no longer.
    fn drop(&mut self) {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.tag);
    }
}

/// Carries settlements out, as many at once as have gathered, until it is told to close and none is left.
async fn settle_in_batches(
    shared: Arc<Shared>,
    mut settlements: mpsc::Receiver<(Delivery, Settlement)>,
    closing: CancellationToken,
) {
    let mut gathered = Vec::with_capacity(MAX_BATCH);
    loop {
        let received = tokio::select! {
            biased;
            () = closing.cancelled(), if !settlements.is_closed() => {
                settlements.close();
                continue;
            }
            received = settlements.recv_many(&mut gathered, MAX_BATCH) => received,
        };
        if received == 0 {
            return;
        }
        for queue in &shared.queues {
            let mut batch: Vec<_> = gathered
                .extract_if(.., |(delivery, _)| delivery.queue == *queue)
                .collect();
            while !batch.is_empty() {
                let rest = batch.split_off(fitting(&batch));
                settle_for_sure(&shared, queue, &batch).await;
                batch = rest;
            }
        }
    }
}

/// How many of a batch, at least one, go to the store in one message.
fn fitting(batch: &[(Delivery, Settlement)]) -> usize {
    let mut bytes = 0;
    let fits = batch.iter().take_while(|(_, settlement)| {
        bytes += size(settlement);
        bytes <= MAX_BATCH_BYTES
    });
    fits.count().max(1)
}

fn size(settlement: &Settlement) -> usize {
    match settlement {
        Settlement::Ack { result } => result.as_ref().map_or(0, |(id, json)| id.len() + json.len()),
        Settlement::Retry { job, .. } => job.len(),
        Settlement::Fail { entry } => entry.len(),
        Settlement::Requeue => 0,
    }
}

/// Offers a batch until the store takes it. To offer it twice is harmless: each delivery is settled once or refused.
async fn settle_for_sure(shared: &Shared, queue: &QueueName, batch: &[(Delivery, Settlement)]) {
    let by_tag: Vec<_> = batch
        .iter()
        .map(|(delivery, settlement)| (delivery.tag, settlement))
        .collect();
    let mut wait = SETTLE_RETRY_MIN;
    let mut failures = 0_u32;
    let refused = loop {
        match shared.store.settle(&shared.claim(queue), &by_tag).await {
            Ok(refused) => break refused,
            Err(err) => {
                if failures.is_multiple_of(SETTLE_RETRIES_LOGGED) {
                    tracing::warn!(%queue, jobs = batch.len(), %err, "settlements wait for the store");
                }
                failures += 1;
            }
        }
        tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64())).await;
        wait = (wait * 2).min(SETTLE_RETRY_MAX);
    };
    if failures > 0 {
        tracing::info!(%queue, jobs = batch.len(), "settlements delivered after an outage");
    } else if refused > 0 {
        tracing::warn!(%queue, jobs = refused, "settlements refused: another host had taken these jobs over");
    }
}

/// `machine-process-random`: readable in the list of hosts, and never the same twice.
fn host_name() -> String {
    let machine = gethostname::gethostname()
        .to_string_lossy()
        .replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
    format!("{machine}-{}-{:08x}", std::process::id(), fastrand::u32(..))
}
