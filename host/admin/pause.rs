//! Pausing queues and job names, and resuming them.

use jiff::Timestamp;
use serde::Serialize;

use super::AdminError;
use crate::queue::{Pausable, Pause, QueueError, Store};

/// What was paused or resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Paused {
    /// The queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The job name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The pause that was there before; none: it was not paused.
    pub before: Option<Pause>,
    /// The pause that is there now; none: it is not paused.
    pub now: Option<Pause>,
    /// Whether anybody serves or has pushed to the queue. True for a job name.
    pub is_known: bool,
}

/// Pauses a queue or a job name, in the name of `by` and for a reason. Both may be empty.
///
/// # Errors
/// When the store fails, or as many job names are paused as may be.
pub async fn pause(store: &Store, what: &Pausable, by: &str, reason: &str) -> Result<Paused, AdminError> {
    let is_known = is_known(store, what).await?;
    let now = Pause {
        at: to_the_second(store.now().await?),
        by: by.to_owned(),
        reason: reason.to_owned(),
    };
    let before = store.pause(what, &now).await?;
    if let Pausable::Queue(queue) = what {
        store.note_queues(std::slice::from_ref(queue)).await?;
    }
    Ok(paused(what, before, Some(now), is_known))
}

/// Resumes a queue or a job name.
///
/// # Errors
/// When the store fails.
pub async fn resume(store: &Store, what: &Pausable) -> Result<Paused, AdminError> {
    let before = store.resume(what).await?;
    Ok(paused(what, before, None, true))
}

/// A time as people read it.
fn to_the_second(time: Timestamp) -> String {
    format!("{time:.0}")
}

async fn is_known(store: &Store, what: &Pausable) -> Result<bool, QueueError> {
    let Pausable::Queue(queue) = what else { return Ok(true) };
    let counts = store.counts(queue).await?;
    Ok(!counts.is_empty() || !counts.hosts.is_empty() || counts.paused.is_some())
}

fn paused(what: &Pausable, before: Option<Pause>, now: Option<Pause>, is_known: bool) -> Paused {
    let (queue, job) = match what {
        Pausable::Queue(queue) => (Some(queue.to_string()), None),
        Pausable::Job(name) => (None, Some(name.clone())),
    };
    Paused {
        queue,
        job,
        before,
        now,
        is_known,
    }
}
