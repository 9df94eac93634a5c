//! What an attempt came to, and what becomes of its job.
//!
//! A guest's fault is data here, never a Rust error. `retry` decides which settlement follows from which outcome.

mod attempt;
mod commit;
mod follow_up;
mod lane;
mod record;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use attempt::{Asked, Attempt, Boundary, Count, Output, Report};
pub use commit::{BatchMark, Commit};
pub use follow_up::{Due, FollowUp, NewJob};
pub use lane::Lane;
pub use record::{
    AttemptRecord, MAX_OUTPUT_KEPT_BYTES, MAX_RECORD_BYTES, MAX_SAID_BYTES, RunningReport, Said, SaidLine,
};

use crate::text::{self, MAX_LINE_BYTES};

/// What an attempt came to.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The handler returned `ok`, with its optional JSON result.
    Completed {
        /// JSON text.
        result: Option<String>,
    },
    /// The handler failed, or was made to.
    Failed {
        /// The failure, for readers of the failed list.
        failure: Failure,
        /// Whether and when trying again can help.
        retry: RetryHint,
    },
    /// The host stopped the attempt for reasons of its own: the job goes back, and the attempt does not count.
    Stopped,
}

/// What the failing side says about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryHint {
    /// When the policy says so.
    ByPolicy,
    /// Not sooner than this from now.
    NotBefore(Duration),
    /// Not sooner than this from now, and the attempt does not count: the handler gave up because its host is shutting
    /// down.
    NotBeforeUncounted(Duration),
    /// Trying again cannot help.
    Never,
}

/// How a job failed. A closed set: operators filter and alert by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The handler said permanent.
    Rejected,
    /// The handler said retry, and attempts ran out.
    Error,
    /// The handler trapped: a panic, an abort, a stack overflow, an access out of bounds.
    Trap,
    /// The attempt took longer than it may.
    Timeout,
    /// The attempt wanted more memory than it may have.
    Memory,
    /// The handler used what the operator did not grant.
    Denied,
    /// No plugin handles this name.
    UnknownJob,
    /// The bytes are no job.
    Malformed,
    /// The plugin that handles this name could not be loaded or instantiated.
    Unloadable,
    /// The host died under the job, repeatedly.
    Lost,
    /// The host itself failed, by a fault of its own; the handler is not to blame.
    Internal,
    /// An operator ended the job for good.
    Cancelled,
    /// The job grew too old to run.
    Expired,
    /// The job is unique by a key, and another of that key runs in its place.
    Duplicate,
}

impl FailureKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 14] = [
        Self::Rejected,
        Self::Error,
        Self::Trap,
        Self::Timeout,
        Self::Memory,
        Self::Denied,
        Self::UnknownJob,
        Self::Malformed,
        Self::Unloadable,
        Self::Lost,
        Self::Internal,
        Self::Cancelled,
        Self::Expired,
        Self::Duplicate,
    ];

    /// The kind as it stands in JSON, logs and filters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Error => "error",
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::Denied => "denied",
            Self::UnknownJob => "unknown-job",
            Self::Malformed => "malformed",
            Self::Unloadable => "unloadable",
            Self::Lost => "lost",
            Self::Internal => "internal",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Duplicate => "duplicate",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FailureKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| format!("no such kind; there are {}", known()))
    }
}

/// The `failure` object of a failed entry. Its display is the entry's `error`: one line for a person.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// How it failed.
    pub kind: FailureKind,
    /// Why, in one line.
    pub message: String,
    /// The plugin whose handler ran; empty where none did.
    #[serde(default)]
    pub handler: String,
    /// The plugin's content digest (SHA-256, hexadecimal); empty where none ran.
    #[serde(default)]
    pub digest: String,
    /// Which attempt it was, counted from 1; 0 where none was made.
    #[serde(default)]
    pub attempt: u32,
    /// How long the attempt took.
    #[serde(default)]
    pub duration_ms: u64,
    /// Processor time it used.
    #[serde(default)]
    pub cpu_ms: u64,
    /// The most linear memory it held at once.
    #[serde(default)]
    pub peak_memory_bytes: u64,
    /// The queue the job was taken from, where the job itself names another or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The Wasm frames of a trap, innermost first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
    /// The last of what the handler wrote to standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    /// The last of what the handler wrote to standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
}

impl Failure {
    /// A failure of which only kind and message are known. The message is made one line.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: text::message(&message.into(), MAX_LINE_BYTES).into_owned(),
            handler: String::new(),
            digest: String::new(),
            attempt: 0,
            duration_ms: 0,
            cpu_ms: 0,
            peak_memory_bytes: 0,
            queue: None,
            backtrace: None,
            stdout: None,
            stderr: None,
        }
    }
}

impl Failure {
    /// The failure of a job that an operator cancelled.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(FailureKind::Cancelled, "an operator cancelled this job")
    }

    /// Adds to the message, after a semicolon.
    pub fn add(&mut self, message: &str) {
        self.message = text::message(&format!("{}; {message}", self.message), MAX_LINE_BYTES).into_owned();
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

/// What becomes of a delivery. The queue carries it out.
#[derive(Debug, Clone)]
pub enum Settlement {
    /// Done: the job leaves the store. A result is kept under the job's id.
    Ack {
        /// Job id and JSON text, where the handler returned one.
        result: Option<(String, String)>,
    },
    /// Done, and the [`Commit`] in this JSON text is written once, with the acknowledgement. It is kept as text until
    /// then.
    Commit(String),
    /// The job waits in the delayed set.
    Retry {
        /// The job's JSON, the attempt counted.
        job: String,
        /// Due that long after the settlement, by the store's clock.
        wait: Duration,
    },
    /// The job is over: its entry goes to the failed list.
    Fail {
        /// The failed entry's JSON.
        entry: String,
    },
    /// The job is over, but the host never read all of its bytes. So the store makes the failed entry from the bytes
    /// that it has.
    FailThere {
        /// What replaces the job's opening brace in the entry.
        head: String,
        /// The entry to use where the store cannot make one.
        otherwise: String,
    },
    /// The job waits in a lane as it was, nothing counted, until a host has room for it.
    Wait {
        /// Which.
        lane: Lane,
    },
    /// The job goes back to the front of its queue as it was, nothing counted.
    Requeue,
    /// Done without a further attempt: the job leaves the store, and nothing is kept of it.
    Drop {
        /// Why.
        why: Box<Failure>,
    },
}

/// What became of a delivery's job, once its settlement is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Done.
    Acked,
    /// It waits in the delayed set.
    Delayed,
    /// It is in the failed list.
    Failed,
    /// It waits in a lane.
    Waiting,
    /// It is ready again.
    Requeued,
    /// It is gone without having run.
    Dropped,
}

impl Settlement {
    /// The fate of the job under this settlement.
    #[must_use]
    pub fn fate(&self) -> Fate {
        match self {
            Self::Ack { .. } | Self::Commit(_) => Fate::Acked,
            Self::Drop { .. } => Fate::Dropped,
            Self::Retry { .. } => Fate::Delayed,
            Self::Fail { .. } | Self::FailThere { .. } => Fate::Failed,
            Self::Wait { .. } => Fate::Waiting,
            Self::Requeue => Fate::Requeued,
        }
    }

    /// Whether a fault that keeps the store from carrying out this settlement does the same to `other`.
    pub(crate) fn goes_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Wait { lane }, Self::Wait { lane: other }) => lane == other,
            (Self::Ack { .. }, Self::Commit(_)) | (Self::Commit(_), Self::Ack { .. }) => false,
            _ => self.fate() == other.fate(),
        }
    }

    /// Bytes that the settlement sends to the store.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Ack { result } => result.as_ref().map_or(0, |(id, json)| id.len() + json.len()),
            Self::Retry { job, .. } => job.len(),
            Self::Fail { entry } => entry.len(),
            Self::Commit(commit) => commit.len(),
            Self::FailThere { head, otherwise } => head.len() + otherwise.len(),
            Self::Wait { .. } | Self::Requeue | Self::Drop { .. } => 0,
        }
    }
}
