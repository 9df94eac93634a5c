//! What operators ask and do: the failed list, the queues, what handlers remember, the plugins of every host, and what would bite a worker.
//!
//! Knows no terminal and no HTTP: nothing here prints, prompts or parses flags. The caller shows the answers, which are
//! serializable data. Their texts are not escaped, and producers wrote much of them.

pub mod doctor;
pub mod failed;
pub mod plugins;
pub mod queues;
pub mod state;

use crate::queue::QueueError;
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
    /// There is no such failed entry.
    #[error("no failed job with id {0}")]
    NoEntry(String),
    /// No host has set that plugin aside.
    #[error("no running worker has set plugin {0:?} aside")]
    NotAside(String),
}
