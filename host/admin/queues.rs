//! Counts the jobs of every queue, and the failed list.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::AdminError;
use crate::queue::{Counts, Found, Pause, QueueError, QueueName, Search, Store};

/// Queues counted at once, over connections that other commands share.
const AT_ONCE: usize = 8;

/// Every queue, and the failed list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// What is in each queue that holds jobs or is served, by its name.
    pub queues: BTreeMap<String, Figure>,
    /// Whether the list is complete. False if the store has too many keys to look at all of them: a queue may then be
    /// missing that nobody serves and that only other producers push to.
    pub all_queues: bool,
    /// The job names that are paused in all queues.
    pub paused_jobs: BTreeMap<String, Pause>,
    /// Entries of the failed list.
    pub failed: u64,
    /// Entries of it that hosts have dropped by their retention settings.
    pub failed_dropped: u64,
    /// Why the store takes no jobs although it answers.
    pub trouble: Option<String>,
    /// What else cannot be read, as where a key is of another type, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
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
        self.trouble.is_none()
            && self.faults.is_empty()
            && self.queues.values().all(|queue| matches!(queue, Figure::Counted(_)))
    }
}

/// Counts every queue.
///
/// # Errors
/// When the store fails, or is in a trouble that keeps it from telling.
pub async fn figures(store: &Store, search: Search) -> Result<Figures, AdminError> {
    // Asked first: a store that takes no jobs may not be able to answer the rest.
    let trouble = store.trouble().await?;
    let counted = match store.queues(search).await {
        Ok(found) => count(store, &found).await,
        Err(err) => Err(err),
    };
    told(counted, trouble)
}

/// Counts these queues, for somebody who does so often and looks for queues now and then.
///
/// # Errors
/// When the store fails.
pub async fn figures_of(store: &Store, found: &Found) -> Result<Figures, AdminError> {
    let trouble = store.trouble().await?;
    told(count(store, found).await, trouble)
}

fn told(counted: Result<Figures, QueueError>, trouble: Option<String>) -> Result<Figures, AdminError> {
    match (counted, trouble) {
        (Ok(figures), trouble) => Ok(Figures { trouble, ..figures }),
        (Err(_), Some(trouble)) => Err(AdminError::Unusable(trouble)),
        (Err(err), None) => Err(err.into()),
    }
}

async fn count(store: &Store, found: &Found) -> Result<Figures, QueueError> {
    let mut counting = Vec::<BoxFuture<'_, _>>::with_capacity(found.queues.len());
    for queue in &found.queues {
        counting.push(figure(store, queue).boxed());
    }
    let counted: Vec<_> = stream::iter(counting).buffered(AT_ONCE).try_collect().await?;
    let mut faults = Vec::new();
    Ok(Figures {
        queues: counted.into_iter().flatten().collect(),
        all_queues: found.all,
        paused_jobs: read(store.paused_jobs().await, "paused job names", &mut faults)?,
        failed: read(store.failed_len().await, "the failed list", &mut faults)?,
        failed_dropped: read(
            store.failed_dropped().await,
            "the count of dropped failed jobs",
            &mut faults,
        )?,
        trouble: None,
        faults,
    })
}

/// What was read. If only this cannot be, it is empty, and the fault is told beside it.
fn read<T: Default>(found: Result<T, QueueError>, what: &str, faults: &mut Vec<String>) -> Result<T, QueueError> {
    match found {
        Err(err) if !err.is_outage() => {
            faults.push(format!("{what} cannot be read: {err}"));
            Ok(T::default())
        }
        found => found,
    }
}

/// What is in a queue; none if it was served or pushed to once, and is not any more.
async fn figure(store: &Store, queue: &QueueName) -> Result<Option<(String, Figure)>, QueueError> {
    let figure = match store.counts(queue).await {
        Ok(counts) if counts.is_empty() && counts.hosts.is_empty() && counts.paused.is_none() => return Ok(None),
        Ok(counts) => Figure::Counted(counts),
        Err(err) if err.is_outage() => return Err(err),
        Err(err) => Figure::Fault { error: err.to_string() },
    };
    Ok(Some((queue.to_string(), figure)))
}
