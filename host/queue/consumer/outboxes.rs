//! What a host knows of its outboxes: when there may be something in them, and which entries could not be written.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::queue::queue_name::QueueName;

/// Wait before an entry that could not be written is tried again.
pub(super) const AGAIN: Duration = Duration::from_secs(30);

/// Entries whose failures are remembered. Beyond these some are tried too often.
const MAX_FAILING: usize = 10_000;

/// What a host knows of its outboxes.
#[derive(Debug, Default)]
pub(super) struct Outboxes {
    /// Told whenever something may stand in one of them.
    pub(super) filled: Notify,
    /// When an entry could not be written, by its queue and name.
    failing: Mutex<HashMap<(QueueName, Vec<u8>), Instant>>,
}

impl Outboxes {
    pub(super) fn is_failing(&self, queue: &QueueName, name: &[u8]) -> bool {
        let failing = self.failing.lock();
        let at = failing.get(&(queue.clone(), name.to_vec()));
        at.is_some_and(|at| at.elapsed() < AGAIN)
    }

    pub(super) fn has_failed(&self, queue: &QueueName, name: &[u8]) {
        let mut failing = self.failing.lock();
        if failing.len() >= MAX_FAILING {
            failing.clear();
        }
        failing.insert((queue.clone(), name.to_vec()), Instant::now());
    }
}
