//! What the operator says about a plugin, in the file beside it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::DeserializeSeed as _;
use serde::{Deserialize, Deserializer};

use super::grants::read_later;
use super::retry::duration;
use super::toml_error::told;
use super::wishes::ValueOf;
use super::{CONCURRENCY, Cap, Grants, KeepLogs, Limit, LimitWishes, REUSE, RetryPolicy, Schedule, cap, schedule};
use crate::text;

/// Job names that one plugin may handle.
const MAX_JOBS: usize = 1_000;

/// Bytes of a job's, a variable's or a version's name.
const MAX_SHOWN_NAME_BYTES: usize = 256;

/// What the operator says about a plugin: the `.toml` beside its `.wasm`. Every key may be left out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// What it is called, for people: in logs and in `kiln plugins`.
    pub version: Option<String>,
    /// The job names it handles; the file's stem where it names none.
    pub jobs: Option<Vec<String>>,
    /// The most time an attempt may take; a job that asks for more gets this.
    #[serde(deserialize_with = "timeout")]
    pub timeout: Option<Duration>,
    /// The most memory an attempt may have, over all its linear memories.
    #[serde(deserialize_with = "max_memory")]
    pub max_memory: Option<ByteSize>,
    /// Attempts at once on one host.
    #[serde(deserialize_with = "concurrency")]
    pub concurrency: Option<NonZeroU32>,
    /// Attempts that one instance may serve, one after the other. What one attempt leaves in memory, the next one
    /// finds. Default: one.
    #[serde(deserialize_with = "reuse")]
    pub reuse: Option<NonZeroU32>,
    /// How long after it became available a job may still be run.
    #[serde(deserialize_with = "expire")]
    pub expire: Option<Duration>,
    /// Of which of its attempts it is kept what the handler said; its host's `--job-logs` where it does not say.
    pub logs: Option<KeepLogs>,
    /// When failed attempts are made again.
    pub retry: RetryPolicy,
    /// Capabilities beyond the default. Empty in a manifest that is not read by [`Manifest::parse`].
    #[serde(deserialize_with = "read_later")]
    pub grants: Grants,
    /// Other limits that the plugin wants to differ from its host's.
    pub limits: LimitWishes,
    /// What `wasi:config` serves.
    pub config: BTreeMap<String, String>,
    /// When the host pushes jobs for it by itself.
    #[serde(rename = "schedule")]
    pub schedules: Vec<Schedule>,
    /// How many of its jobs run at once over all hosts, and how often they start.
    #[serde(rename = "limit")]
    pub caps: Vec<Cap>,
}

impl Manifest {
    /// Every limit that the plugin wants to differ from its host's.
    #[must_use]
    pub fn wishes(&self) -> LimitWishes {
        let mut wishes = self.limits.clone();
        if let Some(timeout) = self.timeout {
            wishes.add(Limit::Timeout, Limit::of_time(timeout));
        }
        if let Some(max_memory) = self.max_memory {
            wishes.add(Limit::MaxMemory, max_memory.as_u64());
        }
        wishes
    }

    /// Refuses names that would make a log or a terminal lie, and lists of them that would fill it.
    fn names_can_be_shown(&self) -> Result<(), String> {
        let jobs = self.jobs.iter().flatten();
        if jobs.clone().count() > MAX_JOBS {
            return Err(format!("jobs: more than {MAX_JOBS}"));
        }
        jobs.chain(&self.version).try_for_each(|name| check_name(name))
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// One line: where the manifest is wrong, what is wrong, and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|err| told(text, &err))?;
        manifest.names_can_be_shown()?;
        cap::check(&manifest.caps)?;
        schedule::check(&manifest.schedules, manifest.jobs.as_deref())?;
        let grants = Grants::of(text);
        Ok(Self { grants, ..manifest })
    }
}

/// Refuses a name that would make a log or a terminal lie.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_SHOWN_NAME_BYTES || name.contains(text::is_hidden) {
        let name = text::name(name);
        return Err(format!(
            "\"{name}\": a name has 1 to {MAX_SHOWN_NAME_BYTES} bytes, and no control or other hidden characters"
        ));
    }
    Ok(())
}

fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let timeout = duration(deserializer)?;
    let ms = Limit::of_time(timeout);
    Limit::Timeout.check(ms).map_err(serde::de::Error::custom)?;
    Ok(Some(timeout))
}

fn expire<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let expire = duration(deserializer)?;
    if expire.is_zero() {
        return Err(serde::de::Error::custom("expire must be more than 0"));
    }
    Ok(Some(expire))
}

fn max_memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ByteSize>, D::Error> {
    let bytes = ValueOf(Limit::MaxMemory).deserialize(deserializer)?;
    Ok(Some(ByteSize::b(bytes)))
}

fn concurrency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NonZeroU32>, D::Error> {
    CONCURRENCY.manifest(deserializer).map(Some)
}

fn reuse<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NonZeroU32>, D::Error> {
    REUSE.manifest(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::MAX_LINE_BYTES;

    #[test]
    fn what_is_wrong_with_a_schedule_is_told_with_its_id_and_no_place_that_it_is_not_at() {
        let text = "timeout = \"1s\"\n\n[[schedule]]\nid = \"nightly\"\ncron = \"tea\"\n";
        let message = Manifest::parse(text).unwrap_err();
        assert!(message.starts_with("schedule nightly: cron \"tea\": "), "{message}");
        let unknown = Manifest::parse("[[schedule]]\nid = \"nightly\"\ntea = 1\n").unwrap_err();
        assert!(
            unknown.contains("line ") && unknown.contains("unknown field"),
            "{unknown}"
        );
    }

    #[test]
    fn what_goes_too_far_is_told_with_its_place_and_its_range() {
        for (text, why) in [
            ("timeout = \"0s\"", "line 1, column 11: timeout goes from 1ms to 168h: "),
            ("timeout = \"169h\"", "timeout goes from 1ms to 168h: "),
            (
                "max_memory = 0",
                "line 1, column 14: max_memory goes from 64.0 KiB to 64.0 GiB: ",
            ),
            ("max_memory = \"65GiB\"", "max_memory goes from 64.0 KiB to 64.0 GiB: "),
            (
                "concurrency = 0",
                "line 1, column 15: must be a whole number of attempts at once from 1 to 16384: ",
            ),
            ("concurrency = 4294967295", "from 1 to 16384: "),
            (
                "reuse = 1000001",
                "must be a whole number of attempts from 1 to 1000000: ",
            ),
            (
                "retry.attempts = 1000001",
                "must be a whole number of attempts from 1 to 1000000: ",
            ),
            ("retry.max = \"87601h\"", "is more than 87600h"),
            (
                "[limits]\nhandles = 1",
                "line 2, column 11: handles goes from 16 to 1048576: ",
            ),
            (
                "[limits]\nlog_lines = \"2_000_000_000\"",
                "log_lines goes from 0 to 1000000000: ",
            ),
            ("[limits]\nstack = 1", "stack goes from 64.0 KiB to 64.0 MiB: "),
        ] {
            let message = Manifest::parse(text).unwrap_err();
            assert!(message.contains(why), "{text}: {message}");
        }
        let most = "timeout = \"168h\"\nmax_memory = \"64GiB\"\nconcurrency = 16384\nreuse = 1000000\nretry.attempts = 1000000";
        assert_eq!(
            Manifest::parse(most).map(|manifest| manifest.concurrency.map(NonZeroU32::get)),
            Ok(Some(16_384))
        );
    }

    #[test]
    fn what_is_wrong_is_quoted_in_one_bounded_line() {
        for text in [
            format!("{} = 1", "k".repeat(100_000)),
            format!("timeout = \"{}\"", "é".repeat(100_000)),
            "\"a\\u001b[31m\\nb\" = 1".to_owned(),
        ] {
            let message = Manifest::parse(&text).unwrap_err();
            assert!(message.starts_with("line 1, column "), "{message}");
            assert!(
                message.len() < MAX_LINE_BYTES + 10 && !message.contains(text::is_hidden),
                "{message}"
            );
        }
    }
}
