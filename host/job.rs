//! A job and its JSON, as the Go library dg-queue writes it.
//!
//! The payload, the metadata and every key that is not ours stay raw text from decoding to encoding: no number is
//! rounded, no key reordered, no escape rewritten. Timestamps stay the strings they came as, because Go and we print
//! fractions and offsets differently. There is no JSON tree here.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::outcome::{Failure, FailureKind};
use crate::text::{self, MAX_LINE_BYTES};

/// Attempts in all for a job that names none; what dg-queue gives.
pub const MAX_ATTEMPTS_DEFAULT: u32 = 3;

/// Time an attempt may take for a job that names none; what dg-queue gives.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Largest payload, in bytes. Images travel in payloads; one beyond this is a mistake, and with many in hand the host's
/// memory would be at a producer's mercy. A payload never grows, so a job that was taken once can always be retried.
pub const MAX_PAYLOAD_BYTES: usize = 16 * 1024 * 1024;

/// Largest job, in bytes, that is decoded at all: leaves room for everything beside the payload.
pub const MAX_JOB_BYTES: usize = 2 * MAX_PAYLOAD_BYTES;

/// The name given to the failed entry that wraps bytes which are no job.
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
    /// Attempts in all before the job fails.
    pub max_attempts: u32,
    /// Nanoseconds an attempt may take; 0 stands for the default.
    pub timeout_ns: i64,
    /// Nanoseconds the producer asked to wait before the first attempt. Kept for readers; the delayed set decides.
    pub delay_ns: i64,
    /// RFC 3339, as written by whoever wrote it last.
    pub times: Times,
    /// Why the last attempt failed, in one line.
    pub error: Option<String>,
    /// JSON text of an object.
    pub metadata: Option<Box<RawValue>>,
    /// How often a host died while it ran this job. Kiln's own key, absent from the JSON while 0.
    pub lost: u32,
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
    /// Not JSON, or a key of the wrong type: one line, since it may quote the bytes.
    #[error("not a job: {0}")]
    Json(String),
    /// Longer than [`MAX_JOB_BYTES`].
    #[error("job is too large: {len} bytes, at most {MAX_JOB_BYTES} are decoded")]
    TooLarge {
        /// Length found, in bytes.
        len: usize,
    },
    /// Its payload is longer than [`MAX_PAYLOAD_BYTES`].
    #[error("payload is too large: {len} bytes, at most {MAX_PAYLOAD_BYTES} are taken")]
    PayloadTooLarge {
        /// Length found, in bytes.
        len: usize,
    },
}

impl Job {
    /// A new job as dg-queue's `NewJob` would make it: a fresh id, the default attempts and time-out, created now.
    #[must_use]
    pub fn new(name: &str, queue: &str, payload: Box<RawValue>) -> Self {
        let now = Timestamp::now().to_string();
        Self {
            id: new_id(),
            name: name.to_owned(),
            queue: Some(queue.to_owned()),
            payload,
            attempts: 0,
            max_attempts: MAX_ATTEMPTS_DEFAULT,
            timeout_ns: saturating_ns(TIMEOUT_DEFAULT),
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
        match job.payload.get().len() {
            len if len > MAX_PAYLOAD_BYTES => Err(DecodeError::PayloadTooLarge { len }),
            _ => Ok(job),
        }
    }

    /// Reads a job of any size: what is in the failed list has been taken already, and wraps what was too large.
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

    /// Time one attempt may take, as the job asks for it.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        match u64::try_from(self.timeout_ns) {
            Ok(0) | Err(_) => TIMEOUT_DEFAULT,
            Ok(ns) => Duration::from_nanos(ns),
        }
    }

    /// When the job was created, in milliseconds since the Unix epoch; 0 where it does not say or says nonsense.
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

    /// When the job may first run, where it says so in a way that can be read.
    #[must_use]
    pub fn available_at(&self) -> Option<Timestamp> {
        self.times.available_at.as_deref()?.parse().ok()
    }

    /// Delays the first attempt until `at`: the job belongs into its queue's delayed set with that score.
    pub fn delay_until(&mut self, now: Timestamp, at: Timestamp) {
        self.delay_ns = saturating_ns(Duration::try_from(at.duration_since(now)).unwrap_or_default());
        self.times.available_at = Some(at.to_string());
    }

    /// Makes the job that waits for its next attempt, with what went wrong last.
    pub(crate) fn put_off(&mut self, error: String, now: Timestamp, due: Timestamp) {
        self.error = Some(error);
        self.times.failed_at = Some(now.to_string());
        self.times.updated_at.clone_from(&self.times.failed_at);
        self.times.available_at = Some(due.to_string());
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

    /// Makes the job that a failed entry goes back to its queue as: nothing counted, nothing held against it.
    pub(crate) fn reset(&mut self, now: Timestamp) {
        self.attempts = 0;
        self.lost = 0;
        self.error = None;
        self.extra.retain(|(key, _)| key != "failure");
        self.times.started_at = None;
        self.times.completed_at = None;
        self.times.failed_at = None;
        self.times.updated_at = Some(now.to_string());
        self.times.available_at.clone_from(&self.times.updated_at);
    }

    /// The value of a key that is not dg-queue's, as JSON text. Of a key that comes twice, the last.
    #[must_use]
    pub fn extra(&self, key: &str) -> Option<&RawValue> {
        self.extra
            .iter()
            .rfind(|(name, _)| name == key)
            .map(|(_, value)| &**value)
    }
}

/// Makes the failed entry for bytes that are no job: itself a valid job, with the original bytes as its payload.
#[must_use]
pub fn wrap_malformed(bytes: &[u8], queue: &str, error: &DecodeError, now: Timestamp) -> String {
    let payload = match std::str::from_utf8(bytes) {
        Ok(text) => raw(&serde_json::json!({ "text": text })),
        Err(_) => raw(&serde_json::json!({ "base64": BASE64.encode(bytes) })),
    };
    let job = Job::new(MALFORMED_NAME, queue, payload);
    job.into_failed_entry(&Failure::new(FailureKind::Malformed, error.to_string()), now)
}

/// Gives back the bytes that [`wrap_malformed`] wrapped, if `job` is such a wrapper.
#[must_use]
pub(crate) fn unwrap_malformed(job: &Job) -> Option<Vec<u8>> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Original {
        Text(String),
        Base64(String),
    }
    if job.name != MALFORMED_NAME || job.failure()?.kind != FailureKind::Malformed {
        return None;
    }
    match serde_json::from_str(job.payload.get()).ok()? {
        Original::Text(text) => Some(text.into_bytes()),
        Original::Base64(text) => BASE64.decode(text).ok(),
    }
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

impl Serialize for Job {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let times = &self.times;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("name", &self.name)?;
        entry(&mut map, "queue", self.queue.as_ref())?;
        map.serialize_entry("payload", &self.payload)?;
        map.serialize_entry("attempts", &self.attempts)?;
        map.serialize_entry("max_attempts", &self.max_attempts)?;
        map.serialize_entry("timeout", &self.timeout_ns)?;
        map.serialize_entry("delay", &self.delay_ns)?;
        entry(&mut map, "available_at", times.available_at.as_ref())?;
        entry(&mut map, "created_at", times.created_at.as_ref())?;
        entry(&mut map, "updated_at", times.updated_at.as_ref())?;
        entry(&mut map, "started_at", times.started_at.as_ref())?;
        entry(&mut map, "completed_at", times.completed_at.as_ref())?;
        entry(&mut map, "failed_at", times.failed_at.as_ref())?;
        entry(&mut map, "error", self.error.as_ref())?;
        entry(&mut map, "metadata", self.metadata.as_ref())?;
        entry(&mut map, "lost", (self.lost > 0).then_some(&self.lost))?;
        for (key, value) in &self.extra {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Writes an entry unless the value is absent, as Go's `omitempty` does.
fn entry<M: SerializeMap>(map: &mut M, key: &str, value: Option<&impl Serialize>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(key, value))
}

impl<'de> Deserialize<'de> for Job {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(JobVisitor)
    }
}

struct JobVisitor;

impl<'de> Visitor<'de> for JobVisitor {
    type Value = Job;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object with at least a \"name\"")
    }

    /// Reads the keys in any order. A key that comes twice counts as its last, `null` as absent: what Go's decoder does.
    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Job, M::Error> {
        let mut job = Job {
            id: String::new(),
            name: String::new(),
            queue: None,
            payload: null(),
            attempts: 0,
            max_attempts: 0,
            timeout_ns: 0,
            delay_ns: 0,
            times: Times::default(),
            error: None,
            metadata: None,
            lost: 0,
            found_on: None,
            extra: Vec::new(),
        };
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            match &*key {
                "id" => job.id = value(&mut map, "id")?.unwrap_or_default(),
                "name" => job.name = value(&mut map, "name")?.unwrap_or_default(),
                "queue" => job.queue = value(&mut map, "queue")?.filter(|queue: &String| !queue.is_empty()),
                "payload" => job.payload = map.next_value()?,
                "attempts" => job.attempts = count(value(&mut map, "attempts")?),
                "max_attempts" => job.max_attempts = count(value(&mut map, "max_attempts")?),
                "timeout" => job.timeout_ns = value(&mut map, "timeout")?.unwrap_or(0),
                "delay" => job.delay_ns = value(&mut map, "delay")?.unwrap_or(0),
                "available_at" => job.times.available_at = value(&mut map, "available_at")?,
                "created_at" => job.times.created_at = value(&mut map, "created_at")?,
                "updated_at" => job.times.updated_at = value(&mut map, "updated_at")?,
                "started_at" => job.times.started_at = value(&mut map, "started_at")?,
                "completed_at" => job.times.completed_at = value(&mut map, "completed_at")?,
                "failed_at" => job.times.failed_at = value(&mut map, "failed_at")?,
                "error" => job.error = value(&mut map, "error")?.filter(|error: &String| !error.is_empty()),
                "metadata" => job.metadata = object(value(&mut map, "metadata")?)?,
                "lost" => job.lost = count(value(&mut map, "lost")?),
                _ => job.extra.push((key.into_owned(), map.next_value()?)),
            }
        }
        if job.name.is_empty() {
            return Err(de::Error::custom("it has no name"));
        }
        if job.id.is_empty() {
            job.id = new_id();
        }
        if job.max_attempts == 0 {
            job.max_attempts = MAX_ATTEMPTS_DEFAULT;
        }
        Ok(job)
    }
}

/// A key, copied only where it holds an escape. A `Cow` by itself is always copied.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads a value and names its key where it has the wrong type.
fn value<'de, M: MapAccess<'de>, T: Deserialize<'de>>(map: &mut M, key: &str) -> Result<Option<T>, M::Error> {
    map.next_value()
        .map_err(|err| de::Error::custom(format_args!("key {key:?}: {err}")))
}

/// A counter as Go's `int` may hold it: below zero counts as zero, beyond 32 bits as the largest.
fn count(value: Option<i64>) -> u32 {
    let value = value.unwrap_or(0).max(0);
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn object<E: de::Error>(value: Option<Box<RawValue>>) -> Result<Option<Box<RawValue>>, E> {
    match value {
        Some(value) if value.get() == "null" => Ok(None),
        Some(value) if !value.get().starts_with('{') => Err(E::custom("key \"metadata\": expected an object")),
        other => Ok(other),
    }
}
