//! State in a file: what a run begins with, and what it leaves. Keys stand in order and values as text, so that a file can be
//! compared with the one in a repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::admin::state as admin;
use crate::cli::{Usage, tell};
use crate::file;
use crate::outcome::Attempt;
use crate::queue::StateStore;
use crate::state::{BucketId, Keeper as _};
use crate::text;

/// Bytes of a file that is read.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The values of buckets, by key.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Buckets(BTreeMap<String, BTreeMap<String, Value>>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a value is a text, or {\"base64\": \"…\"}")]
enum Value {
    Text(String),
    Bytes(Base64),
}

/// A value that is no text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Base64 {
    base64: String,
}

impl Value {
    fn of(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(err) => Self::Bytes(Base64 {
                base64: STANDARD.encode(err.as_bytes()),
            }),
        }
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::Bytes(Base64 { base64 }) => {
                let bytes = STANDARD.decode(base64);
                bytes.map_err(|err| format!("{base64:?} is no Base64: {err}"))
            }
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Text(text) => format!("{:?}", text::name(text)),
            Self::Bytes(Base64 { base64 }) => format!("base64 {:?}", text::name(base64)),
        }
    }
}

impl Buckets {
    pub(super) fn read(path: &Path) -> Result<Self, Usage> {
        let wrong = |why: String| Usage(format!("{}: {why}", path.display()));
        let bytes = file::read(path, MAX_FILE_BYTES).map_err(|err| wrong(err.to_string()))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(wrong(format!("it has more than {MAX_FILE_BYTES} bytes")));
        }
        serde_json::from_slice(&bytes).map_err(|err| wrong(err.to_string()))
    }

    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text + "\n").map_err(|err| anyhow::anyhow!("{}: {err}", path.display()))
    }

    /// Puts the values into a store, in the buckets that are granted.
    pub(super) async fn fill(&self, store: &StateStore, granted: &BTreeMap<String, BucketId>) -> anyhow::Result<()> {
        for (name, values) in &self.0 {
            let bucket = granted.get(name).ok_or_else(|| {
                let name = text::name(name);
                Usage(format!(
                    "the bucket {name} is not granted; add [grants.state.{name}] to the manifest, or --allow state={name}"
                ))
            })?;
            for (key, value) in values {
                let bytes = value.bytes().map_err(Usage)?;
                admin::set(store, bucket, key, bytes, None).await?;
            }
        }
        Ok(())
    }

    /// What the granted buckets hold.
    pub(super) async fn of(store: &StateStore, granted: &BTreeMap<String, BucketId>) -> anyhow::Result<Self> {
        let mut all = BTreeMap::new();
        for (name, bucket) in granted {
            let (mut values, mut after) = (BTreeMap::new(), None);
            loop {
                let page = admin::list(store, bucket, "", after.as_deref()).await?;
                for key in &page {
                    if let Some(entry) = admin::get(store, bucket, key).await? {
                        values.insert(key.clone(), Value::of(entry.value));
                    }
                }
                after = page.last().cloned();
                if admin::is_last(&page) {
                    break;
                }
            }
            all.insert(name.clone(), values);
        }
        Ok(Self(all))
    }

    /// Tells what became of each value since then.
    pub(super) fn tell_changes(&self, since: &Self) {
        let none = BTreeMap::new();
        for (name, values) in &self.0 {
            let before = since.0.get(name).unwrap_or(&none);
            let keys: std::collections::BTreeSet<_> = before.keys().chain(values.keys()).collect();
            for key in keys {
                let (was, is) = (before.get(key), values.get(key));
                if was != is {
                    let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::shown);
                    let (name, key) = (text::name(name), text::name(key));
                    tell(&format!("state | {name} | {key} | {} → {}", shown(was), shown(is)));
                }
            }
        }
    }
}

/// Makes the changes that were to be made on completion, as a worker would.
pub(super) async fn commit(store: &StateStore, attempt: &Attempt) {
    for write in &attempt.asked.writes {
        for change in &write.changes {
            let written = store
                .write(&write.bucket, write.quota, std::slice::from_ref(change))
                .await;
            if let Err(err) = written {
                let (bucket, key) = (text::name(write.bucket.as_str()), text::name(&change.key));
                tell(&format!("left out | {bucket} | {key} | {err}"));
            }
        }
    }
}
