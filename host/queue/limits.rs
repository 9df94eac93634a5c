//! Bounds on one message, one script and what one host takes.

use crate::job::MAX_JOB_BYTES;

/// Most jobs that one fetch, promotion or adoption moves: bounds how long a script holds Redis up.
pub const MAX_BATCH: usize = 256;

/// Most bytes of jobs in one message from the store; in a message to the store, the first job is not counted. Bounds how
/// long a message delays others on its connection, above all heartbeats. A larger job comes in pieces.
pub const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Largest job, in bytes, that a host fetches whole. Larger than what is decoded, so that what a retry added does not
/// cost a job its bytes. Of a larger job, the failed entry holds the beginning.
pub const MAX_TAKEN_BYTES: usize = MAX_JOB_BYTES + MAX_JOB_BYTES / 8;

/// Longest failed entry, in bytes, that is read whole. Kiln writes no longer ones.
pub(super) const MAX_ENTRY_BYTES: usize = 2 * MAX_JOB_BYTES;
