//! What is written together with an acknowledgement.

use serde::{Deserialize, Serialize};

use super::{Failure, NewJob, Settlement};
use crate::state::Write;

/// What is written with an acknowledgement, in the form in which an outbox holds it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Commit {
    /// Job id and JSON text of the result, which can be read only once everything is written.
    pub result: Option<(String, String)>,
    /// What the handler has asked to write.
    pub writes: Vec<Write>,
    /// Batches whose job it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<BatchMark>,
    /// Jobs to push.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<NewJob>,
    /// The job's id, if somebody is to be told that it has ended, once everything is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// Why it was dropped, if it has not completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<Box<Failure>>,
}

/// That a job of a batch has ended, and what is to be pushed if it was the last. Callbacks without a payload get one then.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BatchMark {
    /// The batch.
    pub id: String,
    /// How many jobs it was announced with; 0: unknown to this job.
    pub of: u64,
    /// The job's id.
    pub member: String,
    /// Whether it is in the failed list; else it has completed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// The ids of jobs that it brings into the batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adds: Vec<String>,
    /// To be pushed once all have completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<NewJob>,
    /// To be pushed once all have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<NewJob>,
    /// To be pushed with the first that ends; it is dropped if the batch has ended when it falls due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<NewJob>,
}

impl Commit {
    /// Reads an entry of an outbox. None if Kiln did not write it.
    #[must_use]
    pub fn read(entry: &[u8]) -> Option<Self> {
        serde_json::from_slice(entry).ok()
    }

    /// As an outbox holds it.
    #[must_use]
    pub fn to_text(&self) -> String {
        // Cannot fail: its maps have text for keys.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether there is anything to write beside the acknowledgement.
    fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.jobs.is_empty() && self.batches.is_empty()
    }
}

impl Settlement {
    /// This settlement; an acknowledgement also carries these writes.
    #[must_use]
    pub fn with_writes(self, writes: Vec<Write>) -> Self {
        self.with(Commit {
            writes,
            ..Commit::default()
        })
    }

    /// This settlement; an acknowledgement also carries what is to be written with it, beside its own result.
    #[must_use]
    pub fn with(self, also: Commit) -> Self {
        match self {
            Self::Ack { result } if !also.is_empty() => Self::Commit(Commit { result, ..also }.to_text()),
            other => other,
        }
    }
}
