//! What a loop does about a store that fails.

use std::time::Duration;

use crate::queue::{Consumer, QueueError};

/// Wait before a loop asks the store again after a fault; doubles up to [`FAULT_WAIT_MAX`].
const FAULT_WAIT_MIN: Duration = Duration::from_millis(100);
const FAULT_WAIT_MAX: Duration = Duration::from_secs(1);

/// A loop's dealings with a store that fails: told once, tried again with growing waits.
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
            tracing::info!(during = self.of, "the store takes it again");
        }
        *self = Self::new(self.consumer, self.of);
    }
}
