//! Which queues have jobs whose keys take turns, so that somebody sorts what is ready there.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::queue::QueueName;

/// Queues in which such a job was met since they were last sorted.
#[derive(Debug, Default)]
pub struct Sorting {
    queues: Mutex<BTreeSet<QueueName>>,
    more: Notify,
}

impl Sorting {
    /// Has a queue sorted.
    pub(super) fn ask(&self, queue: &QueueName) {
        if self.queues.lock().insert(queue.clone()) {
            self.more.notify_one();
        }
    }

    /// Waits for a queue that is to be sorted. Cancel safe.
    pub async fn next(&self) -> QueueName {
        loop {
            let more = self.more.notified();
            if let Some(queue) = self.queues.lock().pop_first() {
                return queue;
            }
            more.await;
        }
    }
}
