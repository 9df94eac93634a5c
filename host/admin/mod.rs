//! What operators ask and do: the failed list, the queues, the life of one job, cancelling jobs, what jobs came to, batches,
//! schedules, what handlers remember, the plugins of every host, what would bite a worker, and trying a failed job on another
//! component.
//!
//! Knows no terminal and no HTTP: nothing here prints, prompts or parses flags. The caller shows the answers, which are
//! serializable data. Their texts are not escaped, and producers wrote much of them.

pub mod audit;
pub mod batches;
pub mod bulk;
pub mod cancel;
pub mod doctor;
pub mod edit;
pub mod facts;
pub mod failed;
mod filter;
pub mod hosts;
pub mod index;
pub mod job;
pub mod jobs;
pub mod lanes;
mod overlay;
pub mod pause;
pub mod plugins;
pub mod queues;
pub mod results;
pub mod schedules;
pub mod state;
pub mod stats;
pub mod trial;
pub mod waits;

use crate::plugins::PluginError;
use crate::queue::QueueError;
use crate::sandbox::{LoadError, SandboxError};
use crate::state::StateError;

/// Why an operator's request failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] QueueError),
    /// The store answers, but takes no jobs.
    #[error("the store cannot be used: {0}")]
    Unusable(String),
    /// A handler's remembered values cannot be read or changed.
    #[error(transparent)]
    State(#[from] StateError),
    /// A key of a remembered value is empty, or too long.
    #[error("a key has 1 to 512 bytes")]
    Key,
    /// A value is longer than any that is read.
    #[error("the value has {0} bytes; a value has at most {max}", max = state::MAX_VALUE_BYTES)]
    Value(usize),
    /// There is no such failed entry.
    #[error("no failed job with id {0}")]
    NoEntry(String),
    /// There is no queue in which to cancel a job.
    #[error("no queue is known; name one with --queue")]
    NoQueue,
    /// No running host has such a schedule.
    #[error("no running worker has a schedule {0:?}")]
    NoSchedule(String),
    /// Schedules of several plugins have that id.
    #[error("several plugins have a schedule of that id: {0}")]
    SeveralSchedules(String),
    /// No host has set that plugin aside.
    #[error("no running worker has set plugin {0:?} aside")]
    NotAside(String),
    /// A filter names the causes that the index keeps together.
    #[error("causes beyond the first {max} are not kept apart, and nothing can be done to them alone; filter by plugin, kind or text", max = index::MAX_CAUSES)]
    NotApart,
    /// No running host of that name tells of itself.
    #[error("no running worker {0:?} tells of itself")]
    NoHost(String),
    /// A failed entry that cannot be put back with another payload.
    #[error("this entry cannot be put back with another payload: {0}")]
    NoEdit(String),
    /// A failed entry that cannot be tried.
    #[error("this entry cannot be tried: {0}")]
    Untriable(String),
    /// A file of a plugin cannot be read.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A component cannot be run.
    #[error("the component does not load: {0}")]
    Load(#[from] LoadError),
    /// The sandbox does not start.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Work on the failed list is under way.
    #[error("other work on the failed list is under way; it can be watched, and broken off")]
    Busy,
}
