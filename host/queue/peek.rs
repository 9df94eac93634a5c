//! A look at the jobs that a queue holds, for operators. Moves nothing.

use super::error::QueueError;
use super::moves::{MAX_PEEKED, Peeked, Place};
use super::queue_name::QueueName;
use super::store::Store;

impl Store {
    /// The beginnings of up to `count` jobs of a queue, at most [`MAX_PEEKED`], from the place `start` on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn peek(
        &self,
        queue: &QueueName,
        place: Place,
        start: u64,
        count: usize,
    ) -> Result<Vec<Peeked>, QueueError> {
        self.backend().peek(queue, place, start, count.min(MAX_PEEKED)).await
    }
}
