//! What the operator says about a plugin, in the file beside it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer};

use super::retry::duration;
use super::{Grants, Limit, LimitWishes, RetryPolicy};

/// What the operator says about a plugin: the `.toml` beside its `.wasm`. Every key may be left out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// The job names it handles; the file's stem where it names none.
    pub jobs: Option<Vec<String>>,
    /// The most time an attempt may take; a job that asks for more gets this.
    #[serde(deserialize_with = "optional_duration")]
    pub timeout: Option<Duration>,
    /// The most memory an attempt may have, over all its linear memories.
    pub max_memory: Option<ByteSize>,
    /// Attempts at once on one host.
    pub concurrency: Option<NonZeroU32>,
    /// When failed attempts are made again.
    pub retry: RetryPolicy,
    /// Capabilities beyond the default.
    pub grants: Grants,
    /// The other limits it wants otherwise.
    pub limits: LimitWishes,
    /// What `wasi:config` serves.
    pub config: BTreeMap<String, String>,
}

impl Manifest {
    /// Every limit it wants otherwise than its host has it.
    #[must_use]
    pub fn wishes(&self) -> LimitWishes {
        let mut wishes = self.limits.clone();
        if let Some(timeout) = self.timeout {
            // Rounded up: a limit of no time would be none that anybody wants.
            let ms = timeout.as_micros().div_ceil(1000);
            wishes.add(Limit::Timeout, ms.try_into().unwrap_or(u64::MAX));
        }
        if let Some(max_memory) = self.max_memory {
            wishes.add(Limit::MaxMemory, max_memory.as_u64());
        }
        wishes
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// Where it is wrong, what is, and what was expected: one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|err| located(text, &err))
    }
}

/// Where it is wrong, and what is, on one line.
fn located(text: &str, err: &toml::de::Error) -> String {
    let message = err.message().replace('\n', "; ");
    let Some(before) = err.span().and_then(|span| text.get(..span.start)) else {
        return message;
    };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {line}, column {column}: {message}")
}

fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    match duration(deserializer)? {
        Duration::ZERO => Err(serde::de::Error::custom("must be more than 0")),
        value => Ok(Some(value)),
    }
}
