//! Batches, as the store knows them.

use std::time::Duration;

use jiff::Timestamp;

use crate::job::Sizes;
use crate::outcome::BatchMark;

/// How long a batch is remembered after the last of its jobs that ended.
pub const BATCH_KEPT: Duration = Duration::from_hours(7 * 24);

/// An entry of an outbox which says that a job of a batch has ended.
#[derive(Debug, Clone, Copy)]
pub struct Mark<'a> {
    /// What it says.
    pub mark: &'a BatchMark,
    /// The entry's name.
    pub entry: &'a [u8],
}

/// What the store answers once it was told that a job of a batch has ended.
#[derive(Debug, Clone, Copy)]
pub struct Marked {
    /// The batch now.
    pub sizes: Sizes,
    /// Whoever told it is to push what comes when all have completed.
    pub then: bool,
    /// The same, when all have ended.
    pub complete: bool,
    /// The same, of what comes if the batch is late.
    pub late: bool,
}

/// What is known of a batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchState {
    /// Its jobs.
    pub sizes: Sizes,
    /// How many jobs it was announced with.
    pub announced: u64,
    /// When the first of its jobs ended, by the store's clock.
    pub began: Timestamp,
    /// Whether all have completed, at some time.
    pub then: bool,
    /// Whether all have ended, at some time.
    pub complete: bool,
}
