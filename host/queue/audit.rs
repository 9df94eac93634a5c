//! A record of what operators did. No job depends on it.

use super::error::QueueError;
use super::store::Store;

/// Notes that are kept, about.
pub const MAX_NOTES: usize = 10_000;

impl Store {
    /// Adds a note, a JSON text. If there are more than [`MAX_NOTES`], the oldest go.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_deed(&self, note: &str) -> Result<(), QueueError> {
        self.backend().note_deed(note).await
    }

    /// The last `count` notes, the latest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn deeds(&self, count: usize) -> Result<Vec<String>, QueueError> {
        self.backend().deeds(count.min(MAX_NOTES)).await
    }
}
