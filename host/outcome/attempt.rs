//! One run of a handler, once it is over.

use std::time::Duration;

use super::{FollowUp, Outcome};
use crate::state::Write;

/// What an attempt came to, and what it took.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// What becomes of the job follows from this alone.
    pub outcome: Outcome,
    /// What the handler asked for. Nothing unless it completed.
    pub asked: Asked,
    /// For logs and for whoever watches.
    pub report: Report,
}

/// What a handler asked for, to be carried out with the acknowledgement of its job.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Values to write.
    pub writes: Vec<Write>,
    /// Jobs to push, in their order.
    pub follow_ups: Vec<FollowUp>,
}

/// What an attempt took, and what it left behind.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// From the start of instantiation to the end of the call.
    pub duration: Duration,
    /// The part of it until the guest could be called. None where the guest never could.
    pub instantiate: Option<Duration>,
    /// Whether the instance was ready before the job came: to make it is then no part of these times.
    pub made_ahead: bool,
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
    /// The bound that ended the attempt, if one did.
    pub boundary: Option<Boundary>,
    /// HTTP requests sent.
    pub http_requests: u32,
    /// TCP connections made.
    pub tcp_connections: u32,
    /// Whether the handler has heard that the host is shutting down.
    pub heard_of_drain: bool,
}

/// A bound that an attempt met. The names are Kiln's own, so there are only so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// A limit, by its name.
    Limit(&'static str),
    /// What the operator granted: it used this capability without a grant.
    Grant(&'static str),
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
