//! What handlers remember: values in buckets, and how they are changed. Pure; where they are kept is for others to say.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use futures::future::BoxFuture;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest key of a value, in bytes.
pub const MAX_KEY_BYTES: usize = 512;

/// Longest name of a bucket, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Keys read, and changes made, in one call.
pub const MAX_BATCH: usize = 100;

/// Keys listed in one call.
pub const MAX_LISTED: usize = 1_000;

/// One set of values, by the name it has in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BucketId(String);

impl BucketId {
    /// A plugin's own.
    #[must_use]
    pub fn of_plugin(plugin: &str, name: &str) -> Self {
        Self(format!("plugin:{plugin}:{name}"))
    }

    /// One that several plugins may be granted.
    #[must_use]
    pub fn shared(name: &str) -> Self {
        Self(format!("shared:{name}"))
    }

    /// Refuses what no bucket can be called.
    ///
    /// # Errors
    /// What a name looks like.
    pub fn check_name(name: &str) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if (1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(plain) {
            return Ok(());
        }
        Err(format!(
            "a bucket's name has 1 to {MAX_NAME_BYTES} letters of ASCII, digits, -, _ and ."
        ))
    }

    /// As keys in the store have it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How much a bucket may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Bytes of keys and values together.
    pub bytes: u64,
    /// Keys.
    pub keys: u64,
}

/// A value as it stands in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its bytes.
    pub value: Vec<u8>,
    /// Greater with every change of any value in the bucket.
    pub version: u64,
}

/// A change of one value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Of which.
    pub key: String,
    /// What is done.
    pub action: Action,
    /// What has to be so.
    #[serde(default, skip_serializing_if = "Condition::is_always")]
    pub condition: Condition,
    /// How long the value lasts from then on; none: for good, or, where a number is added to, as long as it does already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// That time is for a value which has none so far: one that has keeps its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_time: bool,
}

/// What is done to a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It becomes this.
    Set(#[serde(serialize_with = "as_base64", deserialize_with = "from_base64")] Vec<u8>),
    /// It goes.
    Delete,
    /// It is a number, and this is added.
    Add(i64),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(value) => write!(f, "set to {} bytes", value.len()),
            Self::Delete => f.write_str("deleted"),
            Self::Add(by) => write!(f, "{by} added"),
        }
    }
}

/// What has to be so for a change to be made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// There is no value.
    Absent,
    /// The value has this version.
    Version(u64),
}

impl Condition {
    fn is_always(&self) -> bool {
        *self == Self::Always
    }

    /// Whether it holds of what is there.
    #[must_use]
    pub fn holds(self, version: Option<u64>) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => version.is_none(),
            Self::Version(wanted) => version == Some(wanted),
        }
    }
}

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changed {
    /// Its version now; 0 if it is gone.
    pub version: u64,
    /// What it is now, where it was added to; else 0.
    pub number: i64,
}

/// Changes to one bucket that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Which bucket.
    pub bucket: BucketId,
    /// What it may hold, by the grant of whoever wrote.
    pub quota: Quota,
    /// In their order.
    pub changes: Vec<Change>,
}

impl Write {
    /// About as many bytes as it takes to keep it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.changes.iter().map(Change::bytes).sum()
    }
}

impl Change {
    /// About as many bytes as it takes to keep it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let value = match &self.action {
            Action::Set(value) => value.len(),
            Action::Delete | Action::Add(_) => 0,
        };
        64 + self.key.len() + value
    }
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A condition does not hold.
    #[error("the value of {key:?} is not as the change expects it")]
    Conflict {
        /// Whose.
        key: String,
    },
    /// What is to be added to is no number.
    #[error("the value of {key:?} is no whole number that can be added to")]
    NotANumber {
        /// Whose.
        key: String,
    },
    /// The bucket holds as much as it may.
    #[error("the bucket is full: it may hold {} keys and {} bytes", .0.keys, .0.bytes)]
    Full(Quota),
    /// Of what was to be written on completion, so many changes could not be made.
    #[error("{0} of the changes were left out: the bucket is full, or a value is no number that can be added to")]
    LeftOut(usize),
    /// The values asked for are too many bytes for one answer.
    #[error("the values have more than {0} bytes together; ask for fewer at once")]
    TooLarge(usize),
    /// The store does not answer as it should.
    #[error("{0}")]
    Unavailable(String),
}

/// Where values are kept. Cheap to share.
pub trait Keeper: fmt::Debug + Send + Sync {
    /// The values of these keys, in their order, as long as they have no more than so many bytes together.
    fn get<'a>(
        &'a self,
        bucket: &'a BucketId,
        keys: &'a [String],
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Option<Entry>>, StateError>>;

    /// Up to `limit` keys that begin with `prefix`, after one of them, in order.
    fn list<'a>(
        &'a self,
        bucket: &'a BucketId,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, StateError>>;

    /// Makes all of these changes, or none. No key stands there twice.
    fn write<'a>(
        &'a self,
        bucket: &'a BucketId,
        quota: Quota,
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<Vec<Changed>, StateError>>;
}

/// A number that can be added to, in the form in which Redis writes it: no sign but a minus, no leading zeros.
#[must_use]
pub fn whole_number(bytes: &[u8]) -> Option<i64> {
    let text = str::from_utf8(bytes).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn as_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD_NO_PAD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD_NO_PAD.decode(text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_to_be_made_comes_back_as_it_was() {
        let change = |key: &str, action| Change {
            key: key.to_owned(),
            action,
            condition: Condition::Always,
            ttl_ms: None,
            keeps_time: false,
        };
        let write = Write {
            bucket: BucketId::of_plugin("hello", "seen"),
            quota: Quota { bytes: 1, keys: 2 },
            changes: vec![
                change("a", Action::Set(vec![0, 255, b'"'])),
                change("b\n", Action::Add(i64::MIN)),
                Change {
                    condition: Condition::Version(3),
                    ttl_ms: Some(1),
                    ..change("", Action::Delete)
                },
            ],
        };
        let text = serde_json::to_string(&write).unwrap();
        assert_eq!(serde_json::from_str::<Write>(&text).unwrap(), write);
    }
}
