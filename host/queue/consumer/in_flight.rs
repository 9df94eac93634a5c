//! A host's in-flight table of one queue, as this process knows it: its lease and its deliveries.
//!
//! The store's table and this process' deliveries may differ: a reply can be lost, a delivery dropped. So the two are
//! compared after every fault, and regularly besides. What the process does not hold goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::delivery::Delivery;
use super::held::HeldTags;
use super::lease::Lease;
use crate::queue::backend::Backend;
use crate::queue::error::QueueError;
use crate::queue::limits::{MAX_BATCH, MAX_BATCH_BYTES};
use crate::queue::moves::{Arrived, Claim, LaneWish, Wish};
use crate::queue::queue_name::QueueName;
use crate::stop::{Moment, StopToken};

/// Fewest bytes that a fetch, or a piece of a large job, asks for. A connection that cannot carry these within the read
/// time-out is of no use for jobs.
pub(super) const MIN_PIECE_BYTES: usize = 64 * 1024;

/// Time between two comparisons of the table with the deliveries held, when there was no fault.
const COMPARE_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) lease: Lease,
    /// The store refuses so many settlements that no more should be taken.
    pub(super) behind: AtomicBool,
    /// Number of deliveries set aside: the store refused every settlement offered for them.
    pub(super) aside: AtomicUsize,
    held: Arc<HeldTags>,
    /// Locked by whoever moves jobs into the table, until they are registered in `held`.
    taking: tokio::sync::Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Jobs may have moved without this process hearing of it.
    suspect: bool,
    /// When the table was last compared.
    compared: Instant,
    /// Most bytes that one fetch asks for. Shrinks after a fetch that did not arrive, then grows again.
    bytes: usize,
    /// Length of the largest job met lately. Halves with each fetch without one as large.
    largest: usize,
}

/// The right to move jobs into a table. If the outcome of a move stays unknown, the next holder compares the table
/// first.
pub(super) struct Taking<'a> {
    table: &'a InFlight,
    state: tokio::sync::MutexGuard<'a, State>,
}

impl Taking<'_> {
    /// The arguments of a fetch of up to so many jobs.
    pub(super) fn wish<'a>(&self, jobs: usize, lanes: &'a [LaneWish], longest: Option<usize>) -> Wish<'a> {
        let (bytes, largest) = (self.state.bytes, self.state.largest);
        Wish {
            jobs,
            lanes,
            longest,
            bytes,
            largest,
        }
    }

    /// Most bytes that a fetch may bring now.
    pub(super) fn bytes(&self) -> usize {
        self.state.bytes
    }

    /// What was fetched did not arrive, though the store can be reached: the next fetch asks for less. In the end it
    /// asks for one job's length alone, so that a job that never arrives can be given up.
    pub(super) fn did_not_come(mut self) {
        let bytes = self.state.bytes;
        self.state.bytes = match bytes {
            0..=MIN_PIECE_BYTES => 0,
            _ => (bytes / 4).max(MIN_PIECE_BYTES),
        };
        tracing::warn!(queue = %self.table.queue(), bytes, "a fetch did not arrive; asking for fewer bytes at once");
    }

    /// The store, asked at `asked`, has answered that these jobs came under the tags from `tag` on.
    pub(super) fn heard(mut self, tag: u64, jobs: Vec<Arrived>, asked: Moment) -> Vec<Delivery> {
        let largest = jobs.iter().map(|job| job.len).max();
        self.state.largest = (self.state.largest / 2).max(largest.unwrap_or(1)).max(1);
        self.state.bytes = (self.state.bytes * 2).clamp(MIN_PIECE_BYTES, MAX_BATCH_BYTES);
        let (held, now) = (&self.table.held, Instant::now());
        let lease = self.table.lease.running_since(asked);
        let deliver = |(tag, job)| {
            let stop = Arc::new(StopToken::under(&lease));
            Delivery::new(tag, self.table.queue(), job, now, held, stop)
        };
        let deliveries: Vec<_> = (tag..).zip(jobs).map(deliver).collect();
        held.add(deliveries.iter().map(|delivery| (delivery.tag, delivery.stop())));
        self.state.suspect = false;
        deliveries
    }

    /// The store has answered that nothing was moved.
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
            aside: AtomicUsize::new(0),
            held: Arc::default(),
            taking: tokio::sync::Mutex::new(state),
        }
    }

    pub(super) fn queue(&self) -> &QueueName {
        &self.lease.queue
    }

    /// Cancels the attempts that run the job with this id, and tells how many.
    pub(super) fn cancel(&self, id: &str) -> usize {
        self.held.cancel(id)
    }

    /// Cancels the attempts whose jobs' ids it holds for.
    pub(super) fn cancel_if(&self, is_cancelled: impl Fn(&str) -> bool) {
        self.held.cancel_if(is_cancelled);
    }

    /// The attempts that have run for at least so long: the job's id, and for how long.
    pub(super) fn running(&self, least: Duration) -> Vec<(String, Duration)> {
        self.held.running(least)
    }

    /// How many deliveries this process holds.
    pub(super) fn held(&self) -> usize {
        self.held.count()
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    /// Waits for the right to move jobs, and compares the table first if that is due. If this fails or is dropped, the
    /// comparison is due again.
    pub(super) async fn take(&self, store: &dyn Backend, claim: &Claim<'_>) -> Result<Taking<'_>, QueueError> {
        let mut state = self.taking.lock().await;
        let dropped = self.held.take_dropped();
        if state.suspect || dropped || state.compared.elapsed() > COMPARE_INTERVAL {
            state.suspect = true;
            self.give_back_unknown(store, claim).await?;
            state.compared = Instant::now();
        }
        state.suspect = true;
        Ok(Taking { table: self, state })
    }

    /// Has the table compared before the next move.
    pub(super) async fn suspect(&self) {
        self.taking.lock().await.suspect = true;
    }

    /// Gives back to the front of the queue what the store says is ours but this process does not hold: jobs of a fetch
    /// whose reply was lost, and deliveries that were dropped.
    async fn give_back_unknown(&self, store: &dyn Backend, claim: &Claim<'_>) -> Result<(), QueueError> {
        let mut unknown = store.held(claim).await?;
        self.held.retain_unknown(&mut unknown);
        // The last fetched go back first, since each goes to the very front.
        unknown.sort_unstable_by(|a, b| b.cmp(a));
        for batch in unknown.chunks(MAX_BATCH) {
            let jobs = store.give_back(claim, batch).await?;
            tracing::info!(queue = %claim.queue, jobs, "gave jobs back to the front of their queue");
        }
        Ok(())
    }
}
