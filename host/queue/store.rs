//! The place where jobs are, for producers and operators.

use std::sync::Arc;

use jiff::Timestamp;

use super::backend::Backend;
use super::counts::Counts;
use super::error::QueueError;
use super::memory::MemoryStore;
use super::moves::{Found, Search};
use super::push::Push;
use super::queue_name::QueueName;
use super::redis::RedisStore;
use super::settings::StoreSettings;

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
