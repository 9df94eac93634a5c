//! How a loop deals with a store that fails, and with a single queue that fails.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::queue::{Consumer, QueueError, QueueName};

/// Wait before a loop asks the store again after a fault; doubles up to [`FAULT_WAIT_MAX`].
const FAULT_WAIT_MIN: Duration = Duration::from_millis(100);
const FAULT_WAIT_MAX: Duration = Duration::from_secs(1);

/// A deadline for "no queue rests": longer than any wait for news of queues.
const FAR_AWAY: Duration = Duration::from_hours(1);

/// Faults of the store in one loop: logged once, retried with growing waits.
pub(super) struct Faults<'a> {
    consumer: &'a Consumer,
    of: &'static str,
    wait: Duration,
    told: bool,
}

impl<'a> Faults<'a> {
    pub(super) fn new(consumer: &'a Consumer, of: &'static str) -> Self {
        Self {
            consumer,
            of,
            wait: FAULT_WAIT_MIN,
            told: false,
        }
    }

    pub(super) fn tell(&mut self, err: &QueueError) {
        if !self.consumer.note(err) && !self.told {
            tracing::error!(during = self.of, %err, "the store refuses; trying again");
            self.told = true;
        }
    }

    pub(super) async fn wait(&mut self, err: &QueueError) {
        self.tell(err);
        self.consumer.wait_out(self.wait).await;
        self.wait = (self.wait * 2).min(FAULT_WAIT_MAX);
    }

    pub(super) fn over(&mut self) {
        if self.told {
            tracing::info!(during = self.of, "the store does not refuse any more");
        }
        *self = Self::new(self.consumer, self.of);
    }
}

/// Queues that fail in one loop while the store itself works. Each is logged once and rests for a while, and the others
/// go on.
pub(super) struct Resting<'a> {
    consumer: &'a Consumer,
    of: &'static str,
    queues: HashMap<QueueName, Rest>,
}

struct Rest {
    until: Instant,
    next: Duration,
}

impl<'a> Resting<'a> {
    pub(super) fn new(consumer: &'a Consumer, of: &'static str) -> Self {
        Self {
            consumer,
            of,
            queues: HashMap::new(),
        }
    }

    /// Records the result of work on a queue. An outage is not the queue's fault, so it is returned as an error.
    pub(super) fn note<T>(&mut self, queue: &QueueName, done: Result<T, QueueError>) -> Result<Option<T>, QueueError> {
        let during = self.of;
        let err = match done {
            Ok(done) => {
                if self.queues.remove(queue).is_some() {
                    tracing::info!(during, %queue, "the queue can be worked on again");
                }
                return Ok(Some(done));
            }
            Err(err) if err.is_outage() => return Err(err),
            Err(err) => err,
        };
        let wait = self.queues.get(queue).map_or(FAULT_WAIT_MIN, |rest| rest.next);
        let rest = Rest {
            until: Instant::now() + wait,
            next: (wait * 2).min(FAULT_WAIT_MAX),
        };
        if self.queues.insert(queue.clone(), rest).is_none() {
            tracing::error!(during, %queue, %err, "the queue cannot be worked on; trying again, and going on with others");
        }
        Ok(None)
    }

    /// The queues that do not rest.
    pub(super) fn awake(&self) -> Vec<QueueName> {
        let queues = self.consumer.queues().iter();
        queues.filter(|queue| !self.rests(queue)).cloned().collect()
    }

    pub(super) fn rests(&self, queue: &QueueName) -> bool {
        self.queues.get(queue).is_some_and(|rest| rest.until > Instant::now())
    }

    /// When the first resting queue is to be tried again; [`FAR_AWAY`] if none rests.
    pub(super) fn next(&self) -> Instant {
        let now = Instant::now();
        let until = self.queues.values().map(|rest| rest.until).filter(|until| *until > now);
        until.min().unwrap_or(now + FAR_AWAY)
    }
}
