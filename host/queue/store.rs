//! The place where jobs are, for producers and operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::backend::Backend;
use super::batches::BatchState;
use super::counts::Counts;
use super::error::QueueError;
use super::firing::{Fired, Firing};
use super::memory::MemoryStore;
use super::metered::Metered;
use super::moves::{Ended, Found, JobsPage, LanesPage, Part, Search};
use super::orders::{Pausable, Pause};
use super::push::Push;
use super::queue_name::QueueName;
use super::redis::RedisStore;
use super::settings::StoreSettings;
use super::sums::{Span, Sums};
use crate::events::Events;
use crate::outcome::Lane;

/// The place where jobs are, in Redis or in this process. Cheap to clone: clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    /// The same backend, if it is Redis: benchmarks send plain commands through it.
    redis: Option<Arc<RedisStore>>,
}

impl Store {
    /// Connects to the store, or makes one in memory.
    ///
    /// # Errors
    /// When the URL is wrong or Redis cannot be reached.
    pub async fn open(settings: &StoreSettings) -> Result<Self, QueueError> {
        if settings.url == "memory:" {
            return Ok(Self::over(Arc::new(MemoryStore::new(settings))));
        }
        let redis = Arc::new(RedisStore::connect(settings).await?);
        Ok(Self {
            backend: Arc::clone(&redis) as Arc<dyn Backend>,
            redis: Some(redis),
        })
    }

    /// A store of some other kind.
    #[doc(hidden)]
    #[must_use]
    pub fn over(backend: Arc<dyn Backend>) -> Self {
        Self { backend, redis: None }
    }

    /// The same store, which tells `events` of each operation from now on: how long it takes, and whether it fails.
    #[must_use]
    pub fn watched(self, events: Events) -> Self {
        Self {
            backend: Arc::new(Metered::new(self.backend, events)),
            redis: self.redis,
        }
    }

    /// The backend, for a test to wrap.
    #[doc(hidden)]
    #[must_use]
    pub fn into_backend(self) -> Arc<dyn Backend> {
        self.backend
    }

    /// Adds jobs, in their order.
    ///
    /// # Errors
    /// When the store fails; some of the jobs may then have been added.
    pub async fn push(&self, jobs: &[Push]) -> Result<(), QueueError> {
        self.backend.push(jobs).await
    }

    /// The result a completed job returned, while it is kept.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn result(&self, id: &str) -> Result<Option<String>, QueueError> {
        self.backend.result(id).await
    }

    /// What is known of a batch.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn batch(&self, id: &str) -> Result<Option<BatchState>, QueueError> {
        self.backend.batch(id).await
    }

    /// What is kept of how a job ended.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ended(&self, id: &str) -> Result<Ended, QueueError> {
        self.backend.ended(id).await
    }

    /// The same. Returns once anything is known, at the latest after a few seconds.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wait_ended(&self, id: &str) -> Result<Ended, QueueError> {
        self.backend.wait_ended(id).await
    }

    /// The queues that Kiln has served or pushed to in the last month, whether or not they hold anything, and those that a
    /// search finds.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn queues(&self, search: Search) -> Result<Found, QueueError> {
        self.backend.queues(search).await
    }

    /// Records that this host serves these queues, so that operators see them. Cheap to call often.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_queues(&self, queues: &[QueueName]) -> Result<(), QueueError> {
        self.backend.note_queues(queues).await
    }

    /// How much is in a queue, and who serves it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn counts(&self, queue: &QueueName) -> Result<Counts, QueueError> {
        self.backend.counts(queue).await
    }

    /// Moves due jobs from delayed to ready, at most [`MAX_BATCH`](super::MAX_BATCH) of them, and returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn promote(&self, queue: &QueueName) -> Result<usize, QueueError> {
        self.backend.promote(queue).await
    }

    /// Adds the jobs of schedules whose instants have come by the store's clock, each instant once, whoever asks. Returns the
    /// store's time, and what became of each.
    ///
    /// # Errors
    /// When the store fails; asking again is safe.
    pub async fn fire(&self, queue: &QueueName, firings: &[Firing]) -> Result<(Timestamp, Vec<Fired>), QueueError> {
        self.backend.fire(queue, firings).await
    }

    /// The last instants of these schedules; none of one that the store does not know.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn last_fired(
        &self,
        queue: &QueueName,
        schedules: &[String],
    ) -> Result<Vec<Option<Timestamp>>, QueueError> {
        self.backend.last_fired(queue, schedules).await
    }

    /// Adds to the sums of the spans that a time is in: a minute, an hour and a day.
    ///
    /// # Errors
    /// When the store fails. It may have added to some of the spans.
    pub async fn add_up(&self, at: Timestamp, sums: &Sums) -> Result<(), QueueError> {
        self.backend.add_up(at, sums).await
    }

    /// The sums of so many spans from the one of this number on, as far as they are kept; all but those of waits.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sums(&self, span: Span, first: i64, count: usize) -> Result<Vec<Sums>, QueueError> {
        self.backend.sums(span, first, count).await
    }

    /// Those of waits.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wait_sums(&self, span: Span, first: i64, count: usize) -> Result<Vec<Sums>, QueueError> {
        self.backend.wait_sums(span, first, count).await
    }

    /// Pauses something, or changes who paused it and why. Returns the pause before; none: it was not paused.
    ///
    /// # Errors
    /// When the store fails, or when [`MAX_PAUSED_JOBS`](super::MAX_PAUSED_JOBS) names are paused already.
    pub async fn pause(&self, what: &Pausable, pause: &Pause) -> Result<Option<Pause>, QueueError> {
        self.backend.pause(what, Some(pause)).await
    }

    /// Resumes something. Returns the pause before; none: it was not paused.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn resume(&self, what: &Pausable) -> Result<Option<Pause>, QueueError> {
        self.backend.pause(what, None).await
    }

    /// The paused job names.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn paused_jobs(&self) -> Result<BTreeMap<String, Pause>, QueueError> {
        self.backend.paused_jobs().await
    }

    /// Reads jobs where they lie, from the last to the first, a page at a time: some hundreds, or as many as fit into one
    /// message. `from` is where the page before ended. A job that moves meanwhile may be passed over or read twice.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn jobs(&self, queue: &QueueName, part: &Part, from: Option<&str>) -> Result<JobsPage, QueueError> {
        self.backend.jobs(queue, part, from).await
    }

    /// Lanes of a group, from where a page before ended, or 0.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn lanes(&self, queue: &QueueName, group: &Lane, from: u64) -> Result<LanesPage, QueueError> {
        self.backend.lanes(queue, group, from).await
    }

    /// Why the store takes no jobs although it answers, in words; none if it takes them.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn trouble(&self) -> Result<Option<String>, QueueError> {
        self.backend.trouble().await
    }

    /// Whether the store may throw jobs away to make room, in words; none if it does not, or cannot be asked.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn evicts(&self) -> Result<Option<String>, QueueError> {
        self.backend.evicts().await
    }

    /// The time by the store's own clock, which decides when a delayed job is due.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn now(&self) -> Result<Timestamp, QueueError> {
        self.backend.now().await
    }

    /// What the store can do.
    pub(super) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// The Redis backend; none if the store is of another kind.
    pub(super) fn redis(&self) -> Option<&RedisStore> {
        self.redis.as_deref()
    }
}
