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

/// Most answers kept of one job. There is more than one only where a job was done again.
pub(super) const MAX_REPLIES: usize = 10;

/// Most jobs that are looked at in one step, where they lie.
pub(super) const LOOKED_AT: usize = 500;

/// Longest job, in bytes, that is looked at whole. Of a longer one only the beginning is read.
pub(super) const LOOKED_AT_BYTES: usize = 64 * 1024;

/// Longest failed entry, in bytes, that is read whole. Kiln writes no longer ones.
pub(super) const MAX_ENTRY_BYTES: usize = 2 * MAX_JOB_BYTES;

/// Most jobs that wait in a group of lanes before hosts add no more for a while. Each is a copy of its bytes in the store.
pub const MAX_LIMITED_JOBS: usize = 1_000_000;

/// Most lanes of a group that hold jobs before hosts add no more for a while.
pub const MAX_LIMITED_LANES: usize = 100_000;

/// Entries of one host in the outbox of a queue before it takes nothing more from that queue. They are written some thousand a
/// second: so what was acknowledged stands elsewhere after seconds, and what another host has to take over stays small.
pub const MAX_OUTBOX_ENTRIES: usize = 10_000;

/// Bytes of these. An entry may hold a result of some MiB, and Redis has it in memory until it is written.
pub const MAX_OUTBOX_BYTES: usize = 64 * 1024 * 1024;

/// Places that one sweep looks at: a few milliseconds of the store's time.
pub(super) const MAX_SWEPT: usize = 5_000;
