//! What a job itself asks of Kiln, under `metadata.kiln`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::batch::memberships;
use super::nesting::Nesting;
use super::spec::Follower;
use super::{JobSpec, Membership, Unique};

/// Most bytes of `metadata.kiln`. All known options together need a twentieth of that.
const MAX_OPTIONS_BYTES: usize = 4 * 1024;

/// Most bytes of `metadata.kiln` with all that is to be pushed after the job, and with the result of the one before it.
pub const MAX_FLOW_BYTES: usize = 1024 * 1024;

/// Most jobs of a chain that follow a job.
pub const MAX_LINKS: usize = 100;

/// What a job itself asks of Kiln.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// When its failed attempts are repeated.
    pub retry: RetryWish,
    /// When it has grown too old to run.
    pub expires: Option<Expires>,
    /// Whether somebody waits for it, and is to be told once it has ended.
    pub reply: bool,
    /// The key by which the limits of its plugin tell it apart, in place of the one in its payload.
    pub key: Option<String>,
    /// What is to come after it, if it says anything of that. Few jobs do, and the others should not carry it along.
    plans: Option<Box<Plans>>,
}

/// What a job says of what is to come after it.
#[derive(Debug, Clone, Default)]
pub struct Plans {
    /// The jobs of its chain that come after it, each as JSON describes it.
    pub then: Vec<Box<RawValue>>,
    /// The batches that it belongs to.
    pub batches: Vec<Membership>,
    /// All jobs that may come of it, chain and callbacks, at any remove.
    pub(super) followers: Vec<Follower>,
    /// It is dropped if this batch has ended when it is to start.
    pub unless_ended: Option<String>,
    /// It is unique by a key.
    pub unique: Option<Unique>,
    /// Why it cannot be done as it asks. Not to run it is better than to leave out what was to come after it.
    pub refused: Option<String>,
}

/// When a job has grown too old to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expires {
    /// So long after it became available first.
    After(Duration),
    /// At this time.
    At(Timestamp),
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

/// Those of most jobs.
static NO_PLANS: Plans = Plans {
    then: Vec::new(),
    batches: Vec::new(),
    followers: Vec::new(),
    unless_ended: None,
    unique: None,
    refused: None,
};

impl Options {
    /// What is to come after it.
    #[must_use]
    pub fn plans(&self) -> &Plans {
        self.plans.as_deref().unwrap_or(&NO_PLANS)
    }

    fn plans_mut(&mut self) -> &mut Plans {
        self.plans.get_or_insert_default()
    }

    /// Reads the options from a job's metadata. A wrong option is ignored, since no job should be lost for one; the
    /// first such key is reported.
    #[must_use]
    pub fn read(metadata: Option<&RawValue>) -> (Self, Option<String>) {
        Self::read_within(metadata, Nesting::default())
    }

    /// The same, of a job at this level.
    pub(super) fn read_within(metadata: Option<&RawValue>, level: Nesting) -> (Self, Option<String>) {
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
                    options.fill(kiln, &mut wrong, level);
                }
            }
            Err(err) => wrong.note("metadata", &err.to_string()),
        }
        (options, wrong.0)
    }

    fn fill(&mut self, kiln: &RawValue, wrong: &mut Wrong, level: Nesting) {
        let len = kiln.get().len();
        if len > MAX_FLOW_BYTES {
            self.plans_mut().refused = Some(format!(
                "metadata.kiln has {len} bytes, at most {MAX_FLOW_BYTES} are read"
            ));
            return;
        }
        let keys = wrong.object("metadata.kiln", kiln);
        let flow = keys.iter().filter(|(key, _)| FLOW.contains(&key.as_str()));
        let flow: usize = flow.map(|(_, value)| value.get().len()).sum();
        if len - flow > MAX_OPTIONS_BYTES {
            let why = format!("it has {len} bytes, at most {MAX_OPTIONS_BYTES} are read");
            return wrong.note("metadata.kiln", &why);
        }
        for (key, value) in keys {
            match &*key {
                "retry" => self.retry.fill(value, wrong),
                "expires" => match Expires::read(value) {
                    Ok(expires) => self.expires = Some(expires),
                    Err(why) => wrong.note("metadata.kiln.expires", &why),
                },
                "reply" => match read(value) {
                    Ok(reply) => self.reply = reply,
                    Err(why) => wrong.note("metadata.kiln.reply", &why),
                },
                "key" => match read(value) {
                    Ok(key) => self.key = Some(key),
                    Err(why) => wrong.note("metadata.kiln.key", &why),
                },
                "then" => match links(value, level) {
                    Ok((then, followers)) => {
                        let plans = self.plans_mut();
                        plans.then = then;
                        plans.followers.extend(followers);
                    }
                    Err(why) => self.plans_mut().refused = Some(format!("metadata.kiln.then: {why}")),
                },
                "batch" => match memberships(value, level) {
                    Ok((batches, followers)) => {
                        let plans = self.plans_mut();
                        plans.batches = batches;
                        plans.followers.extend(followers);
                    }
                    Err(why) => self.plans_mut().refused = Some(format!("metadata.kiln.batch: {why}")),
                },
                "unless_ended" => match read(value) {
                    Ok(batch) => self.plans_mut().unless_ended = Some(batch),
                    Err(why) => self.plans_mut().refused = Some(format!("metadata.kiln.unless_ended: {why}")),
                },
                "unique" => match Unique::read(value) {
                    Ok(unique) => self.plans_mut().unique = Some(unique),
                    Err(why) => self.plans_mut().refused = Some(format!("metadata.kiln.unique: {why}")),
                },
                // Kiln writes these into what comes after a job.
                "depth" | "result" => {}
                _ => wrong.note(
                    &format!("metadata.kiln.{key}"),
                    "there are retry, expires, reply, key, unique, then, batch and unless_ended",
                ),
            }
        }
    }
}

/// Keys that may be long.
const FLOW: [&str; 3] = ["then", "batch", "result"];

/// The jobs of a chain, each of which is in order.
fn links(value: &RawValue, level: Nesting) -> Result<(Vec<Box<RawValue>>, Vec<Follower>), String> {
    let links: Vec<Box<RawValue>> = read(value)?;
    if links.len() > MAX_LINKS {
        return Err(format!("it has {} jobs, at most {MAX_LINKS} are taken", links.len()));
    }
    let (mut followers, level) = (Vec::new(), level.deeper()?);
    for (at, link) in links.iter().enumerate() {
        let spec = JobSpec::read(link, level).map_err(|why| format!("job {} of it: {why}", at + 1))?;
        followers.extend(spec.into_pushed());
    }
    Ok((links, followers))
}

impl Expires {
    fn read(value: &RawValue) -> Result<Self, String> {
        let text = read::<String>(value)?;
        if let Ok(time) = text.parse() {
            return Ok(Self::At(time));
        }
        match parse_duration(&text) {
            Ok(Duration::ZERO) => Err("must be more than 0".to_owned()),
            Ok(duration) => Ok(Self::After(duration)),
            Err(_) => Err(format!(
                "{text:?} is neither a duration, like 10m, nor a time, like 2026-12-24T18:00:00Z"
            )),
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
    let duration = Duration::try_from(span).map_err(|_| format!("{text:?} is negative; a duration is 0s or more"))?;
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

pub(super) fn duration(value: &RawValue) -> Result<Duration, String> {
    parse_duration(&read::<String>(value)?)
}

pub(super) fn read<T: DeserializeOwned>(value: &RawValue) -> Result<T, String> {
    read_borrowed(value)
}

/// Reads a value. The position in the value's own text helps nobody, so the error leaves it out.
pub(super) fn read_borrowed<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(value.get()).map_err(|err| {
        let text = err.to_string();
        text.split(" at line ").next().unwrap_or_default().to_owned()
    })
}
