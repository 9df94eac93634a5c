//! One run of a handler: what can stop it, and what is known once it is over.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::guest_log::Count;
use super::output::Output;
use crate::outcome::Outcome;
use crate::stop::Stop;

/// How the host ends attempts, in two stages. Clones share both, without the lock that a clone of a token takes: every
/// attempt of a host has the same ones.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    /// The host is shutting down: handlers that ask are told so, and what those then ask to retry does not count.
    pub draining: Arc<CancellationToken>,
    /// The attempt is interrupted where it stands: the grace period is over, or the host's lease is.
    pub stop: Arc<Stop>,
}

/// What an attempt came to, and what it took.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// What becomes of the job follows from this alone.
    pub outcome: Outcome,
    /// For logs and for whoever watches.
    pub report: Report,
}

impl Attempt {
    /// One that never came to run.
    pub(super) fn cancelled() -> Self {
        Self {
            outcome: Outcome::Cancelled,
            report: Report::default(),
        }
    }
}

/// What an attempt took, and what it left behind.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// From the start of instantiation to the end of the call.
    pub duration: Duration,
    /// Of that, until the guest could be called; none where it never came to that.
    pub instantiate: Option<Duration>,
    /// Processor time the guest used, and the host on its behalf within its calls.
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
    /// Whether the producer's job alone ended it, whatever the handler did: that says nothing about the plugin.
    pub caused_by_job: bool,
    /// HTTP requests sent.
    pub http_requests: u32,
    /// Whether the handler has heard that the host is shutting down.
    pub heard_of_drain: bool,
}
