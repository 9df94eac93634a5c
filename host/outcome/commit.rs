//! What is written together with an acknowledgement.

use serde::{Deserialize, Serialize};

use super::Settlement;
use crate::state::Write;

/// What an acknowledgement brings about, as it stands in an outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Job id and JSON text of the result, which is there only once all is written.
    pub result: Option<(String, String)>,
    /// What the handler has asked to write.
    pub writes: Vec<Write>,
}

impl Commit {
    /// What an entry of an outbox says; none if it is not one of ours.
    #[must_use]
    pub fn read(entry: &str) -> Option<Self> {
        serde_json::from_str(entry).ok()
    }
}

impl Settlement {
    /// The same, and if it acknowledges the job, with these writes.
    #[must_use]
    pub fn with_writes(self, writes: Vec<Write>) -> Self {
        match self {
            Self::Ack { result } if !writes.is_empty() => {
                let commit = Commit { result, writes };
                // Maps have text for keys, and there is nothing else that could fail.
                serde_json::to_string(&commit).map_or(Self::Ack { result: commit.result }, Self::Commit)
            }
            other => other,
        }
    }
}
