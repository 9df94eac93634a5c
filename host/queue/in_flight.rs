//! A host's in-flight table of one queue, as this process knows it: its lease, what is held, what may differ.
//!
//! What the store says is in the table and what this process holds can differ: a reply may be lost, a delivery dropped.
//! So the two are compared, after every fault and now and then, and what is not held goes back.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::consumer::Shared;
use super::lease::Lease;
use super::{Arrived, Delivery, MAX_BATCH, MAX_BATCH_BYTES, QueueError, QueueName, Told, Wish};
use crate::outcome::Settlement;
use crate::stop::Stop;
use parking_lot::{Mutex, MutexGuard};

/// Fewest bytes that a fetch, or one of the pieces of a large job, is to bring: a connection that cannot carry these in the
/// time an answer may take is of no use for jobs.
pub(super) const MIN_PIECE_BYTES: usize = 64 * 1024;

/// How often a table is compared with what is held, without any fault.
const COMPARE_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) lease: Lease,
    /// The store refuses so many settlements that no more should be taken.
    pub(super) behind: AtomicBool,
    held: Arc<Held>,
    /// Held by whoever moves jobs into the table, until they are held here too.
    taking: tokio::sync::Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Jobs may have moved without our having heard of it.
    suspect: bool,
    /// When the table was last compared.
    compared: Instant,
    /// Bytes that one fetch may bring. Fewer after one that took too long, then more again.
    bytes: usize,
    /// The length of the largest job met lately. Halves with each fetch that met none so large.
    largest: usize,
}

/// The tags of the deliveries that this process has.
#[derive(Debug, Default)]
pub(super) struct Held {
    tags: Mutex<HashSet<u64>>,
    /// Some were dropped unsettled: they are still in the table.
    dropped: AtomicBool,
}

impl Held {
    /// A delivery has come to its end.
    pub(super) fn release(&self, tag: u64, settled: bool) {
        self.tags().remove(&tag);
        if !settled {
            self.dropped.store(true, Ordering::Release);
        }
    }

    fn tags(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.tags.lock()
    }
}

/// The right to move jobs into a table. Unless what became of that was heard, the table is compared before the next.
pub(super) struct Taking<'a> {
    table: &'a InFlight,
    state: tokio::sync::MutexGuard<'a, State>,
}

impl Taking<'_> {
    /// How much a fetch of so many jobs should ask for.
    pub(super) fn wish(&self, jobs: usize) -> Wish {
        let (bytes, largest) = (self.state.bytes, self.state.largest);
        Wish { jobs, bytes, largest }
    }

    /// A fetch has taken too long: the next asks for less.
    pub(super) fn too_slow(mut self) {
        let bytes = self.state.bytes;
        self.state.bytes = (bytes / 4).max(MIN_PIECE_BYTES);
        tracing::warn!(queue = %self.table.queue(), bytes, "a fetch took too long; asking for fewer bytes at once");
    }

    /// The store has answered that these came under the tags from `tag` on.
    pub(super) fn heard(mut self, tag: u64, jobs: Vec<Arrived>, stop: &Arc<Stop>) -> Vec<Delivery> {
        let largest = jobs.iter().map(|job| job.len).max();
        self.state.largest = (self.state.largest / 2).max(largest.unwrap_or(1)).max(1);
        self.state.bytes = (self.state.bytes * 2).min(MAX_BATCH_BYTES);
        let held = &self.table.held;
        held.tags().extend((tag..).take(jobs.len()));
        let deliver = |(tag, job)| Delivery {
            tag,
            queue: self.table.queue().clone(),
            job,
            held: Arc::clone(held),
            settled: false,
            stop: Arc::clone(stop),
            told: Told::default(),
        };
        let deliveries = (tag..).zip(jobs).map(deliver).collect();
        self.state.suspect = false;
        deliveries
    }

    /// Nothing was moved.
    pub(super) fn nothing(mut self) {
        self.state.suspect = false;
    }
}

impl InFlight {
    pub(super) fn new(lease: Lease) -> Self {
        let state = State {
            suspect: false,
            compared: Instant::now(),
            bytes: MAX_BATCH_BYTES,
            largest: 1,
        };
        Self {
            lease,
            behind: AtomicBool::new(false),
            held: Arc::default(),
            taking: tokio::sync::Mutex::new(state),
        }
    }

    pub(super) fn queue(&self) -> &QueueName {
        &self.lease.queue
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    /// Waits for its turn, and compares the table first if that is due. If it fails or is dropped, it is due again.
    pub(super) async fn take(&self, shared: &Shared) -> Result<Taking<'_>, QueueError> {
        let mut state = self.taking.lock().await;
        let dropped = self.held.dropped.swap(false, Ordering::AcqRel);
        if state.suspect || dropped || state.compared.elapsed() > COMPARE_INTERVAL {
            state.suspect = true;
            self.give_back_unknown(shared).await?;
            state.compared = Instant::now();
        }
        state.suspect = true;
        Ok(Taking { table: self, state })
    }

    /// Has the table compared before anything else is taken.
    pub(super) async fn suspect(&self) {
        self.taking.lock().await.suspect = true;
    }

    /// Gives back to the front of the queue what the store says is ours and we do not hold: jobs whose fetch was carried
    /// out, but whose reply was lost, and deliveries that were dropped.
    async fn give_back_unknown(&self, shared: &Shared) -> Result<(), QueueError> {
        let queue = self.queue();
        let claim = shared.claim(queue);
        let mut unknown = shared.store.held(&claim).await?;
        {
            let held = self.held.tags();
            unknown.retain(|tag| !held.contains(tag));
        }
        // The last fetched first: each goes to the very front.
        unknown.sort_unstable_by(|a, b| b.cmp(a));
        for batch in unknown.chunks(MAX_BATCH) {
            let batch: Vec<_> = batch.iter().map(|tag| (*tag, &Settlement::Requeue)).collect();
            shared.store.settle(&claim, &batch, &mut HashSet::new()).await?;
            tracing::info!(%queue, jobs = batch.len(), "gave jobs back to the front of their queue");
        }
        Ok(())
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.held.release(self.tag, self.settled);
        if self.settled
            && let Some(tell) = self.told.0.take()
        {
            tell();
        }
    }
}
