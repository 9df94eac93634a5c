//! What operators have ordered: which queues and which jobs are paused, who paused them, and whether jobs are cancelled.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::queue_name::QueueName;
use crate::text::{self, MAX_NAME_BYTES};

/// Most job names paused at once. Every host keeps them all, and each takes a lane where its jobs wait.
pub const MAX_PAUSED_JOBS: usize = 1_000;

/// Longest name of a job that can be paused, in bytes: it becomes part of its lane's key.
pub const MAX_PAUSED_NAME_BYTES: usize = 256;

/// Most bytes of a reason, and of the name of whoever paused.
pub const MAX_REASON_BYTES: usize = 256;

/// What an operator can pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pausable {
    /// A queue: no host takes anything from it.
    Queue(QueueName),
    /// A job's name, in all queues: its jobs wait in a lane.
    Job(String),
}

/// Who paused something, when and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pause {
    /// When, RFC 3339, by the store's clock.
    pub at: String,
    /// Who, as they call themselves; may be empty.
    pub by: String,
    /// Why, in their words; may be empty.
    pub reason: String,
}

/// Everything that operators have ordered, as far as one host has to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// The pause of each queue that was asked about, in that order.
    pub queues: Vec<Option<Pause>>,
    /// The paused job names.
    pub jobs: BTreeMap<String, Pause>,
    /// The version of the marks of cancelled jobs of each queue, in the order of the queues; 0: no job was ever cancelled.
    pub cancels: Vec<u64>,
}

impl Orders {
    /// Whether the same is paused, by the same people and for the same reasons.
    pub(super) fn pauses_as(&self, other: &Self) -> bool {
        self.queues == other.queues && self.jobs == other.jobs
    }
}

impl Pausable {
    /// A job's name, if it can be paused.
    ///
    /// # Errors
    /// When it is empty or longer than [`MAX_PAUSED_NAME_BYTES`].
    pub fn job(name: &str) -> Result<Self, String> {
        if name.is_empty() || name.len() > MAX_PAUSED_NAME_BYTES {
            return Err(format!("a job's name has 1 to {MAX_PAUSED_NAME_BYTES} bytes"));
        }
        Ok(Self::Job(name.to_owned()))
    }
}

impl fmt::Display for Pausable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(f, "queue {}", text::name(queue.as_str())),
            Self::Job(name) => write!(f, "job {}", text::name(name)),
        }
    }
}

/// `since 2026-01-02T03:04:05Z by ana@web1: the mail server is down`.
impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "since {}", text::name(&self.at))?;
        if !self.by.is_empty() {
            write!(f, " by {}", text::name(&self.by))?;
        }
        if !self.reason.is_empty() {
            write!(f, ": {}", text::line(&self.reason, MAX_REASON_BYTES))?;
        }
        Ok(())
    }
}

impl Pause {
    /// What the store has. Text of another writer counts as a reason: whatever stands there, something is paused.
    pub(super) fn read(text: &str) -> Self {
        let mut pause = serde_json::from_str(text).unwrap_or_else(|_| Self {
            reason: text.to_owned(),
            ..Self::default()
        });
        pause.by = text::line(&pause.by, MAX_NAME_BYTES).into_owned();
        pause.reason = text::line(&pause.reason, MAX_REASON_BYTES).into_owned();
        pause
    }

    pub(super) fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
