//! Counts the jobs of every queue, and the failed list.

use std::collections::BTreeMap;

use serde::Serialize;

use super::AdminError;
use crate::queue::{Counts, QueueError, Search, Store};

/// Every queue, and the failed list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// What is in each queue that holds jobs or is served, by its name.
    pub queues: BTreeMap<String, Figure>,
    /// Whether the list is complete. False if the store has too many keys to look at all of them: a queue may then be
    /// missing that nobody serves and that only other producers push to.
    pub all_queues: bool,
    /// Entries of the failed list.
    pub failed: u64,
    /// Entries of it that hosts have dropped by their retention settings.
    pub failed_dropped: u64,
    /// Why the store takes no jobs although it answers.
    pub trouble: Option<String>,
}

/// What is in a queue, or why it cannot be counted: one queue with keys of the wrong type does not hide the others.
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
    // Asked first: a store that takes no jobs may not be able to answer the rest.
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
            // A queue that was served or pushed to once, and is not any more.
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
