//! A job and its JSON, as the Go library dg-queue writes it.
//!
//! The payload, the metadata and every key that is not ours stay raw text from decoding to encoding: no number is
//! rounded, no key reordered, no escape rewritten. Timestamps stay the strings they came as, because Go and we print
//! fractions and offsets differently. There is no JSON tree here.

mod batch;
mod codec;
mod expiry;
mod nesting;
mod options;
mod pointer;
mod queue_name;
mod reply;
mod spec;
mod trace;
mod unique;
mod wrapped;

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

pub(crate) use batch::called_back;
pub use batch::{MAX_BATCH_ID_BYTES, MAX_BATCHES, MAX_MEMBERS, Membership, Sizes, check_batch_id, late_job};
pub(crate) use codec::Label;
pub use nesting::MAX_NESTED_JOBS;
pub(crate) use options::fraction;
pub use options::{Backoff, Expires, MAX_FLOW_BYTES, MAX_LINKS, Options, Plans, RetryWish, parse_duration};
pub use queue_name::{MAX_QUEUE_NAME_BYTES, QUEUE_DEFAULT, check_queue_name};
pub use reply::{MAX_ANSWERED_BYTES, Reply};
pub(crate) use reply::{asks_for_reply, reply_of};
pub use spec::{JobSpec, MAX_HANDED_ON_BYTES, Parent, next_in_chain};
pub use trace::{TraceContext, trace_context, trace_id};
pub(crate) use unique::stamp;
pub use unique::{MAX_UNIQUE_TIME, Unique, UniqueRule};
pub use wrapped::wrap_malformed;
pub(crate) use wrapped::{Original, failed_head, unwrap_malformed, wrap_partial, wrap_refused};

use crate::outcome::Failure;
use crate::text::{self, MAX_LINE_BYTES};

/// Attempts in all for a job that names none; what dg-queue gives.
pub const MAX_ATTEMPTS_DEFAULT: NonZeroU32 = NonZeroU32::new(3).unwrap();

/// Time an attempt may take for a job that names none; what dg-queue gives.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Largest payload, in bytes. Images travel in payloads. One beyond this is a mistake, and many of them at once would
/// let a producer use up the host's memory.
pub const MAX_PAYLOAD_BYTES: usize = 16 * 1024 * 1024;

/// Largest metadata and unknown keys, in bytes together. Both are kept exactly as they came.
pub const MAX_KEPT_BYTES: usize = 12 * 1024 * 1024;

/// Largest job, in bytes, that is decoded at all. Payload and kept keys never grow, and the remaining 4 MiB hold all
/// that Kiln ever writes into a job: so a job that was accepted once can always be retried.
pub const MAX_JOB_BYTES: usize = 2 * MAX_PAYLOAD_BYTES;

/// Longest id, name, queue or time, in bytes. Each is held, logged and shown.
pub const MAX_TEXT_BYTES: usize = 1024;

/// Most keys of one job that are not dg-queue's. Each costs several times its length in memory.
pub const MAX_EXTRA_KEYS: usize = 1000;

/// Longest of those keys, in bytes.
pub const MAX_KEY_BYTES: usize = 256;

/// How long before its time dg-queue may make a job ready: a second by rounding, and another for clocks that differ.
const MAX_EARLY: Duration = Duration::from_secs(2);

/// Bytes that the failed entry keeps of a job too large to keep whole: enough to see who pushed it and what it was.
pub const KEPT_BYTES: usize = 64 * 1024;

/// The name of a failed entry for bytes that are no job, if no name can be read from them.
pub const MALFORMED_NAME: &str = "malformed";

/// A unit of work: which handler, with what payload, how often tried.
#[derive(Debug, Clone)]
pub struct Job {
    /// Identity, the same on every attempt. Where the producer sent none, one is made up each time the job is decoded,
    /// until a retry writes it down.
    pub id: String,
    /// Picks the handler.
    pub name: String,
    /// The queue it belongs to, if the producer said so.
    pub queue: Option<String>,
    /// JSON text, as pushed.
    pub payload: Box<RawValue>,
    /// Attempts that have counted so far.
    pub attempts: u32,
    /// Attempts in all before the job fails; 0 where it names none: its plugin's manifest decides, or the default. Absent
    /// from the JSON while 0, since dg-queue takes a 0 that is present for a single attempt.
    pub max_attempts: u32,
    /// Nanoseconds an attempt may take; 0 where it names none: its plugin's manifest decides, or the default.
    pub timeout_ns: i64,
    /// Nanoseconds the next attempt was put off by. Kept for readers; the delayed set decides.
    pub delay_ns: i64,
    /// RFC 3339, as written by whoever wrote it last.
    pub times: Times,
    /// Why the last attempt failed, in one line.
    pub error: Option<String>,
    /// JSON text of an object.
    pub metadata: Option<Box<RawValue>>,
    /// How often a host died while it ran this job. Kiln's own key, absent from the JSON while 0.
    pub lost: u32,
    /// When it has grown too old to run, RFC 3339, or `never`. Kiln's own key, absent until `available_at` changes.
    pub expires_at: Option<String>,
    /// Of a job that is unique by a key: `admitted` once a worker has admitted it, and when that fetched it; `asked` and the
    /// same if the worker could not hear whether it was; `revived` once an operator has put it back. Kiln's own key, absent
    /// until then.
    pub unique: Option<String>,
    /// The queue it was taken from, which may be another than it says. Not part of the JSON.
    pub found_on: Option<String>,
    /// Keys that are not ours, in the order they came.
    pub extra: Vec<(String, Box<RawValue>)>,
}

/// A job's timestamps: RFC 3339 strings, each absent where nobody wrote it.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "each is the JSON key of its name")]
pub struct Times {
    pub available_at: Option<String>,
    pub created_at: Option<String>,
    pub updated_at: Option<String>,
    pub started_at: Option<String>,
    pub completed_at: Option<String>,
    pub failed_at: Option<String>,
}

/// Why bytes are no job. The producer's fault, never the host's.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or a key of the wrong type. Shown on one line, since the message may quote the bytes.
    #[error("not a job: {0}")]
    Json(String),
    /// Longer than [`MAX_JOB_BYTES`].
    #[error("job is too large: {len} bytes, at most {MAX_JOB_BYTES} are decoded")]
    TooLarge {
        /// Length found, in bytes.
        len: usize,
    },
    /// Longer than what the store accepts.
    #[error("the store does not take its {len} bytes: {why}")]
    Refused {
        /// Length, in bytes.
        len: usize,
        /// What the store says.
        why: String,
    },
    /// The store has the job, but its bytes never reached the host.
    #[error("its {len} bytes do not come from the store: {why}")]
    NeverCame {
        /// Length, in bytes.
        len: usize,
        /// The last error while fetching them.
        why: String,
    },
    /// Its payload is longer than [`MAX_PAYLOAD_BYTES`].
    #[error("payload is too large: {len} bytes, at most {MAX_PAYLOAD_BYTES} are taken")]
    PayloadTooLarge {
        /// Length found, in bytes.
        len: usize,
    },
    /// Its metadata and unknown keys are longer than [`MAX_KEPT_BYTES`].
    #[error("metadata and unknown keys are too large: {len} bytes together, at most {MAX_KEPT_BYTES} are taken")]
    KeptTooLarge {
        /// Length found, in bytes.
        len: usize,
    },
}

impl Job {
    /// A new job: a fresh id, created now. It sets neither attempts nor a time-out, so its plugin's manifest decides
    /// both.
    #[must_use]
    pub fn new(name: &str, queue: &str, payload: Box<RawValue>) -> Self {
        let now = Timestamp::now().to_string();
        Self {
            id: new_id(),
            name: name.to_owned(),
            queue: Some(queue.to_owned()),
            payload,
            attempts: 0,
            max_attempts: 0,
            timeout_ns: 0,
            delay_ns: 0,
            times: Times {
                available_at: Some(now.clone()),
                created_at: Some(now.clone()),
                updated_at: Some(now),
                ..Times::default()
            },
            error: None,
            metadata: None,
            lost: 0,
            expires_at: None,
            unique: None,
            found_on: None,
            extra: Vec::new(),
        }
    }

    /// Reads a job from the bytes of a list entry.
    ///
    /// # Errors
    /// When the bytes are not the JSON object of a job with a name.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_JOB_BYTES {
            return Err(DecodeError::TooLarge { len: bytes.len() });
        }
        let job = Self::decode_any(bytes)?;
        let (payload, kept) = (job.payload.get().len(), job.kept_bytes());
        if payload > MAX_PAYLOAD_BYTES {
            return Err(DecodeError::PayloadTooLarge { len: payload });
        }
        if job.extra.len() > MAX_EXTRA_KEYS {
            return Err(DecodeError::Json(codec::too_many_keys()));
        }
        if kept > MAX_KEPT_BYTES {
            return Err(DecodeError::KeptTooLarge { len: kept });
        }
        Ok(job)
    }

    /// Length of what is kept as it came, beside the payload.
    fn kept_bytes(&self) -> usize {
        let metadata = self.metadata.as_ref().map_or(0, |metadata| metadata.get().len());
        let extra = self.extra.iter().map(|(key, value)| key.len() + value.get().len());
        metadata + extra.sum::<usize>()
    }

    /// Reads a job of any size. An entry of the failed list may be larger than a job, since it may wrap one that was
    /// too large.
    pub(crate) fn decode_any(bytes: &[u8]) -> Result<Self, DecodeError> {
        serde_json::from_slice(bytes)
            .map_err(|err| DecodeError::Json(text::message(&err.to_string(), MAX_LINE_BYTES).into_owned()))
    }

    /// The queue it belongs to: the one it was found on, else the one it names.
    pub(crate) fn home(&self) -> Option<&str> {
        self.found_on.as_deref().or(self.queue.as_deref())
    }

    /// What its failed entry says about the failure; none where another program wrote it.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        serde_json::from_str(self.extra("failure")?.get()).ok()
    }

    /// The job's JSON, keys in dg-queue's order, unknown keys last.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|err| unreachable!("a job is strings, integers and JSON: {err}"))
    }

    /// The attempt that comes next, counted from 1.
    #[must_use]
    pub fn next_attempt(&self) -> u32 {
        self.attempts.saturating_add(1)
    }

    /// Time one attempt may take, where the job names one.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        let ns = u64::try_from(self.timeout_ns).ok().filter(|ns| *ns > 0)?;
        Some(Duration::from_nanos(ns))
    }

    /// Bytes of the job that its handler is given, as far as a producer can make them many.
    #[must_use]
    pub(crate) fn given_bytes(&self) -> usize {
        self.payload.get().len() + self.metadata.as_ref().map_or(0, |metadata| metadata.get().len())
    }

    /// The span of the producer that pushed the job, if it says so.
    #[must_use]
    pub fn trace_context(&self) -> Option<TraceContext> {
        trace_context(self.metadata.as_deref()?.get())
    }

    /// The id of the trace that the job belongs to, if its producer says so.
    #[must_use]
    pub fn trace_id(&self) -> Option<String> {
        trace_id(self.metadata.as_deref()?.get())
    }

    /// When the job was created, in milliseconds since the Unix epoch; 0 if the job does not say, or the time cannot be
    /// read.
    #[must_use]
    pub fn created_at_ms(&self) -> u64 {
        let parsed = self
            .times
            .created_at
            .as_deref()
            .and_then(|text| text.parse::<Timestamp>().ok());
        parsed
            .and_then(|time| u64::try_from(time.as_millisecond()).ok())
            .unwrap_or(0)
    }

    /// When the job may first run, if the job gives a time that can be read.
    #[must_use]
    pub fn available_at(&self) -> Option<Timestamp> {
        self.times.available_at.as_deref()?.parse().ok()
    }

    /// Until when a job has to wait that became ready too early; none if it may run now. dg-queue rounds the score of a
    /// delayed job down to the second, so such a job becomes ready up to a second before `available_at`. Only a job
    /// that was pushed with a delay, and that nobody has rewritten since, can be early, and only by up to
    /// [`MAX_EARLY`]. Otherwise the delayed set decides: a job that was pushed to the ready list runs now, whatever
    /// `available_at` says, as with dg-queue.
    #[must_use]
    pub fn is_early(&self, now: impl FnOnce() -> Timestamp) -> Option<Timestamp> {
        let times = &self.times;
        if times.available_at == times.created_at || times.updated_at != times.created_at {
            return None;
        }
        let at = self.available_at()?;
        let early = Duration::try_from(at.duration_since(now())).ok()?;
        (!early.is_zero() && early <= MAX_EARLY).then_some(at)
    }

    /// Delays the next attempt until `at`: the job is to be put into its queue's delayed set with that score.
    pub fn delay_until(&mut self, now: Timestamp, at: Timestamp) {
        // Rounded to the millisecond, as scores are: the job must not become ready before its own time.
        let at = Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at);
        self.delay_ns = saturating_ns(Duration::try_from(at.duration_since(now)).unwrap_or_default());
        self.times.available_at = Some(at.to_string());
    }

    /// Makes the job that waits for its next attempt, with what went wrong last.
    pub(crate) fn delay(&mut self, error: String, now: Timestamp, due: Timestamp) {
        self.error = Some(error);
        self.times.failed_at = Some(now.to_string());
        self.times.updated_at.clone_from(&self.times.failed_at);
        self.keep_expiry(None);
        self.delay_until(now, due);
    }

    /// Makes the job's failed entry: the job with `error`, `failed_at` and `failure`.
    #[must_use]
    pub(crate) fn into_failed_entry(mut self, failure: &Failure, now: Timestamp) -> String {
        self.error = Some(failure.to_string());
        self.times.failed_at = Some(now.to_string());
        self.times.updated_at.clone_from(&self.times.failed_at);
        self.extra.retain(|(key, _)| key != "failure");
        let mut failure = failure.clone();
        failure.queue = self.found_on.take().filter(|found| self.queue.as_ref() != Some(found));
        self.extra.push(("failure".to_owned(), raw(&failure)));
        self.encode()
    }

    /// Turns a failed entry back into a job to be queued again, with its attempts and its error cleared.
    pub(crate) fn reset(&mut self, now: Timestamp) {
        self.attempts = 0;
        self.lost = 0;
        self.delay_ns = 0;
        self.error = None;
        self.extra.retain(|(key, _)| key != "failure");
        self.renew_expiry();
        self.revive_unique();
        self.times.started_at = None;
        self.times.completed_at = None;
        self.times.failed_at = None;
        self.times.updated_at = Some(now.to_string());
        self.times.available_at.clone_from(&self.times.updated_at);
    }

    /// The value of a key that is not dg-queue's, as JSON text. If the key occurs twice, its last value.
    #[must_use]
    pub fn extra(&self, key: &str) -> Option<&RawValue> {
        self.extra
            .iter()
            .rfind(|(name, _)| name == key)
            .map(|(_, value)| &**value)
    }
}

/// The id in a job's JSON, if it can be read.
#[must_use]
pub(crate) fn id_of(json: &str) -> Option<String> {
    codec::Label::of(json.as_bytes()).id
}

/// A fresh job id.
#[must_use]
pub fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The JSON `null`, the payload of a job that has none.
#[must_use]
pub fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

/// A duration as dg-queue writes it: nanoseconds in an `int64`.
#[must_use]
pub fn saturating_ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|err| unreachable!("plain data always encodes: {err}"))
}

#[cfg(test)]
mod tests;
