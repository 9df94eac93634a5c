//! What is told to whoever waits for a job, once it has ended.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Job, Label, Options};
use crate::outcome::{Commit, Failure, Settlement};

/// Longest result, in bytes, that an answer carries. Of a longer one it tells the length; the result itself is kept, where
/// results are.
pub const MAX_ANSWERED_BYTES: usize = 256 * 1024;

/// The answer to whoever waits for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The job's id.
    pub id: String,
    /// JSON text.
    pub json: String,
}

/// The answer as JSON.
#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
}

impl Reply {
    /// The answer about a job that completed with this result, JSON text; none stands for `null`.
    #[must_use]
    pub fn completed(id: &str, result: Option<&str>) -> Self {
        let text = result.unwrap_or("null");
        let fits = text.len() <= MAX_ANSWERED_BYTES;
        let result = serde_json::from_str(text).ok().filter(|_| fits);
        Self::of(&Answer {
            id,
            outcome: "completed",
            result_bytes: result.is_none().then_some(text.len()),
            result,
            kind: None,
            message: None,
            attempt: None,
        })
    }

    /// The answer that follows from a settlement; none if that does not end the job, or if the answer comes with what the
    /// job writes on completion.
    #[must_use]
    pub fn to(id: &str, settlement: &Settlement) -> Option<Self> {
        match settlement {
            Settlement::Ack { result } => Some(Self::completed(id, result.as_ref().map(|(_, json)| json.as_str()))),
            Settlement::Fail { entry } | Settlement::FailThere { otherwise: entry, .. } => {
                let job = Job::decode_any(entry.as_bytes()).ok();
                let failure = job.and_then(|job| job.failure())?;
                Some(Self::failed(id, &failure))
            }
            Settlement::Drop { why } => Some(Self::failed(id, why)),
            Settlement::Commit(_) | Settlement::Retry { .. } | Settlement::Wait { .. } | Settlement::Requeue => None,
        }
    }

    fn failed(id: &str, failure: &Failure) -> Self {
        Self::of(&Answer {
            id,
            outcome: "failed",
            result: None,
            result_bytes: None,
            kind: Some(failure.kind.as_str()),
            message: Some(&failure.message),
            attempt: Some(failure.attempt),
        })
    }

    fn of(answer: &Answer<'_>) -> Self {
        Self {
            id: answer.id.to_owned(),
            json: super::raw(answer).get().to_owned(),
        }
    }
}

/// The answer that comes with what is written once a job has ended.
#[must_use]
pub(crate) fn reply_of(commit: &Commit) -> Option<Reply> {
    let id = commit.reply_to.as_ref()?;
    if let Some(why) = &commit.dropped {
        return Some(Reply::failed(id, why));
    }
    let result = commit.result.as_ref().map(|(_, json)| json.as_str());
    Some(Reply::completed(id, result))
}

/// The id of bytes that are no job, if it can be read and they ask for an answer.
#[must_use]
pub(crate) fn asks_for_reply(bytes: &[u8]) -> Option<String> {
    let label = Label::of(bytes);
    let (options, _) = Options::read(label.metadata.as_deref());
    label.id.filter(|_| options.reply)
}
