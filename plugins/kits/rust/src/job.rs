//! One attempt at a job, as a handler sees it.

use std::any::Any;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::raw::types;
use crate::{Failure, OrFail, json};

/// One attempt at a job whose payload is a `P`.
#[derive(Debug, Clone)]
pub struct Job<P> {
    /// The job's identity, the same on every attempt: an idempotency key. Empty where a producer sent none.
    pub id: String,
    /// The name that selected this handler. A plugin that handles several tells them apart by it.
    pub name: String,
    /// The queue the job was taken from.
    pub queue: String,
    /// What the producer sent.
    pub payload: P,
    /// Which attempt this is, counted from 1.
    pub attempt: u32,
    /// How many attempts the job has in all.
    pub max_attempts: u32,
    /// When the job was created, where the producer said so.
    pub created_at: Option<SystemTime>,
    /// The JSON text of an object, to be read by [`Job::metadata_as`]: few handlers look at it, and those that do not
    /// are the smaller and quicker for it.
    pub metadata: String,
}

impl<P> Job<P> {
    /// The first attempt at a job, for tests. What matters to one can be set: `Job { attempt: 3, ..Job::of("x", ()) }`.
    pub fn of(name: &str, payload: P) -> Self {
        Self {
            id: "00000000-0000-0000-0000-000000000000".to_owned(),
            name: name.to_owned(),
            queue: "default".to_owned(),
            payload,
            attempt: 1,
            max_attempts: 3,
            created_at: None,
            metadata: "{}".to_owned(),
        }
    }

    /// The metadata as a type of the handler's, or as a `serde_json::Map`.
    ///
    /// # Errors
    /// [`Failure::Permanent`] where it does not fit.
    pub fn metadata_as<'a, M: Deserialize<'a>>(&'a self) -> Result<M, Failure> {
        json::read("metadata", &self.metadata)
    }
}

impl Job<Box<RawValue>> {
    /// The payload as a type that is only known by now, by the job's name for instance, or one that borrows its text.
    ///
    /// # Errors
    /// [`Failure::Permanent`] where it does not fit, as for a payload that has its type from the start.
    pub fn payload_as<'a, P: Deserialize<'a>>(&'a self) -> Result<P, Failure> {
        json::read("payload", self.payload.get())
    }
}

/// Takes a job over from the host. The text of its payload is freed before the handler begins, or kept as it is.
pub fn read<P: DeserializeOwned + 'static>(job: types::Job) -> Result<Job<P>, Failure> {
    Ok(Job {
        payload: read_payload(job.payload)?,
        id: job.id,
        name: job.name,
        queue: job.queue,
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        created_at: (job.created_at_ms > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_millis(job.created_at_ms)),
        metadata: job.metadata,
    })
}

fn read_payload<P: DeserializeOwned + 'static>(text: String) -> Result<P, Failure> {
    let mut payload = None::<P>;
    // What stays text is not copied: it may be most of the memory that the handler has.
    if let Some(raw) = (&mut payload as &mut dyn Any).downcast_mut::<Option<Box<RawValue>>>() {
        *raw = RawValue::from_string(text).ok();
    } else {
        payload = Some(json::read("payload", &text)?);
    }
    payload.or_permanent("payload: not JSON")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn job(payload: &str) -> types::Job {
        types::Job {
            id: "7f9c".to_owned(),
            name: "ship".to_owned(),
            queue: "slow".to_owned(),
            payload: payload.to_owned(),
            attempt: 2,
            max_attempts: 5,
            created_at_ms: 1_500,
            metadata: r#"{"tenant": "t1"}"#.to_owned(),
        }
    }

    #[test]
    fn a_job_arrives_whole() {
        let job: Job<Vec<u8>> = read(job("[1, 2]")).unwrap();
        assert_eq!(
            (job.id.as_str(), job.name.as_str(), job.queue.as_str()),
            ("7f9c", "ship", "slow")
        );
        assert_eq!(
            (job.payload.as_slice(), job.attempt, job.max_attempts),
            (&[1, 2][..], 2, 5)
        );
        assert_eq!(
            job.created_at,
            Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500))
        );
        let metadata: BTreeMap<String, String> = job.metadata_as().unwrap();
        assert_eq!(metadata["tenant"], "t1");
    }

    #[test]
    fn a_payload_may_stay_the_text_it_is() {
        let job: Job<Box<RawValue>> = read(job(r#"{"n": 12345678901234567890 }"#)).unwrap();
        assert_eq!(job.payload.get(), r#"{"n": 12345678901234567890 }"#);
        let borrowed: BTreeMap<&str, u64> = job.payload_as().unwrap();
        assert_eq!(borrowed["n"], 12_345_678_901_234_567_890);
        let failure = job.payload_as::<Vec<u8>>().unwrap_err();
        assert!(matches!(failure, Failure::Permanent(why) if why.starts_with("payload: ")));
    }
}
