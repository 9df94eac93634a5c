//! What is kept of the attempts at jobs, and what running attempts report, for operators. No job depends on either: what cannot
//! be kept is left out.

use std::time::Duration;

/// Most jobs of one queue whose attempts are kept; the one that was added to longest ago goes first.
pub const MAX_HISTORIES: usize = 10_000;

/// Most bytes kept of the attempts at all jobs of one queue.
pub const MAX_HISTORY_BYTES: usize = 64 * 1024 * 1024;

/// Most bytes kept of the attempts at one job: of more, the last.
pub const MAX_JOB_HISTORY_BYTES: usize = 128 * 1024;

/// How long the last report of a running attempt is kept, if its host dies before it can take it back.
pub const PROGRESS_TTL: Duration = Duration::from_hours(1);

/// What is to be kept of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The job's id, of 1 to 256 bytes.
    pub id: String,
    /// JSON of one line.
    pub json: String,
}

/// What a running attempt reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressReport {
    /// The job's id.
    pub id: String,
    /// JSON; none: the attempt is over, and the report is taken back.
    pub json: Option<String>,
}

/// What a queue knows of a job that need not be in it any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// What is kept of its attempts: a line of JSON for each, the oldest first.
    pub attempts: String,
    /// Whether it is marked as cancelled.
    pub cancelled: bool,
}
