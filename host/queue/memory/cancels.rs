//! Cancelling jobs, in memory.

use std::time::Duration;

use super::MemoryStore;
use crate::queue::cancels::{Cancels, MAX_CANCELLED};
use crate::queue::error::QueueError;
use crate::queue::queue_name::QueueName;

impl MemoryStore {
    pub(super) fn cancel(&self, queue: &QueueName, ids: &[String], lasts: Duration) -> Result<Vec<bool>, QueueError> {
        let were = self.state().queue(queue).cancels.make(ids, lasts);
        self.orders.notify_waiters();
        were.ok_or(QueueError::Full {
            most: MAX_CANCELLED,
            what: "cancelled jobs in this queue",
        })
    }

    pub(super) fn uncancel(&self, queue: &QueueName, ids: &[String]) -> Vec<bool> {
        let were = self.state().queue(queue).cancels.take_away(ids);
        self.orders.notify_waiters();
        were
    }

    pub(super) fn cancelled(&self, queue: &QueueName, since: u64) -> Cancels {
        self.state().queue(queue).cancels.since(since)
    }
}
