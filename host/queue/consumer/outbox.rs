//! Carries out the writes in outboxes: those of jobs that this host acknowledged, and those that a dead host left
//! behind.

use std::time::Duration;

use super::Consumer;
use crate::outcome::Commit;
use crate::queue::error::QueueError;
use crate::queue::moves::Once;
use crate::queue::queue_name::QueueName;
use crate::state::Quota;
use crate::stop::Moment;

/// How long after an entry was read it may be written. Later, another host may have written it long ago, and the store
/// forgets after an hour which entries were written.
const FRESH: Duration = Duration::from_mins(1);

/// Wait before a failed entry is tried again. A new entry ends the wait early.
const AGAIN: Duration = Duration::from_secs(30);

/// The quota was checked when the job asked for the write. Now there is no handler left that could be told of an error.
const NO_QUOTA: Quota = Quota {
    bytes: u64::MAX,
    keys: u64::MAX,
};

impl Consumer {
    /// Returns once an outbox may hold an entry: at the start, after a commit, after a host was found dead. `left`: an
    /// entry could not be written, so this also returns after `AGAIN`.
    pub async fn outbox_filled(&self, left: bool) {
        let filled = self.shared.outbox.notified();
        if left {
            // A time-out is no fault: the caller looks again.
            let _ = tokio::time::timeout(AGAIN, filled).await;
        } else {
            filled.await;
        }
    }

    /// Writes the entries in the outboxes of this host's queues, and returns whether any had to be left.
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
                // This process may have been suspended since the entry was read.
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

    /// Writes one entry. Doing so twice is harmless: the store knows which entries were written.
    async fn write(&self, queue: &QueueName, name: &str, entry: &str) -> Result<(), QueueError> {
        let backend = self.shared.backend();
        let Some(commit) = Commit::read(entry) else {
            tracing::error!(%queue, entry = name, "dropping an entry of the outbox that Kiln did not write");
            return backend.drop_from_outbox(queue, name, None).await;
        };
        for write in &commit.writes {
            let once = Once { queue, entry: name };
            // The store leaves out each change that cannot be made.
            let _ = backend
                .state_write(&write.bucket, NO_QUOTA, &write.changes, Some(once))
                .await?;
        }
        let result = commit.result.as_ref().map(|(id, json)| (id.as_str(), json.as_str()));
        backend.drop_from_outbox(queue, name, result).await
    }
}
