//! A host's claim on some queues: what it fetched, its lease, and the batches in which it settles.
//!
//! Settlements go through a bounded channel to one task for each consumer, which settles whatever has gathered in one
//! round trip and tries again until the store takes it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::select_all;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Claim, Delivery, MAX_BATCH, QueueError, QueueName, Store};
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

/// One host's claim on queues, from start to [`Consumer::close`].
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    settlements: mpsc::Sender<(Delivery, Settlement)>,
    settler: Mutex<Option<JoinHandle<()>>>,
    next_tag: AtomicU64,
    /// A fetch failed on its way: jobs may have moved without our having heard of it.
    suspect: AtomicBool,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    host: String,
    queues: Vec<QueueName>,
    lease: Duration,
    /// Tags of what was fetched and not yet settled.
    held: Mutex<HashSet<u64>>,
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
        let shared = Arc::new(Shared {
            store,
            host: host_name(),
            queues,
            lease,
            held: Mutex::default(),
        });
        let (settlements, receiver) = mpsc::channel(MAX_UNSETTLED);
        let settler = tokio::spawn(settle_in_batches(Arc::clone(&shared), receiver));
        let consumer = Self {
            shared,
            settlements,
            settler: Mutex::new(Some(settler)),
            next_tag: AtomicU64::new(1),
            suspect: AtomicBool::new(false),
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

    /// Time between heartbeats: three may be late before the lease ends.
    #[must_use]
    pub fn heartbeat_interval(&self) -> Duration {
        self.shared.lease * 3 / 10
    }

    /// Deliveries that are fetched and not yet settled.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.shared.held().len()
    }

    /// Takes up to `count` ready jobs, at most [`MAX_BATCH`], without waiting for any.
    ///
    /// # Errors
    /// When the store fails. What may have been taken all the same is given back before the next fetch.
    pub async fn fetch(&self, queue: &QueueName, count: usize) -> Result<Vec<Delivery>, QueueError> {
        if self.suspect.load(Ordering::Relaxed) {
            self.give_back_unknown().await?;
            self.suspect.store(false, Ordering::Relaxed);
        }
        let count = count.min(MAX_BATCH);
        let tag = self.next_tag.fetch_add(count as u64, Ordering::Relaxed);
        // Set before and cleared after, so that a fetch which is dropped half-way is looked into as well.
        self.suspect.store(true, Ordering::Relaxed);
        let jobs = self.shared.store.fetch(&self.shared.claim(queue), tag, count).await?;
        self.suspect.store(false, Ordering::Relaxed);
        Ok(self.shared.deliveries(queue, tag, jobs))
    }

    /// Returns once one of the queues may have a ready job, at the latest after a few seconds. Dropping it is safe:
    /// waiting takes nothing.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wait(&self) -> Result<(), QueueError> {
        let waits = self
            .shared
            .queues
            .iter()
            .map(|queue| Box::pin(self.shared.store.wait(queue)));
        select_all(waits).await.0
    }

    /// Hands a delivery's fate over to be carried out. Waits only while the store is too far behind.
    pub async fn settle(&self, delivery: Delivery, settlement: Settlement) {
        if self.settlements.send((delivery, settlement)).await.is_err() {
            tracing::error!(
                "a delivery could not be settled: the settling task has ended; its lease will bring it back"
            );
        }
    }

    /// Puts the leases off.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn heartbeat(&self) -> Result<Heartbeat, QueueError> {
        let mut heartbeat = Heartbeat::Kept;
        for queue in &self.shared.queues {
            if !self.shared.store.renew(&self.shared.claim(queue)).await? {
                heartbeat = Heartbeat::Lapsed;
            }
        }
        Ok(heartbeat)
    }

    /// Takes over what dead hosts held: each delivery is now this host's to settle.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn adopt(&self, queue: &QueueName) -> Result<Vec<Delivery>, QueueError> {
        let mut adopted = Vec::new();
        let hosts = self.shared.store.leases(queue).await?;
        for (dead, _) in hosts
            .iter()
            .filter(|(host, left_ms)| **left_ms < 0 && **host != self.shared.host)
        {
            let tag = self.next_tag.fetch_add(MAX_BATCH as u64, Ordering::Relaxed);
            let jobs = self.shared.store.adopt(&self.shared.claim(queue), dead, tag).await?;
            tracing::warn!(host = %dead, %queue, jobs = jobs.len(), "took over from a host that died");
            adopted.extend(self.shared.deliveries(queue, tag, jobs));
        }
        Ok(adopted)
    }

    /// Leaves: waits until every settlement handed over is carried out, then gives the leases up. What was fetched and
    /// never settled comes back when the lease runs out.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn close(self) -> Result<(), QueueError> {
        if self.suspect.load(Ordering::Relaxed) {
            self.give_back_unknown().await?;
        }
        let Self {
            shared,
            settlements,
            settler,
            ..
        } = self;
        drop(settlements);
        let settler = settler.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(settler) = settler
            && let Err(err) = settler.await
        {
            tracing::error!(%err, "the settling task ended early");
        }
        for queue in &shared.queues {
            shared.store.leave(&shared.claim(queue)).await?;
        }
        Ok(())
    }

    /// Gives back to the front of their queues what the store says is ours and we do not hold: jobs whose fetch was
    /// carried out, but whose reply was lost.
    async fn give_back_unknown(&self) -> Result<(), QueueError> {
        for queue in &self.shared.queues {
            let claim = self.shared.claim(queue);
            let mut unknown = self.shared.store.held(&claim).await?;
            {
                let held = self.shared.held();
                unknown.retain(|tag| !held.contains(tag));
            }
            // The last fetched first: each goes to the very front.
            unknown.sort_unstable_by(|a, b| b.cmp(a));
            for batch in unknown.chunks(MAX_BATCH) {
                let batch: Vec<_> = batch.iter().map(|tag| (*tag, Settlement::Requeue)).collect();
                self.shared.store.settle(&claim, &batch).await?;
                tracing::warn!(%queue, jobs = batch.len(), "gave back jobs whose delivery was lost on the way");
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

    fn held(&self) -> std::sync::MutexGuard<'_, HashSet<u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliveries(&self, queue: &QueueName, tag: u64, jobs: Vec<Vec<u8>>) -> Vec<Delivery> {
        self.held().extend((tag..).take(jobs.len()));
        (tag..)
            .zip(jobs)
            .map(|(tag, bytes)| Delivery {
                tag,
                queue: queue.clone(),
                bytes,
            })
            .collect()
    }
}

/// Carries settlements out, as many at once as have gathered, until the channel is closed and empty.
async fn settle_in_batches(shared: Arc<Shared>, mut settlements: mpsc::Receiver<(Delivery, Settlement)>) {
    let mut gathered = Vec::with_capacity(MAX_BATCH);
    while settlements.recv_many(&mut gathered, MAX_BATCH).await > 0 {
        for queue in &shared.queues {
            let batch: Vec<_> = gathered
                .extract_if(.., |(delivery, _)| delivery.queue == *queue)
                .map(|(delivery, settlement)| (delivery.tag, settlement))
                .collect();
            if !batch.is_empty() {
                settle_for_sure(&shared, queue, &batch).await;
            }
        }
    }
}

/// Offers a batch until the store takes it. To offer it twice is harmless: each delivery is settled once or refused.
async fn settle_for_sure(shared: &Shared, queue: &QueueName, batch: &[(u64, Settlement)]) {
    let mut wait = SETTLE_RETRY_MIN;
    let mut failures = 0_u32;
    let refused = loop {
        match shared.store.settle(&shared.claim(queue), batch).await {
            Ok(refused) => break refused,
            Err(err) => {
                if failures == 0 {
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
    let mut held = shared.held();
    for (tag, _) in batch {
        held.remove(tag);
    }
}

/// `machine-process-random`: readable in the list of hosts, and never the same twice.
fn host_name() -> String {
    let machine = gethostname::gethostname()
        .to_string_lossy()
        .replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
    format!("{machine}-{}-{:08x}", std::process::id(), fastrand::u32(..))
}
