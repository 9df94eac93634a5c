//! A host's questions about lanes.

use super::Consumer;
use crate::outcome::Lane;
use crate::queue::error::QueueError;
use crate::queue::queue_name::QueueName;

impl Consumer {
    /// Whether any lane may hold jobs.
    #[must_use]
    pub fn any_waits(&self) -> bool {
        self.shared.lanes.any()
    }

    /// The lanes of a queue that may hold jobs.
    #[must_use]
    pub fn lanes(&self, queue: &QueueName) -> Vec<Lane> {
        self.shared.lanes.of(queue)
    }

    /// Whether a lane may hold jobs. Ready jobs then have to queue behind them.
    #[must_use]
    pub fn holds(&self, queue: &QueueName, lane: &Lane) -> bool {
        self.shared.lanes.holds(queue, lane)
    }

    /// Returns once a lane may hold more than before. Wakes one waiter only.
    pub async fn more_waits(&self) {
        self.shared.lanes.more().await;
    }

    /// Asks the store which lanes hold jobs. Returns once that may have changed, at the latest after a few seconds.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn look_at_lanes(&self) -> Result<(), QueueError> {
        let lanes = &self.shared.lanes;
        let seen: Vec<_> = self.queues.iter().map(|queue| lanes.seen(queue)).collect();
        let found = self.shared.backend().wait_lanes(&self.queues, &seen).await?;
        for (queue, found) in self.queues.iter().zip(found) {
            lanes.learn(queue, found);
        }
        Ok(())
    }
}
