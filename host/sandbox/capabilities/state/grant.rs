//! `[grants.state.NAME]`: which buckets a plugin reaches. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, de};

use crate::config::{Grants, parse_duration};
use crate::state::{BucketId, Quota};

/// This capability's key below `[grants]`.
pub(super) const KEY: &str = "state";

/// What a bucket may hold if its grant does not say.
const DEFAULT_KEYS: u64 = 10_000;
const DEFAULT_BYTES: ByteSize = ByteSize::mib(16);

/// The least and the most that it can be granted: a bucket is looked after by one Redis, in one slot.
const KEYS: std::ops::RangeInclusive<u64> = 1..=10_000_000;
const BYTES: std::ops::RangeInclusive<u64> = 1024..=4 * 1024 * 1024 * 1024;
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(10 * 366 * 24);

/// What of one bucket is granted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BucketGrant {
    /// Whether all plugins with such a grant share one bucket of this name. If not, the bucket is the plugin's own.
    #[serde(default)]
    shared: bool,
    /// Whether it may not be changed.
    #[serde(default)]
    pub(super) read_only: bool,
    #[serde(default = "default_keys")]
    max_keys: u64,
    #[serde(default = "default_bytes")]
    max_bytes: ByteSize,
    /// How long a value lasts, unless the handler asks for less. None: for good.
    #[serde(default, deserialize_with = "duration")]
    pub(super) ttl: Option<Duration>,
}

const fn default_keys() -> u64 {
    DEFAULT_KEYS
}

const fn default_bytes() -> ByteSize {
    DEFAULT_BYTES
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map(Some).map_err(de::Error::custom)
}

impl BucketGrant {
    pub(super) fn id(&self, plugin: &str, name: &str) -> BucketId {
        if self.shared {
            BucketId::shared(name)
        } else {
            BucketId::of_plugin(plugin, name)
        }
    }

    pub(super) fn quota(&self) -> Quota {
        Quota {
            bytes: self.max_bytes.as_u64(),
            keys: self.max_keys,
        }
    }

    fn check(&self, name: &str) -> Result<(), String> {
        BucketId::check_name(name)?;
        let range = |key: &str, least: &dyn fmt::Display, most: &dyn fmt::Display| {
            Err(format!("state.{name}: {key} goes from {least} to {most}"))
        };
        if !KEYS.contains(&self.max_keys) {
            return range("max_keys", KEYS.start(), KEYS.end());
        }
        if !BYTES.contains(&self.max_bytes.as_u64()) {
            return range("max_bytes", &ByteSize(*BYTES.start()), &ByteSize(*BYTES.end()));
        }
        if self.ttl.is_some_and(|ttl| !TTL.contains(&ttl)) {
            return range("ttl", &"1s", &"ten years");
        }
        Ok(())
    }
}

/// The buckets that a manifest grants, by name.
pub(super) fn buckets(grants: &Grants) -> Result<BTreeMap<String, BucketGrant>, String> {
    let buckets: BTreeMap<String, BucketGrant> = grants.read(KEY)?;
    for (name, grant) in &buckets {
        grant.check(name).map_err(|why| grants.wrong(KEY, &why))?;
    }
    Ok(buckets)
}

/// The buckets that a plugin's manifest grants it, by the names that it knows them by.
///
/// # Errors
/// Where the grants are wrong, what is.
pub fn granted_buckets(plugin: &str, grants: &Grants) -> Result<BTreeMap<String, BucketId>, String> {
    let id = |(name, grant): (String, BucketGrant)| {
        let id = grant.id(plugin, &name);
        (name, id)
    };
    Ok(buckets(grants)?.into_iter().map(id).collect())
}

/// What is granted, for people.
pub(in crate::sandbox::capabilities) fn granted(grants: &Grants) -> Result<Vec<String>, String> {
    let told = |(name, grant): (String, BucketGrant)| {
        let whose = if grant.shared { "shared" } else { "its own" };
        let how = if grant.read_only { ", read-only" } else { "" };
        let (keys, bytes) = (grant.max_keys, grant.max_bytes);
        format!("{name} ({whose}{how}, up to {keys} keys, {bytes})")
    };
    Ok(buckets(grants)?.into_iter().map(told).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_granted_by_name_with_how_much_they_may_hold() {
        let grants =
            Grants::of("[grants.state.seen]\n[grants.state.rates]\nshared = true\nread_only = true\nmax_keys = 5");
        let told = [
            "rates (shared, read-only, up to 5 keys, 16.0 MiB)",
            "seen (its own, up to 10000 keys, 16.0 MiB)",
        ];
        assert_eq!(granted(&grants).unwrap(), told);
        let buckets = buckets(&grants).unwrap();
        assert_eq!(buckets["seen"].id("p", "seen"), BucketId::of_plugin("p", "seen"));
        assert_eq!(buckets["rates"].id("p", "rates"), BucketId::shared("rates"));
        for (wrong, why) in [
            ("\"a:b\" = {}", "a bucket's name has 1 to 64"),
            ("a.max_keys = 0", "state.a: max_keys goes from 1 to 10000000"),
            (
                "a.max_bytes = \"1TiB\"",
                "state.a: max_bytes goes from 1.0 KiB to 4.0 GiB",
            ),
            ("a.ttl = \"0s\"", "state.a: ttl goes from 1s to ten years"),
            ("a.own = true", "unknown field `own`"),
            (
                "a.max_keys = \"5\"",
                "invalid type: string \"5\", expected a whole number of 0 or more",
            ),
            ("a = 5", "invalid type: integer `5`, expected a table"),
        ] {
            let found = granted(&Grants::of(&format!("[grants.state]\n{wrong}"))).unwrap_err();
            assert!(found.starts_with("line ") && found.contains(why), "{found}");
        }
    }
}
