//! What benchmarks compare Kiln with: plain Redis commands, and Redis' own statistics. Also deletes a benchmark's keys.

use super::error::QueueError;
use super::redis::{RedisBare, Work};
use super::store::Store;

/// A connection of its own, with the store's settings, that sends commands unchanged. Clones share it.
#[derive(Clone)]
pub(crate) struct Bare(pub(super) RedisBare);

impl Bare {
    /// Appends these to the benchmark's own list, with one command.
    ///
    /// # Errors
    /// When Redis fails.
    pub(crate) async fn push(&mut self, jobs: &[String]) -> Result<(), QueueError> {
        self.0.push(jobs).await
    }

    /// Takes `count` entries from the head of that list, and returns how many there were.
    ///
    /// # Errors
    /// When Redis fails.
    pub(crate) async fn pop(&mut self, count: usize) -> Result<usize, QueueError> {
        self.0.pop(count).await
    }

    /// Takes one entry from the head as soon as there is one; false if none came for a while.
    ///
    /// # Errors
    /// When Redis fails.
    pub(crate) async fn wait(&mut self) -> Result<bool, QueueError> {
        self.0.wait().await
    }
}

impl Store {
    /// A connection for bare commands; none to a store in memory.
    ///
    /// # Errors
    /// When there is no connection.
    pub(crate) async fn bare(&self) -> Result<Option<Bare>, QueueError> {
        match self.redis() {
            Some(redis) => Ok(Some(Bare(redis.bare().await?))),
            None => Ok(None),
        }
    }

    /// What Redis has done so far; none where it may not be asked, or is a Cluster.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn work(&self) -> Result<Option<Work>, QueueError> {
        match self.redis() {
            Some(redis) => redis.work().await,
            None => Ok(None),
        }
    }

    /// Deletes every key under the prefix, results included. Only for a prefix that nobody else uses.
    ///
    /// # Errors
    /// When the store fails; some may be left then.
    pub(crate) async fn erase(&self) -> Result<(), QueueError> {
        match self.redis() {
            Some(redis) => redis.erase().await,
            None => Ok(()),
        }
    }
}
