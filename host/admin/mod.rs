//! What operators ask and do: the failed list, the queues, what handlers remember, the plugins of every host, and what would bite a worker.
//!
//! Knows no terminal and no HTTP: nothing here prints, asks back or parses flags. Whoever calls shows the answers, which
//! are data that serde can write. No text in them is tamed: producers wrote much of it.

pub mod doctor;
pub mod failed;
pub mod plugins;
pub mod queues;
pub mod state;

use crate::queue::QueueError;
use crate::state::StateError;

/// Why an operator does not get what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] QueueError),
    /// The store answers, and cannot be used all the same.
    #[error("the store cannot be used: {0}")]
    Unusable(String),
    /// What handlers remember cannot be had, or not be changed.
    #[error(transparent)]
    State(#[from] StateError),
    /// A key of such a value is empty, or too long.
    #[error("a key has 1 to 512 bytes")]
    Key,
    /// There is no such failed entry.
    #[error("no failed job with id {0}")]
    NoEntry(String),
    /// No host has set that plugin aside.
    #[error("no running worker has set plugin {0:?} aside")]
    NotAside(String),
}
