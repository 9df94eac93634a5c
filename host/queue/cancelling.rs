//! Marking jobs as cancelled, for operators.

use std::time::Duration;

use super::cancels::Cancels;
use super::error::QueueError;
use super::queue_name::QueueName;
use super::store::Store;

/// Most ids that one script marks.
pub(crate) const MARKED_AT_ONCE: usize = 1_000;

impl Store {
    /// Marks jobs of a queue as cancelled, for as long as given from now on, and returns for each whether it was marked
    /// before. A mark that lasts longer already is left as it is.
    ///
    /// # Errors
    /// When the store fails, or the queue has [`MAX_CANCELLED`](super::MAX_CANCELLED) marks; some of the jobs may then be marked.
    pub async fn cancel(&self, queue: &QueueName, ids: &[String], lasts: Duration) -> Result<Vec<bool>, QueueError> {
        let mut were = Vec::with_capacity(ids.len());
        for ids in ids.chunks(MARKED_AT_ONCE) {
            were.extend(self.backend().cancel(queue, ids, lasts).await?);
        }
        Ok(were)
    }

    /// Takes the marks of jobs away, and returns for each whether there was one.
    ///
    /// # Errors
    /// When the store fails; some of the marks may then be gone.
    pub async fn uncancel(&self, queue: &QueueName, ids: &[String]) -> Result<Vec<bool>, QueueError> {
        let mut were = Vec::with_capacity(ids.len());
        for ids in ids.chunks(MARKED_AT_ONCE) {
            were.extend(self.backend().uncancel(queue, ids).await?);
        }
        Ok(were)
    }

    /// The marks of a queue.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn cancelled(&self, queue: &QueueName) -> Result<Cancels, QueueError> {
        self.backend().cancelled(queue, 0).await
    }
}
