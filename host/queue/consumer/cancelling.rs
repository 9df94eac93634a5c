//! What a host does about jobs that operators cancel.

use super::Consumer;
use crate::queue::error::QueueError;
use crate::queue::queue_name::QueueName;

impl Consumer {
    /// Whether an operator has cancelled the job with this id: it must not start, and ends for good.
    #[must_use]
    pub fn is_cancelled(&self, queue: &QueueName, id: &str) -> bool {
        let (cancels, now_ms) = (&self.shared.cancels, || self.now().as_millisecond());
        let is_marked = |(place, _)| cancels.is_marked(place, id, now_ms);
        cancels.any() && self.table(queue).is_some_and(is_marked)
    }

    /// Reads the marks of cancelled jobs of a queue, unless this version of them is known, and cancels the attempts that run
    /// such jobs or are about to.
    pub(super) async fn hear_of_cancels(&self, place: usize, version: u64) -> Result<(), QueueError> {
        let cancels = &self.shared.cancels;
        if cancels.version(place) == version {
            return Ok(());
        }
        let _reading = cancels.reading[place].lock().await;
        let (table, since) = (&self.shared.tables[place], cancels.version(place));
        let read = self.shared.backend().cancelled(table.queue(), since).await?;
        let now_ms = self.now().as_millisecond();
        // First the marks, then the attempts: one that begins in between finds its mark.
        cancels.learn(place, read, now_ms);
        table.cancel_if(|id| cancels.is_marked(place, id, || now_ms));
        Ok(())
    }
}
