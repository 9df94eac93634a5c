//! Bounds on what one message, one script and one host take in.

use crate::job::MAX_JOB_BYTES;

/// Most jobs that one fetch, promotion or adoption moves: bounds how long a script holds Redis up.
pub const MAX_BATCH: usize = 256;

/// Bytes of jobs that one message from the store carries, and one to it beyond the first of them: bounds how long it keeps
/// the others on its connection waiting, above all heartbeats. A larger job comes in pieces.
pub const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Largest job, in bytes, that is brought to a host whole. More than is decoded: what a retry has added must not cost a job
/// its bytes. Of one beyond it, the failed entry holds the beginning.
pub const MAX_TAKEN_BYTES: usize = MAX_JOB_BYTES + MAX_JOB_BYTES / 8;

/// Longest failed entry, in bytes, that is read whole. Kiln writes none that is longer.
pub(super) const MAX_ENTRY_BYTES: usize = 2 * MAX_JOB_BYTES;
