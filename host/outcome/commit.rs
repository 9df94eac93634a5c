//! What is written together with an acknowledgement.

use serde::{Deserialize, Serialize};

use super::Settlement;
use crate::state::Write;

/// What is written with an acknowledgement, in the form in which an outbox holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Job id and JSON text of the result, which can be read only once everything is written.
    pub result: Option<(String, String)>,
    /// What the handler has asked to write.
    pub writes: Vec<Write>,
}

impl Commit {
    /// Reads an entry of an outbox. None if Kiln did not write it.
    #[must_use]
    pub fn read(entry: &[u8]) -> Option<Self> {
        serde_json::from_slice(entry).ok()
    }
}

impl Settlement {
    /// This settlement; an acknowledgement also carries these writes.
    #[must_use]
    pub fn with_writes(self, writes: Vec<Write>) -> Self {
        match self {
            Self::Ack { result } if !writes.is_empty() => {
                let commit = Commit { result, writes };
                // Cannot fail: its maps have text for keys.
                serde_json::to_string(&commit).map_or(Self::Ack { result: commit.result }, Self::Commit)
            }
            other => other,
        }
    }
}
