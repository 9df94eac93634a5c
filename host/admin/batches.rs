//! How far batches of jobs have come.

use jiff::Timestamp;
use serde::Serialize;

use super::AdminError;
use crate::job::Sizes;
use crate::queue::Store;

/// A batch, as far as it has come.
#[derive(Debug, Clone, Serialize)]
pub struct Batch {
    /// As its jobs have it.
    pub id: String,
    /// How many jobs it was announced with.
    pub announced: u64,
    /// Its jobs: all of them, and those that have ended.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// Those that have not ended.
    pub open: u64,
    /// When the first of them ended.
    #[serde(serialize_with = "as_text")]
    pub began: Timestamp,
    /// Whether all have completed, at some time.
    pub completed: bool,
    /// Whether all have ended, at some time.
    pub ended: bool,
}

/// Why nothing is known of a batch.
#[must_use]
pub fn unknown(id: &str) -> String {
    format!("nothing is known of a batch {id}: none of its jobs has ended, or all did long ago")
}

impl Batch {
    /// How far it is, in words.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match (self.completed, self.ended) {
            (true, _) => "all have completed",
            (false, true) => "all have ended, some of them failed",
            (false, false) => "not all have ended",
        }
    }

    /// How many of its jobs were added to those that it was announced with.
    #[must_use]
    pub fn added(&self) -> u64 {
        self.sizes.total.saturating_sub(self.announced)
    }
}

fn as_text<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// What is known of a batch. None: none of its jobs has ended, or all did long ago.
///
/// # Errors
/// When the store fails.
pub async fn batch(store: &Store, id: &str) -> Result<Option<Batch>, AdminError> {
    let known = store.batch(id).await?;
    Ok(known.map(|known| Batch {
        id: id.to_owned(),
        announced: known.announced,
        sizes: known.sizes,
        open: known.sizes.total.saturating_sub(known.sizes.done + known.sizes.failed),
        began: known.began,
        completed: known.then,
        ended: known.complete,
    }))
}
