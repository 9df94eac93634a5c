//! Has what stands in outboxes written: what this host acknowledged, and what one that died left there.

use std::time::Duration;

use super::Consumer;
use crate::outcome::Commit;
use crate::queue::error::QueueError;
use crate::queue::moves::Once;
use crate::queue::queue_name::QueueName;
use crate::state::Quota;
use crate::stop::Moment;

/// How long after an entry was read it may be written. Longer ago, another host may have written it, and what the store knows of
/// that is forgotten after an hour.
const FRESH: Duration = Duration::from_mins(1);

/// Wait before an entry that could not be written is tried again, unless there is a new one before.
const AGAIN: Duration = Duration::from_secs(30);

/// The quota was looked at when it was asked to write: nobody is there any more to be told.
const NO_QUOTA: Quota = Quota {
    bytes: u64::MAX,
    keys: u64::MAX,
};

impl Consumer {
    /// Returns once something may stand in an outbox: at the start, after a commit, after a host was found dead. `left`:
    /// something was left there.
    pub async fn outbox_filled(&self, left: bool) {
        let filled = self.shared.outbox.notified();
        if left {
            // Late is no fault: it is looked at again.
            let _ = tokio::time::timeout(AGAIN, filled).await;
        } else {
            filled.await;
        }
    }

    /// Writes what stands in the outboxes of its queues, and tells whether anything had to be left there.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub async fn empty_outboxes(&self) -> Result<bool, QueueError> {
        let mut left = false;
        for queue in self.queues() {
            left |= self.empty_outbox(queue).await?;
        }
        Ok(left)
    }

    async fn empty_outbox(&self, queue: &QueueName) -> Result<bool, QueueError> {
        loop {
            let read = Moment::now();
            let entries = match self.shared.backend().outbox(queue).await {
                Ok(entries) => entries,
                Err(err) if err.is_outage() => return Err(err),
                Err(err) => {
                    tracing::error!(%queue, %err, "cannot read what is to be written for acknowledged jobs");
                    return Ok(true);
                }
            };
            if entries.is_empty() {
                return Ok(false);
            }
            let mut written = 0;
            for (name, entry) in &entries {
                // This process may have been stopped meanwhile.
                if Moment::now().0.saturating_sub(read.0) > FRESH {
                    return Ok(true);
                }
                match self.write(queue, name, entry).await {
                    Ok(()) => written += 1,
                    Err(err) if err.is_outage() => return Err(err),
                    Err(err) => {
                        tracing::error!(%queue, entry = name, %err, "cannot write what an acknowledged job asked for; trying again");
                    }
                }
            }
            if written == 0 {
                return Ok(true);
            }
        }
    }

    /// Writes one entry. To do so twice is harmless: the store knows what was written.
    async fn write(&self, queue: &QueueName, name: &str, entry: &str) -> Result<(), QueueError> {
        let backend = self.shared.backend();
        let Some(commit) = Commit::read(entry) else {
            tracing::error!(%queue, entry = name, "an entry of the outbox is none of Kiln's; dropping it");
            return backend.drop_from_outbox(queue, name, None).await;
        };
        for write in &commit.writes {
            let once = Once { queue, entry: name };
            // Each change that cannot be made is left out by the store.
            let _ = backend
                .state_write(&write.bucket, NO_QUOTA, &write.changes, Some(once))
                .await?;
        }
        let result = commit.result.as_ref().map(|(id, json)| (id.as_str(), json.as_str()));
        backend.drop_from_outbox(queue, name, result).await
    }
}
