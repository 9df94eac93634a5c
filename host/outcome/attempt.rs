//! One run of a handler, once it is over.

use std::time::Duration;

use super::Outcome;
use crate::state::Write;

/// What an attempt came to, and what it took.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// What becomes of the job follows from this alone.
    pub outcome: Outcome,
    /// Values that the handler asked to write when the job is acknowledged. Empty unless it completed.
    pub writes: Vec<Write>,
    /// For logs and for whoever watches.
    pub report: Report,
}

/// What an attempt took, and what it left behind.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// From the start of instantiation to the end of the call.
    pub duration: Duration,
    /// The part of it until the guest could be called. None where the guest never could.
    pub instantiate: Option<Duration>,
    /// Processor time of the guest, and of the host within the guest's calls.
    pub cpu: Duration,
    /// The most linear memory held at once, in bytes, over all memories.
    pub peak_memory_bytes: u64,
    /// The last of standard output.
    pub stdout: Output,
    /// The last of standard error.
    pub stderr: Output,
    /// Lines logged through `wasi:logging`.
    pub log_lines: Count,
    /// Progress reports made.
    pub progress_reports: Count,
    /// The last progress report, in percent.
    pub progress_percent: Option<u8>,
    /// Whether the producer's job alone ended the attempt, whatever the handler did. Such an attempt says nothing about
    /// the plugin.
    pub caused_by_job: bool,
    /// HTTP requests sent.
    pub http_requests: u32,
    /// Whether the handler has heard that the host is shutting down.
    pub heard_of_drain: bool,
}

/// What is left of a guest's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// The last of it, within the limit `output_bytes`; what is not UTF-8 is replaced.
    pub text: String,
    /// Bytes before that, which were dropped.
    pub dropped_bytes: u64,
}

/// How much was said, and how much of it was dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Passed on.
    pub kept: u32,
    /// Over the limit.
    pub dropped: u32,
}

impl Count {
    /// Counts one more. Returns whether it is within `limit`.
    pub(crate) fn admit(&mut self, limit: u32) -> bool {
        let admitted = self.kept < limit;
        let count = if admitted { &mut self.kept } else { &mut self.dropped };
        *count = count.saturating_add(1);
        admitted
    }
}
