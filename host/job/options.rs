//! What a job itself asks of Kiln, under `metadata.kiln`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Most bytes of `metadata.kiln`. All known options together need a twentieth of that.
const MAX_OPTIONS_BYTES: usize = 4 * 1024;

/// What a job itself asks of Kiln.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// When its failed attempts are repeated.
    pub retry: RetryWish,
}

/// Where a job departs from its plugin's retry policy.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RetryWish {
    /// How the wait grows.
    pub policy: Option<Backoff>,
    /// The wait after the first failed attempt.
    pub base: Option<Duration>,
    /// The longest wait.
    pub max: Option<Duration>,
    /// By how much a wait varies.
    pub jitter: Option<f64>,
}

/// How the wait between attempts grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    /// Doubles each time.
    Exponential,
    /// Grows by the base each time.
    Linear,
    /// Stays the base.
    Fixed,
}

impl Options {
    /// Reads the options from a job's metadata. A wrong option is ignored, since no job should be lost for one; the
    /// first such key is reported.
    #[must_use]
    pub fn read(metadata: Option<&RawValue>) -> (Self, Option<String>) {
        #[derive(Deserialize)]
        struct Metadata<'a> {
            #[serde(borrow, default)]
            kiln: Option<&'a RawValue>,
        }
        let (mut options, mut wrong) = (Self::default(), Wrong(None));
        let metadata = metadata.map(|metadata| serde_json::from_str::<Metadata<'_>>(metadata.get()));
        match metadata.transpose() {
            Ok(metadata) => {
                if let Some(kiln) = metadata.and_then(|metadata| metadata.kiln) {
                    options.fill(kiln, &mut wrong);
                }
            }
            Err(err) => wrong.note("metadata", &err.to_string()),
        }
        (options, wrong.0)
    }

    fn fill(&mut self, kiln: &RawValue, wrong: &mut Wrong) {
        let len = kiln.get().len();
        if len > MAX_OPTIONS_BYTES {
            let why = format!("it has {len} bytes, at most {MAX_OPTIONS_BYTES} are read");
            return wrong.note("metadata.kiln", &why);
        }
        for (key, value) in wrong.object("metadata.kiln", kiln) {
            match &*key {
                "retry" => self.retry.fill(value, wrong),
                _ => wrong.note(&format!("metadata.kiln.{key}"), "there is only retry"),
            }
        }
    }
}

impl RetryWish {
    fn fill(&mut self, value: &RawValue, wrong: &mut Wrong) {
        for (key, value) in wrong.object("metadata.kiln.retry", value) {
            let filled = match &*key {
                "policy" => read(value).map(|policy| self.policy = Some(policy)),
                "base" => duration(value).map(|base| self.base = Some(base)),
                "max" => duration(value).map(|max| self.max = Some(max)),
                "jitter" => read(value).and_then(fraction).map(|jitter| self.jitter = Some(jitter)),
                _ => Err("there are policy, base, max and jitter".to_owned()),
            };
            if let Err(why) = filled {
                wrong.note(&format!("metadata.kiln.retry.{key}"), &why);
            }
        }
    }
}

/// The first key that is ignored, and why.
struct Wrong(Option<String>);

impl Wrong {
    fn note(&mut self, key: &str, why: &str) {
        self.0.get_or_insert_with(|| format!("{key} is ignored: {why}"));
    }

    /// The keys of an object; none if the value is something else. If a key occurs twice, its last value counts.
    fn object<'a>(&mut self, key: &str, value: &'a RawValue) -> BTreeMap<String, &'a RawValue> {
        read_borrowed(value).unwrap_or_else(|err| {
            self.note(key, &err);
            BTreeMap::new()
        })
    }
}

/// The longest duration that can be set. No wait needs more, and adding it to a time still gives a valid date.
const MAX_DURATION: Duration = Duration::from_hours(10 * 365 * 24);

/// Reads a duration as people write it: `100ms`, `30s`, `1h 30m`.
///
/// # Errors
/// When the text is no duration, a negative one, or one of more than ten years.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is not a duration; write it like 100ms, 30s, 1h30m or 48h"))?;
    let duration = Duration::try_from(span).map_err(|_| format!("{text:?} is negative"))?;
    if duration > MAX_DURATION {
        return Err(format!("{text:?} is more than 87600h, ten years"));
    }
    Ok(duration)
}

/// A share between 0 and 1.
///
/// # Errors
/// When the value is outside that range.
pub(crate) fn fraction(value: f64) -> Result<f64, String> {
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err("jitter must be between 0 and 1".to_owned())
    }
}

fn duration(value: &RawValue) -> Result<Duration, String> {
    parse_duration(&read::<String>(value)?)
}

fn read<T: DeserializeOwned>(value: &RawValue) -> Result<T, String> {
    read_borrowed(value)
}

/// Reads a value. The position in the value's own text helps nobody, so the error leaves it out.
fn read_borrowed<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(value.get()).map_err(|err| {
        let text = err.to_string();
        text.split(" at line ").next().unwrap_or_default().to_owned()
    })
}
