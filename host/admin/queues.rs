//! How much is where.

use std::collections::BTreeMap;

use serde::Serialize;

use super::AdminError;
use crate::queue::{Counts, QueueError, Search, Store};

/// Every queue, and the failed list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// What is in each queue that holds jobs or is served, by its name.
    pub queues: BTreeMap<String, Figure>,
    /// Whether these are all: false if the store has so many keys that not all were looked at. What may be missing then is
    /// a queue that only other producers push to, and nobody serves.
    pub all_queues: bool,
    /// Entries of the failed list.
    pub failed: u64,
    /// Entries of it that hosts have dropped, as their operators wished.
    pub failed_dropped: u64,
    /// What keeps the store from taking jobs although it answers.
    pub trouble: Option<String>,
}

/// What is in a queue, or why that cannot be told: a queue whose keys are of the wrong type hides no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Figure {
    /// What is in it, and who serves it.
    Counted(Counts),
    /// It cannot be counted.
    Fault {
        /// Why.
        error: String,
    },
}

impl Figures {
    /// Whether the store takes jobs, and every queue can be counted.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.trouble.is_none() && self.queues.values().all(|queue| matches!(queue, Figure::Counted(_)))
    }
}

/// Counts every queue.
///
/// # Errors
/// When the store fails, or is in a trouble that keeps it from telling.
pub async fn figures(store: &Store, search: Search) -> Result<Figures, AdminError> {
    // Asked first: a store in trouble may not be able to tell the rest.
    let trouble = store.trouble().await?;
    match (count(store, search).await, trouble) {
        (Ok(figures), trouble) => Ok(Figures { trouble, ..figures }),
        (Err(_), Some(trouble)) => Err(AdminError::Unusable(trouble)),
        (Err(err), None) => Err(err.into()),
    }
}

async fn count(store: &Store, search: Search) -> Result<Figures, QueueError> {
    let (mut queues, found) = (BTreeMap::new(), store.queues(search).await?);
    for queue in found.queues {
        let figure = match store.counts(&queue).await {
            // One that was served or pushed to once, and is no more.
            Ok(counts) if counts.is_empty() && counts.hosts.is_empty() => continue,
            Ok(counts) => Figure::Counted(counts),
            Err(err) if err.is_outage() => return Err(err),
            Err(err) => Figure::Fault { error: err.to_string() },
        };
        queues.insert(queue.to_string(), figure);
    }
    Ok(Figures {
        queues,
        all_queues: found.all,
        failed: store.failed_len().await?,
        failed_dropped: store.failed_dropped().await?,
        trouble: None,
    })
}
