//! Jobs that are unique by a key: of those with one key, a rule says which of them run.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::options::{parse_duration, read};
use super::{Job, MAX_TEXT_BYTES};

/// Longest time over which jobs of one key are counted as one. The store remembers each key for that long.
pub const MAX_UNIQUE_TIME: Duration = Duration::from_hours(7 * 24);

/// In a job: a worker has admitted it. Its stamp follows.
const ADMITTED: &str = "admitted";

/// In a job: a worker has asked for it to be admitted, and heard no answer. Its stamp follows.
const ASKED: &str = "asked";

/// In a job: an operator has put it back from the failed list.
const REVIVED: &str = "revived";

/// Longest stamp: of two numbers of 64 bits.
const MAX_STAMP_BYTES: usize = 41;

/// What a job asks for that is unique by a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    /// What jobs that are not to run beside each other have in common.
    pub key: String,
    /// Which of them run.
    pub rule: UniqueRule,
}

/// Which jobs of one key run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UniqueRule {
    /// One is dropped while another runs, waits to start, or waits for its next attempt.
    Drop,
    /// One runs at a time, and only the newest waits: it takes the place of the one that waited before.
    Latest,
    /// As [`Self::Latest`], but one starts only once no other has come for this long.
    Debounce {
        /// How long none must have come.
        wait: Duration,
        /// It starts at the latest so long after the first of those that it takes the place of.
        max: Duration,
    },
    /// After one was admitted, others are dropped for so long, whatever becomes of it.
    Throttle(Duration),
}

/// As producers write it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    key: String,
    mode: Option<String>,
    #[serde(rename = "for")]
    lasts: Option<String>,
    wait: Option<String>,
    max: Option<String>,
}

impl Unique {
    /// Reads `metadata.kiln.unique`.
    pub(super) fn read(value: &RawValue) -> Result<Self, String> {
        let written: Written = read(value)?;
        if written.key.is_empty() || written.key.len() > MAX_TEXT_BYTES {
            return Err(format!("key has 1 to {MAX_TEXT_BYTES} bytes"));
        }
        let times = (
            time("for", written.lasts.as_deref())?,
            time("wait", written.wait.as_deref())?,
            time("max", written.max.as_deref())?,
        );
        let mode = written.mode.as_deref().unwrap_or("drop");
        let rule = match (mode, times) {
            ("drop", (None, None, None)) => UniqueRule::Drop,
            ("latest", (None, None, None)) => UniqueRule::Latest,
            ("debounce", (None, Some(wait), Some(max))) if wait <= max => UniqueRule::Debounce { wait, max },
            ("debounce", (None, Some(_), Some(_))) => return Err("wait is longer than max".to_owned()),
            ("debounce", _) => {
                return Err("debounce has a wait and a max, and nothing else: \"5s\" and \"1m\"".to_owned());
            }
            ("throttle", (Some(lasts), None, None)) => UniqueRule::Throttle(lasts),
            ("throttle", _) => return Err("throttle has a for, and nothing else: \"24h\"".to_owned()),
            ("drop" | "latest", _) => return Err(format!("{mode} has no for, no wait and no max")),
            _ => return Err("mode is drop, latest, debounce or throttle".to_owned()),
        };
        let key = written.key;
        Ok(Self { key, rule })
    }

    /// Reads what people write in one word: `KEY`, `KEY:latest`, `KEY:throttle:24h` or `KEY:debounce:5s:1m`. The key may have
    /// colons of its own.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.rsplitn(4, ':').collect();
        let unique = match parts[..] {
            ["drop" | "latest", ..] => text
                .rsplit_once(':')
                .map(|(key, mode)| (key, [Some(mode), None, None, None])),
            [max, wait, "debounce", key] => Some((key, [Some("debounce"), None, Some(wait), Some(max)])),
            [lasts, "throttle", ..] => {
                let key = text.len().checked_sub(lasts.len() + ":throttle:".len());
                key.map(|end| (&text[..end], [Some("throttle"), Some(lasts), None, None]))
            }
            _ => None,
        };
        let (key, [mode, lasts, wait, max]) = unique.unwrap_or((text, [None; 4]));
        let written = [
            ("key", Some(key)),
            ("mode", mode),
            ("for", lasts),
            ("wait", wait),
            ("max", max),
        ];
        let written: std::collections::BTreeMap<_, _> =
            written.into_iter().filter_map(|(name, it)| Some((name, it?))).collect();
        Self::read(&super::raw(&written))
    }

    /// As it stands in `metadata.kiln.unique`.
    #[must_use]
    pub fn to_json(&self) -> Box<RawValue> {
        let mut written =
            std::collections::BTreeMap::from([("key", self.key.clone()), ("mode", self.rule.as_str().to_owned())]);
        let ms = |time: Duration| format!("{}ms", time.as_millis());
        match self.rule {
            UniqueRule::Drop | UniqueRule::Latest => {}
            UniqueRule::Debounce { wait, max } => written.extend([("wait", ms(wait)), ("max", ms(max))]),
            UniqueRule::Throttle(lasts) => written.extend([("for", ms(lasts))]),
        }
        super::raw(&written)
    }
}

impl UniqueRule {
    /// Its name, as producers write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Latest => "latest",
            Self::Debounce { .. } => "debounce",
            Self::Throttle(_) => "throttle",
        }
    }
}

impl Job {
    /// Whether a worker has admitted it before. Since then, whatever brings it back is no new trigger.
    pub(crate) fn is_admitted(&self) -> bool {
        self.unique.as_deref().is_some_and(|state| !state.starts_with(ASKED))
    }

    /// Whether an operator has put it back: it waits for others of its key, and is never dropped for one.
    pub(crate) fn is_revived(&self) -> bool {
        self.unique.as_deref() == Some(REVIVED)
    }

    /// Under which stamp a worker asked for it to be admitted; none: none did, or it was put back since.
    pub(crate) fn stamp(&self) -> Option<&str> {
        let (_, stamp) = self.unique.as_deref()?.split_once(' ')?;
        is_stamp(stamp).then_some(stamp)
    }

    /// The job as it is once it is admitted: with that it is, and with its id, which a producer need not have given it.
    pub(crate) fn admitted(&mut self, stamp: &str) -> String {
        if !self.is_admitted() {
            self.unique = Some(format!("{ADMITTED} {stamp}"));
        }
        self.encode()
    }

    /// Has a job of which nobody knows whether it was admitted be known again when it comes back.
    pub(crate) fn asked(&mut self, stamp: &str) {
        self.unique = Some(format!("{ASKED} {stamp}"));
    }

    /// Has a job that an operator puts back wait for others of its key.
    pub(super) fn revive_unique(&mut self) {
        let (options, _) = self.options();
        self.unique = options.plans().unique.is_some().then(|| REVIVED.to_owned());
    }
}

/// Orders the jobs of a key, as text, by when they were fetched: at which Unix microsecond of the store's clock, and among
/// those that were fetched with them under which tag. No two jobs have the same one.
#[must_use]
pub(crate) fn stamp(fetched_us: u64, tag: u64) -> String {
    format!("{fetched_us:016}-{tag:010}")
}

fn is_stamp(text: &str) -> bool {
    let is_number = |part: &str, digits| part.len() >= digits && part.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= MAX_STAMP_BYTES
        && text
            .split_once('-')
            .is_some_and(|(us, tag)| is_number(us, 16) && is_number(tag, 10))
}

fn time(key: &str, written: Option<&str>) -> Result<Option<Duration>, String> {
    let Some(written) = written else { return Ok(None) };
    let time = parse_duration(written).map_err(|why| format!("{key}: {why}"))?;
    if time < Duration::from_millis(1) || time > MAX_UNIQUE_TIME {
        return Err(format!("{key}: must be from 1ms to 168h"));
    }
    Ok(Some(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn read(text: &str) -> Result<Unique, String> {
        Unique::read(&RawValue::from_string(text.to_owned()).expect("JSON"))
    }

    #[test]
    fn a_wish_to_be_unique_is_read_as_json_and_in_one_word() {
        for (json, word, rule) in [
            (r#"{"key":"sync:42"}"#, "sync:42", UniqueRule::Drop),
            (r#"{"key":"sync:42","mode":"drop"}"#, "sync:42:drop", UniqueRule::Drop),
            (
                r#"{"key":"sync:42","mode":"latest"}"#,
                "sync:42:latest",
                UniqueRule::Latest,
            ),
            (
                r#"{"key":"sync:42","mode":"throttle","for":"1h"}"#,
                "sync:42:throttle:1h",
                UniqueRule::Throttle(3_600 * S),
            ),
            (
                r#"{"key":"sync:42","mode":"debounce","wait":"5s","max":"1m"}"#,
                "sync:42:debounce:5s:1m",
                UniqueRule::Debounce {
                    wait: 5 * S,
                    max: 60 * S,
                },
            ),
        ] {
            let unique = read(json).expect(json);
            assert_eq!((unique.key.as_str(), unique.rule), ("sync:42", rule));
            assert_eq!(Unique::parse(word).expect(word), unique);
            assert_eq!(read(unique.to_json().get()), Ok(unique));
        }
    }

    #[test]
    fn a_job_keeps_the_stamp_of_its_first_fetch_and_stamps_are_ordered_by_fetch() {
        let (first, then, later) = (
            stamp(1_780_000_000_000_000, 9),
            stamp(1_780_000_000_000_000, 10),
            stamp(1_780_000_000_000_001, 1),
        );
        assert!(first < then && then < later);
        let mut job = Job::decode(br#"{"id":"1","name":"a"}"#).expect("a job");
        assert_eq!((job.is_admitted(), job.stamp()), (false, None));
        job.asked(&first);
        assert_eq!((job.is_admitted(), job.stamp()), (false, Some(&*first)));
        job.admitted(&first);
        assert_eq!((job.is_admitted(), job.stamp()), (true, Some(&*first)));
        let again = job.admitted(&later);
        assert!(
            again.contains(&format!(r#""kiln_unique":"admitted {first}""#)),
            "{again}"
        );
        for forged in [
            "admitted",
            "admitted now",
            "admitted 1780000000000000",
            "asked 1 2-3",
            "revived",
        ] {
            job.unique = Some(forged.to_owned());
            assert_eq!(job.stamp(), None, "{forged}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_wish_to_be_unique_is_told() {
        for (json, why) in [
            (r#""sync""#, "invalid type"),
            (r#"{"mode":"drop"}"#, "missing field `key`"),
            (r#"{"key":""}"#, "key has 1 to 1024 bytes"),
            (
                r#"{"key":"a","mode":"once"}"#,
                "mode is drop, latest, debounce or throttle",
            ),
            (r#"{"key":"a","for":"1h"}"#, "drop has no for"),
            (r#"{"key":"a","mode":"throttle"}"#, "throttle has a for"),
            (
                r#"{"key":"a","mode":"throttle","for":"0s"}"#,
                "for: must be from 1ms to 168h",
            ),
            (r#"{"key":"a","mode":"throttle","for":"8d"}"#, "for: "),
            (
                r#"{"key":"a","mode":"debounce","wait":"5s"}"#,
                "debounce has a wait and a max",
            ),
            (
                r#"{"key":"a","mode":"debounce","wait":"5m","max":"1s"}"#,
                "wait is longer than max",
            ),
            (r#"{"key":"a","ttl":1}"#, "unknown field `ttl`"),
        ] {
            let message = read(json).unwrap_err();
            assert!(message.contains(why), "{json}: {message}");
        }
        assert!(Unique::parse("").is_err() && Unique::parse("a:throttle:soon").is_err());
    }
}
