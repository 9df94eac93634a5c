//! The `[[limit]]` tables of a manifest: how many jobs of a kind run at once over all hosts, and how often one starts.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{CountRange, TimeRange, parse_duration};
use crate::job::Job;
use crate::text;

/// Limits of one plugin. Each job counts against all of them.
pub const MAX_CAPS: usize = 8;

/// Longest JSON pointer of a limit, in bytes.
const MAX_POINTER_BYTES: usize = 256;

/// Longest key that stands in the store as it is, in bytes. Of a longer one its SHA-256 does.
pub const MAX_KEY_TEXT_BYTES: usize = 64;

const PLACES: CountRange = CountRange {
    what: "jobs at once",
    least: 1,
    most: 16_384,
    why: "the store looks at each of them when a host has died",
};

const STARTS: CountRange = CountRange {
    what: "starts",
    least: 1,
    most: 1_000_000,
    why: "of more, no rate is the same",
};

const PERIOD: TimeRange = TimeRange {
    least: Duration::from_millis(1),
    most: Duration::from_hours(31 * 24),
    why: "what a rate counts over a longer time, the store has forgotten",
};

/// Least time between two starts: the store's clock tells no less.
const LEAST_INTERVAL: Duration = Duration::from_micros(10);

/// The id of the limit of one on jobs that are unique by one key.
const UNIQUE: &str = "unique";

/// What the name of a lane ends with whose jobs were put back from the failed list.
const REVIVED: &str = "revived";

/// The id of the limit on all jobs of a plugin.
const ALL: &str = "*";

/// A limit on some of a plugin's jobs, over all hosts that serve one queue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Cap {
    /// Where in the payload the key is by which jobs are told apart; none: they are not.
    pointer: Option<String>,
    /// The pointer, as it stands in names.
    id: String,
    /// Jobs of one key that run at once; none: any number.
    pub places: Option<NonZeroU32>,
    /// How often jobs of one key start; none: as often as they come.
    pub rate: Option<Rate>,
    /// Whether the keys take turns.
    pub fair: bool,
}

/// How often jobs start, as the generic cell rate algorithm has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The time between two starts.
    pub every: Duration,
    /// How many may start at once after a pause.
    pub burst: NonZeroU32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    key: Option<String>,
    concurrency: Option<u64>,
    rate: Option<String>,
    burst: Option<u64>,
    #[serde(default)]
    fair: bool,
}

impl TryFrom<Written> for Cap {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written {
            key: pointer,
            concurrency,
            rate,
            burst,
            fair,
        } = written;
        if let Some(pointer) = &pointer {
            check_pointer(pointer)?;
        }
        let places = concurrency.map(|places| number("concurrency", places, &PLACES));
        let burst = burst.map(|burst| number("burst", burst, &STARTS)).transpose()?;
        if rate.is_none() && burst.is_some() {
            return Err("limit: burst goes with rate".to_owned());
        }
        let every = rate.map(|rate| interval(&rate)).transpose()?;
        let rate = every.map(|every| Rate {
            every,
            burst: burst.unwrap_or(NonZeroU32::MIN),
        });
        let places = places.transpose()?;
        if fair && pointer.is_none() {
            return Err("limit: fair goes with key: it lets keys take turns".to_owned());
        }
        if places.is_none() && rate.is_none() && !fair {
            return Err("limit: has neither concurrency nor rate nor fair; one of them limits something".to_owned());
        }
        let id = pointer.as_deref().map_or_else(|| ALL.to_owned(), escaped);
        Ok(Self {
            pointer,
            id,
            places,
            rate,
            fair,
        })
    }
}

impl Cap {
    /// The limit on jobs that are unique by one key: one runs at a time. Each plugin has it.
    #[must_use]
    pub fn of_unique() -> Self {
        Self {
            pointer: None,
            id: UNIQUE.to_owned(),
            places: Some(NonZeroU32::MIN),
            rate: None,
            fair: false,
        }
    }

    /// Its id among the limits of its plugin.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where in the payload the key is; none: all jobs count together.
    #[must_use]
    pub fn pointer(&self) -> Option<&str> {
        self.pointer.as_deref()
    }

    /// Whether it ever keeps a job waiting: one that only lets keys take turns does not.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        self.places.is_some() || self.rate.is_some()
    }

    /// What a job counts against: the id, and the key if there is one. Jobs without a key, or with one that is neither
    /// text, number nor boolean, count together.
    fn name(&self, job: &Job, wish: Option<&str>) -> String {
        let Some(pointer) = &self.pointer else {
            return self.id.clone();
        };
        let key = match wish {
            Some(key) => Some(Cow::Borrowed(key)),
            None => job.payload_at(pointer).map(Cow::Owned),
        };
        format!("{}={}", self.id, key.map_or_else(String::new, |key| shortened(&key)))
    }
}

/// The name of the lane of a job under these limits: what it counts against, limit by limit. `key` stands for that of the
/// first limit that has one. None: nothing limits it.
#[must_use]
pub fn lane_name(caps: &[Cap], job: &Job, key: Option<&str>) -> Option<String> {
    let first = caps.iter().position(|cap| cap.pointer.is_some());
    let names = caps.iter().enumerate().map(|(place, cap)| {
        let key = key.filter(|_| Some(place) == first);
        cap.name(job, key)
    });
    (!caps.is_empty()).then(|| names.collect::<Vec<_>>().join("|"))
}

/// What the key of unique jobs is called among the limits of their plugin.
#[must_use]
pub fn unique_name(key: &str) -> String {
    format!("{UNIQUE}={}", shortened(key))
}

/// The name of the lane of a job of such a key that has this lane otherwise.
#[must_use]
pub fn unique_lane(lane: Option<&str>, key: &str, revived: bool) -> String {
    let parts = [lane, Some(&unique_name(key)), revived.then_some(REVIVED)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("|")
}

/// # Errors
/// When there are too many, or two by one key.
pub(super) fn check(caps: &[Cap]) -> Result<(), String> {
    if caps.len() > MAX_CAPS {
        return Err(format!("limit: more than {MAX_CAPS}"));
    }
    let mut ids = HashSet::new();
    match caps.iter().find(|cap| !ids.insert(&cap.id)) {
        None => Ok(()),
        Some(Cap { pointer: None, .. }) => Err("limit: there are two without a key".to_owned()),
        Some(cap) => Err(format!("limit: there are two of the key \"{}\"", text::name(&cap.id))),
    }
}

fn check_pointer(pointer: &str) -> Result<(), String> {
    let starts = pointer.is_empty() || pointer.starts_with('/');
    if !starts || pointer.len() > MAX_POINTER_BYTES || pointer.contains(text::is_hidden) {
        return Err(format!(
            "limit: key \"{}\" is no JSON pointer into the payload, such as /customer or /order/region, of up to \
             {MAX_POINTER_BYTES} bytes",
            text::name(pointer)
        ));
    }
    Ok(())
}

fn number(key: &str, number: u64, range: &CountRange) -> Result<NonZeroU32, String> {
    let number = range.check(number).map_err(|why| format!("limit: {key} {why}"))?;
    NonZeroU32::new(number).ok_or_else(|| format!("limit: {key} is 0"))
}

/// Reads `100/1m`: so many starts in such a time.
fn interval(rate: &str) -> Result<Duration, String> {
    let wrong = |why: &str| format!("limit: rate \"{}\": {why}", text::name(rate));
    let Some((starts, period)) = rate.split_once('/') else {
        return Err(wrong("is written as starts and time, such as 100/1m or 5/1s"));
    };
    let starts = STARTS.parse(starts.trim()).map_err(|why| wrong(&why))?;
    parse_duration(period.trim()).map_err(|why| wrong(&why))?;
    let period = PERIOD.parse(period.trim()).map_err(|why| wrong(&why))?;
    let every = period / starts.max(1);
    if every < LEAST_INTERVAL {
        return Err(wrong("is more than 100000 a second"));
    }
    Ok(every)
}

/// A key as it stands in names: as it is, or its digest.
fn shortened(key: &str) -> String {
    if key.len() <= MAX_KEY_TEXT_BYTES {
        return escaped(key);
    }
    let digest = Sha256::digest(key.as_bytes());
    let mut hex = String::from("sha256-");
    for byte in digest {
        // Cannot fail: it writes into memory.
        _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Text in which nothing separates parts of a name.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "%|=@".contains(c) || text::is_hidden(c) {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                _ = write!(escaped, "%{byte:02X}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Manifest;

    fn caps(text: &str) -> Vec<Cap> {
        Manifest::parse(text).expect("a manifest").caps
    }

    fn name(caps: &[Cap], job: &str, key: Option<&str>) -> Option<String> {
        lane_name(caps, &Job::decode(job.as_bytes()).expect("a job"), key)
    }

    #[test]
    fn the_lane_of_a_job_names_what_it_counts_against() {
        let both = caps(
            "[[limit]]\nkey = \"/customer\"\nconcurrency = 2\n[[limit]]\nconcurrency = 5\n\
             [[limit]]\nkey = \"/to/0\"\nrate = \"100/1m\"\nburst = 20",
        );
        for (payload, lane) in [
            (r#"{"customer":"acme","to":["a@b"]}"#, "/customer=acme|*|/to/0=a%40b"),
            (r#"{"to":[7],"customer":1.50}"#, "/customer=1.50|*|/to/0=7"),
            (r#"{"customer":"50%|x=y"}"#, "/customer=50%25%7Cx%3Dy|*|/to/0="),
            (r#"{"customer":{"a":1}}"#, "/customer=|*|/to/0="),
            ("null", "/customer=|*|/to/0="),
        ] {
            let job = format!(r#"{{"name":"a","payload":{payload}}}"#);
            assert_eq!(name(&both, &job, None).as_deref(), Some(lane));
        }
        let job = r#"{"name":"a","payload":{"customer":"acme","to":["b"]}}"#;
        assert_eq!(name(&both, job, Some("k")).as_deref(), Some("/customer=k|*|/to/0=b"));
        let long = "é".repeat(1_000);
        assert_eq!(
            name(&both, job, Some(&long)).map(|name| name.len()),
            Some("/customer=sha256-|*|/to/0=b".len() + 64)
        );
        assert_eq!(name(&[], job, None), None);
        assert_eq!(
            both[2].rate,
            Some(Rate {
                every: Duration::from_millis(600),
                burst: NonZeroU32::new(20).expect("more than 0"),
            })
        );
    }

    #[test]
    fn what_is_wrong_with_a_limit_is_told() {
        for (limit, why) in [
            ("", "has neither concurrency nor rate nor fair"),
            ("concurrency = 0", "from 1 to 16384"),
            ("concurrency = 5\nkey = \"customer\"", "is no JSON pointer"),
            ("burst = 5\nconcurrency = 1", "burst goes with rate"),
            ("rate = \"100\"", "such as 100/1m"),
            ("rate = \"0/1s\"", "from 1 to 1000000"),
            ("rate = \"1/1us\"", "must be from 1ms to 744h"),
            ("rate = \"1000000/1s\"", "is more than 100000 a second"),
            ("fair = true", "fair goes with key"),
            ("concurrency = 1\nplaces = 2", "unknown field `places`"),
        ] {
            let message = Manifest::parse(&format!("[[limit]]\n{limit}")).unwrap_err();
            assert!(message.contains(why), "{limit}: {message}");
        }
        let twice = "[[limit]]\nkey = \"/a\"\nconcurrency = 1\n";
        let message = Manifest::parse(&twice.repeat(2)).unwrap_err();
        assert!(message.contains("there are two of the key \"/a\""), "{message}");
    }
}
