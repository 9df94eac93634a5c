//! What jobs came to, for whoever waits for them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::AdminError;
use crate::outcome::FailureKind;
use crate::queue::{Ended, QueueError, Store};

/// What a job came to.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It completed.
    Completed {
        /// What it returned; none if that was too long to be kept in the answer, and is not kept elsewhere.
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<Box<RawValue>>,
        /// The length of a result that is not here.
        #[serde(skip_serializing_if = "Option::is_none")]
        result_bytes: Option<usize>,
    },
    /// It failed for good, or is not run.
    Failed {
        /// How.
        kind: FailureKind,
        /// Why, in one line.
        message: String,
    },
}

/// An answer as [`Reply`](crate::job::Reply) writes it.
#[derive(Deserialize)]
struct Answer {
    /// `null` is a result, too.
    #[serde(default, deserialize_with = "whatever_it_is")]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    result_bytes: Option<usize>,
    #[serde(default)]
    kind: Option<FailureKind>,
    #[serde(default)]
    message: String,
}

fn whatever_it_is<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

impl Outcome {
    fn of(ended: Ended) -> Option<Self> {
        let kept = ended.result.and_then(|text| RawValue::from_string(text).ok());
        let answer = ended.reply.and_then(|json| serde_json::from_str::<Answer>(&json).ok());
        let Some(answer) = answer else {
            let result = Some(kept?);
            return Some(Self::Completed {
                result,
                result_bytes: None,
            });
        };
        if let Some(kind) = answer.kind {
            let message = answer.message;
            return Some(Self::Failed { kind, message });
        }
        let result = answer.result.or(kept);
        let result_bytes = answer.result_bytes.filter(|_| result.is_none());
        Some(Self::Completed { result, result_bytes })
    }
}

/// What the job with this id came to, if that is kept: the answer of one that asked for it, or the result of one that
/// completed.
///
/// # Errors
/// When the store fails.
pub async fn result(store: &Store, id: &str) -> Result<Option<Outcome>, AdminError> {
    Ok(Outcome::of(store.ended(id).await?))
}

/// Waits until that is known, no longer than this. A job that does not ask for an answer is waited for until it completes.
///
/// # Errors
/// When the store fails.
pub async fn wait(store: &Store, id: &str, patience: Option<Duration>) -> Result<Option<Outcome>, AdminError> {
    let until = patience.map(|patience| Instant::now() + patience);
    loop {
        let ended = match until {
            Some(until) => match timeout_at(until, store.wait_ended(id)).await {
                Ok(ended) => ended,
                // Once more, since it may have come just now.
                Err(_) => return result(store, id).await,
            },
            None => store.wait_ended(id).await,
        };
        match ended {
            Ok(ended) => {
                if let Some(outcome) = Outcome::of(ended) {
                    return Ok(Some(outcome));
                }
            }
            Err(err) if is_over_soon(&err) => tokio::time::sleep(AGAIN).await,
            Err(err) => return Err(err.into()),
        }
    }
}

/// Wait before a store is asked again that did not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// Whether waiting may go on in spite of it: a store that is away comes back, and the answer with it.
fn is_over_soon(err: &QueueError) -> bool {
    err.is_outage()
}
