//! A job's JSON, read and written key by key: there is no JSON tree here.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, Unexpected, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::{Job, MAX_EXTRA_KEYS, MAX_JOB_BYTES, MAX_KEY_BYTES, MAX_TEXT_BYTES, Times, new_id, null};

impl Serialize for Job {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let times = &self.times;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("name", &self.name)?;
        entry(&mut map, "queue", self.queue.as_ref())?;
        map.serialize_entry("payload", &self.payload)?;
        map.serialize_entry("attempts", &self.attempts)?;
        entry(
            &mut map,
            "max_attempts",
            (self.max_attempts > 0).then_some(&self.max_attempts),
        )?;
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
        entry(&mut map, "kiln_expires_at", self.expires_at.as_ref())?;
        entry(&mut map, "kiln_unique", self.unique.as_ref())?;
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
        let mut job = blank();
        while let Some(Key(key)) = map.next_key()? {
            read(&mut job, key, &mut map)?;
        }
        if job.name.is_empty() {
            return Err(de::Error::custom("it has no name"));
        }
        if job.id.is_empty() {
            job.id = new_id();
        }
        Ok(job)
    }
}

/// A job of which nothing is known yet.
fn blank() -> Job {
    Job {
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
        expires_at: None,
        unique: None,
        found_on: None,
        extra: Vec::new(),
    }
}

/// Reads the value of one key.
fn read<'de, M: MapAccess<'de>>(job: &mut Job, key: Cow<'de, str>, map: &mut M) -> Result<(), M::Error> {
    let times = &mut job.times;
    match &*key {
        "id" => job.id = map.next_value_seed(Text("id"))?.unwrap_or_default(),
        "name" => job.name = map.next_value_seed(Text("name"))?.unwrap_or_default(),
        "queue" => job.queue = map.next_value_seed(Text("queue"))?.filter(|queue| !queue.is_empty()),
        "payload" => job.payload = map.next_value()?,
        "attempts" => job.attempts = count(map.next_value_seed(Whole("attempts"))?),
        // dg-queue counts this way, too: the first attempt is always made.
        "max_attempts" => {
            job.max_attempts = map
                .next_value_seed(Whole("max_attempts"))?
                .map_or(0, |max| count(Some(max)).max(1));
        }
        "timeout" => job.timeout_ns = map.next_value_seed(Whole("timeout"))?.unwrap_or(0),
        "delay" => job.delay_ns = map.next_value_seed(Whole("delay"))?.unwrap_or(0),
        "available_at" => times.available_at = map.next_value_seed(Text("available_at"))?,
        "created_at" => times.created_at = map.next_value_seed(Text("created_at"))?,
        "updated_at" => times.updated_at = map.next_value_seed(Text("updated_at"))?,
        "started_at" => times.started_at = map.next_value_seed(Text("started_at"))?,
        "completed_at" => times.completed_at = map.next_value_seed(Text("completed_at"))?,
        "failed_at" => times.failed_at = map.next_value_seed(Text("failed_at"))?,
        "error" => job.error = map.next_value_seed(Text("error"))?.filter(|error| !error.is_empty()),
        "metadata" => job.metadata = object(map.next_value()?)?,
        "lost" => job.lost = count(map.next_value_seed(Whole("lost"))?),
        "kiln_expires_at" => job.expires_at = map.next_value_seed(Text("kiln_expires_at"))?,
        "kiln_unique" => job.unique = map.next_value_seed(Text("kiln_unique"))?,
        _ if key.len() > MAX_KEY_BYTES => {
            let (start, len) = (&key[..key.floor_char_boundary(32)], key.len());
            let why = format_args!("a key has {len} bytes, at most {MAX_KEY_BYTES} are taken: {start:?}…");
            return Err(de::Error::custom(why));
        }
        // One more than a producer may send: failed entries also have the key `failure`.
        _ if job.extra.len() > MAX_EXTRA_KEYS => return Err(de::Error::custom(too_many_keys())),
        _ => job.extra.push((key.into_owned(), map.next_value()?)),
    }
    Ok(())
}

/// What is wrong with a job that has too many keys.
pub(super) fn too_many_keys() -> String {
    format!("it has more than {MAX_EXTRA_KEYS} keys that are not a job's")
}

/// A key, copied only where it holds an escape. A `Cow` by itself is always copied.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads the text under this key, or null. An error names the key and what was expected.
struct Text(&'static str);

/// Reads the whole number under this key, or null. An error names the key and what was expected.
struct Whole(&'static str);

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let key = self.0;
        deserializer.deserialize_any(self).map_err(|err| at(key, &err))
    }
}

impl Visitor<'_> for Text {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.ends_with("_at") {
            "a time as RFC 3339 has it, like \"2026-12-24T18:00:00Z\""
        } else {
            "a string"
        })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        // The error of an attempt may be long; the next attempt replaces it.
        if text.len() > MAX_TEXT_BYTES && self.0 != "error" {
            let len = text.len();
            return Err(E::custom(format_args!(
                "{len} bytes, at most {MAX_TEXT_BYTES} are taken"
            )));
        }
        Ok(Some(text.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

impl<'de> DeserializeSeed<'de> for Whole {
    type Value = Option<i64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let key = self.0;
        deserializer.deserialize_any(self).map_err(|err| at(key, &err))
    }
}

impl Visitor<'_> for Whole {
    type Value = Option<i64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            "timeout" | "delay" => "a whole number of nanoseconds, like 30000000000 for 30 s",
            _ => "a whole number",
        })
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        let whole = i64::try_from(number);
        whole
            .map(Some)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

fn at<E: de::Error>(key: &str, err: &E) -> E {
    E::custom(format_args!("key {key:?}: {err}"))
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

/// What a job says of itself in short, as far as that can be read of bytes that are no job, or only the beginning of one.
#[derive(Debug, Default)]
pub(crate) struct Label {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) created_at: Option<String>,
    pub(crate) metadata: Option<Box<RawValue>>,
}

impl Label {
    /// Reads up to the first byte that is not JSON. More than [`MAX_JOB_BYTES`] are not read at all.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut label = Self::default();
        if bytes.len() <= MAX_JOB_BYTES {
            // What was read before the error is kept.
            let _ = serde_json::Deserializer::from_slice(bytes).deserialize_map(&mut label);
        }
        label
    }
}

impl<'de> Visitor<'de> for &mut Label {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "id" => self.id = short(map.next_value()?),
                "name" => self.name = short(map.next_value()?),
                "created_at" => self.created_at = short(map.next_value()?),
                "metadata" => self.metadata = map.next_value()?,
                _ => _ = map.next_value::<de::IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// A string that is neither empty nor too long, or a number as it is written.
fn short(value: &RawValue) -> Option<String> {
    let text = match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str(value.get()).ok()?,
        b'-' | b'0'..=b'9' => value.get().to_owned(),
        _ => return None,
    };
    (1..=MAX_TEXT_BYTES).contains(&text.len()).then_some(text)
}
