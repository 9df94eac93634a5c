//! A failed job put back with another payload.

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::AdminError;
use super::failed::{Act, work_on};
use crate::job::{Job, new_id};
use crate::outcome::FailureKind;
use crate::queue::{FailedEntry, Fate, Push, QUEUE_DEFAULT, QueueName, Store};

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The id of the job that was pushed.
    pub id: String,
    /// The queue that it is in.
    pub queue: QueueName,
    /// What became of the failed entry.
    pub original: Fate,
}

/// Pushes the job of a failed entry with this payload, under a new id and with all its attempts before it, and deletes the
/// entry once that is done. So a crash in between leaves both.
///
/// # Errors
/// When the entry holds no job that could be put back, the payload is too long, or the store fails.
pub async fn retry_edited(store: &Store, entry: FailedEntry, payload: Box<RawValue>) -> Result<Edited, AdminError> {
    let now = store.now().await?;
    let (id, push) = edited(&entry, payload, now)?;
    let queue = push.queue.clone();
    store.push(&[push]).await?;
    let original = work_on(store, entry, &Act::Delete).await?;
    Ok(Edited { id, queue, original })
}

fn edited(entry: &FailedEntry, payload: Box<RawValue>, now: Timestamp) -> Result<(String, Push), AdminError> {
    let wrong = |why: String| AdminError::NoEdit(why);
    let mut job = entry.job().map_err(|err| wrong(err.to_string()))?.clone();
    let failure = entry.failure();
    if failure
        .as_ref()
        .is_some_and(|failure| failure.kind == FailureKind::Malformed)
    {
        return Err(wrong("it holds bytes that are no job".to_owned()));
    }
    let home = failure.and_then(|failure| failure.queue).or_else(|| job.queue.clone());
    let queue = QueueName::new(home.as_deref().unwrap_or(QUEUE_DEFAULT)).map_err(wrong)?;
    job.reset(now);
    job.id = new_id();
    job.payload = payload;
    let text = job.encode();
    // What a host would refuse is refused here.
    Job::decode(text.as_bytes()).map_err(|err| wrong(err.to_string()))?;
    let due_ms = None;
    Ok((
        job.id,
        Push {
            queue,
            job: text,
            due_ms,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_job_is_another_with_all_its_attempts_and_keeps_what_was_not_edited() {
        let entry = r#"{"id":"1","name":"mail","queue":"bulk","payload":{"a":1},"attempts":3,"max_attempts":3,"metadata":{"k":"v"},"error":"no","failed_at":"2026-01-01T00:00:00Z","own":[7],"failure":{"kind":"error","message":"no","handler":"mail","digest":"ab","attempt":3,"duration_ms":1,"queue":"found"}}"#;
        let entry = FailedEntry::new(entry.as_bytes().to_vec());
        let payload = RawValue::from_string(r#"{"a": 123456789012345678901}"#.to_owned()).unwrap();
        let (id, push) = edited(&entry, payload, Timestamp::UNIX_EPOCH).unwrap();
        assert_ne!(id, "1");
        assert_eq!(push.queue.as_str(), "found");
        let job: serde_json::Value = serde_json::from_str(&push.job).unwrap();
        assert_eq!((&job["id"], &job["attempts"]), (&id.into(), &0.into()));
        assert_eq!((&job["max_attempts"], &job["metadata"]["k"]), (&3.into(), &"v".into()));
        assert_eq!(
            (&job["own"][0], &job["failure"], &job["error"]),
            (&7.into(), &serde_json::Value::Null, &serde_json::Value::Null)
        );
        assert!(push.job.contains("123456789012345678901"), "{}", push.job);
        assert!(
            edited(
                &FailedEntry::new(b"[]".to_vec()),
                crate::job::null(),
                Timestamp::UNIX_EPOCH
            )
            .is_err()
        );
    }
}
