//! The `[[schedule]]` tables of a manifest: when the host pushes a job by itself, and which.

use std::collections::HashSet;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::rhythm::Rhythm;
use super::{TimeRange, check_name, parse_duration};
use crate::job::{QUEUE_DEFAULT, check_queue_name};
use crate::text;

/// Schedules of one host, all plugins together. At one a second each, a thousand keep Redis busy for a hundredth of its time.
pub const MAX_SCHEDULES: usize = 1_000;

/// Longest id of a schedule, in bytes.
pub const MAX_SCHEDULE_ID_BYTES: usize = 64;

/// Most bytes of a schedule's payload, as JSON. Hosts tell operators of it every few seconds.
pub const MAX_SCHEDULE_PAYLOAD_BYTES: usize = 4 * 1024;

/// Most missed instants of a schedule that are made up for at once.
pub const MAX_CATCH_UP: usize = 100;

/// By how much an instant may be late and is on time all the same: a restart of every worker takes no longer.
pub const ON_TIME: Duration = Duration::from_secs(10);

const EVERY: TimeRange = TimeRange {
    least: Duration::from_secs(1),
    most: Duration::from_hours(365 * 24),
    why: "what is wanted more often is a loop, and what is wanted less often has a date: use cron",
};

const JITTER: TimeRange = TimeRange {
    least: Duration::ZERO,
    most: Duration::from_hours(24),
    why: "a schedule that is put off for longer has another time",
};

const EXPECT: TimeRange = TimeRange {
    least: Duration::from_secs(10),
    most: Duration::from_hours(400 * 24),
    why: "workers look about as often, and a schedule that succeeds less than once a year is watched by a person",
};

const CATCH_UP_WITHIN: TimeRange = TimeRange {
    least: Duration::from_secs(1),
    most: Duration::from_hours(31 * 24),
    why: "a run that is later than a month is another one",
};

/// Which of the instants are made up for that passed while no worker could fire them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// The last of them, unless another is due meanwhile.
    #[default]
    Last,
    /// None.
    None,
    /// All of them, up to [`MAX_CATCH_UP`].
    All,
}

/// What becomes of an instant while the job of an earlier one has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// Its job is pushed.
    #[default]
    Allow,
    /// It passes without a job.
    Skip,
    /// Its job waits for that one, and takes the place of one that waited before.
    Latest,
}

/// A rule by which the host pushes jobs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Schedule {
    written: Written,
    rhythm: Rhythm,
    payload: Box<RawValue>,
    catch_up_within: Duration,
    jitter: Duration,
    expect: Option<Duration>,
}

/// A schedule as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    payload: Value,
    #[serde(default = "queue_default")]
    queue: String,
    #[serde(default)]
    catch_up: CatchUp,
    #[serde(default)]
    overlap: Overlap,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    catch_up_within: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jitter: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expect: Option<String>,
}

fn queue_default() -> String {
    QUEUE_DEFAULT.to_owned()
}

impl From<Schedule> for Written {
    fn from(schedule: Schedule) -> Self {
        schedule.written
    }
}

impl TryFrom<Written> for Schedule {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        check_id(&written.id)?;
        let of_this = |why: String| format!("schedule {}: {why}", written.id);
        let read = || {
            let rhythm = rhythm(&written)?;
            check_queue_name(&written.queue)?;
            written.job.as_deref().map_or(Ok(()), check_name)?;
            Ok(Self {
                rhythm,
                payload: payload(&written.payload)?,
                catch_up_within: time(
                    "catch_up_within",
                    written.catch_up_within.as_deref(),
                    "1h",
                    CATCH_UP_WITHIN,
                )?,
                jitter: time("jitter", written.jitter.as_deref(), "0s", JITTER)?,
                expect: match written.expect.as_deref() {
                    Some(expect) => Some(time("expect", Some(expect), "", EXPECT)?),
                    None => None,
                },
                written: written.clone(),
            })
        };
        read().map_err(of_this)
    }
}

impl Schedule {
    /// What it is called, among those of its plugin.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.written.id
    }

    /// The name of the jobs it pushes; none: the only one that its plugin handles.
    #[must_use]
    pub fn job(&self) -> Option<&str> {
        self.written.job.as_deref()
    }

    /// The queue that they go to.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.written.queue
    }

    /// Their payload.
    #[must_use]
    pub fn payload(&self) -> &RawValue {
        &self.payload
    }

    /// What becomes of an instant while the job of an earlier one has not ended.
    #[must_use]
    pub fn overlap(&self) -> Overlap {
        self.written.overlap
    }

    /// Within which time one of its jobs is expected to succeed, again and again; none: nobody is told if none does.
    #[must_use]
    pub fn expect(&self) -> Option<Duration> {
        self.expect
    }

    /// The zone whose clock it goes by.
    #[must_use]
    pub fn zone(&self) -> TimeZone {
        self.rhythm.zone()
    }

    /// When it fires, as its manifest has it: `0 3 * * *`, `every 15m`.
    #[must_use]
    pub fn when(&self) -> String {
        match (&self.written.cron, &self.written.every) {
            (Some(cron), _) => cron.clone(),
            (None, every) => format!("every {}", every.as_deref().unwrap_or_default()),
        }
    }

    /// How long after each of its instants it fires: between nothing and its `jitter`, the same on every host. `name` is
    /// what it is called among those of all plugins.
    #[must_use]
    pub fn shift(&self, name: &str) -> SignedDuration {
        let span_ms = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        let shift_ms = if span_ms == 0 { 0 } else { spread(name) % span_ms };
        SignedDuration::from_millis(i64::try_from(shift_ms).unwrap_or(i64::MAX))
    }

    /// The first instant after a time; none if there is none.
    #[must_use]
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        self.rhythm.after(time)
    }

    /// Whether a time is one of its instants.
    #[must_use]
    pub fn has(&self, time: Timestamp) -> bool {
        self.rhythm.up_to(time) == Some(time)
    }

    /// What the wall clock shows at an instant, with its zone, if the schedule names one time of day; otherwise nothing.
    #[must_use]
    pub fn label(&self, instant: Timestamp) -> String {
        self.rhythm.label(instant)
    }

    /// The instants after `last` and up to `now` that are to be fired, in their order, and the last one that has passed.
    /// None: no instant has passed.
    ///
    /// Those that are late by up to [`ON_TIME`] are always fired, and `catch_up` decides about those before.
    #[must_use]
    pub fn passed(&self, last: Timestamp, now: Timestamp) -> Option<(Vec<Timestamp>, Timestamp)> {
        let first = self.rhythm.after(last).filter(|first| *first <= now)?;
        let newest = self.rhythm.up_to(now).map_or(first, |newest| newest.max(first));
        let (on_time, within) = (ago(now, ON_TIME), ago(now, self.catch_up_within));
        let mut fired = Vec::new();
        let mut next = Some(newest);
        while let Some(instant) = next.filter(|instant| *instant > last && fired.len() < MAX_CATCH_UP) {
            let is_wanted = instant >= on_time
                || match self.written.catch_up {
                    CatchUp::None => false,
                    CatchUp::Last => fired.is_empty() && instant >= within,
                    CatchUp::All => instant >= within,
                };
            if !is_wanted {
                break;
            }
            fired.push(instant);
            next = self.rhythm.up_to(ago(instant, Duration::from_nanos(1)));
        }
        fired.reverse();
        Some((fired, newest))
    }
}

/// The schedules of a manifest whose plugin handles `jobs`.
///
/// # Errors
/// When there are too many, two have one id, or one does not say which job it pushes.
pub(super) fn check(schedules: &[Schedule], jobs: Option<&[String]>) -> Result<(), String> {
    if schedules.len() > MAX_SCHEDULES {
        return Err(format!("schedule: more than {MAX_SCHEDULES}"));
    }
    let mut ids = HashSet::new();
    for schedule in schedules {
        let id = schedule.id();
        if !ids.insert(id) {
            return Err(format!("schedule {id}: there are two of this id"));
        }
        match (schedule.job(), jobs) {
            (Some(job), Some(jobs)) if !jobs.iter().any(|own| own == job) => {
                let job = text::name(job);
                return Err(format!("schedule {id}: jobs does not name the job \"{job}\""));
            }
            (Some(_), None) => {
                return Err(format!(
                    "schedule {id}: job goes with jobs; without it the plugin handles one job, named like its file"
                ));
            }
            (None, Some(jobs)) if jobs.len() != 1 => {
                return Err(format!(
                    "schedule {id}: the plugin handles several jobs; job = \"…\" says which"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_id(id: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if id.is_empty() || id.len() > MAX_SCHEDULE_ID_BYTES || !id.chars().all(is_plain) {
        let id = text::name(id);
        return Err(format!(
            "schedule \"{id}\": an id has 1 to {MAX_SCHEDULE_ID_BYTES} letters, digits, dots, - and _"
        ));
    }
    Ok(())
}

fn rhythm(written: &Written) -> Result<Rhythm, String> {
    match (&written.cron, &written.every) {
        (Some(cron), None) => Rhythm::cron(cron, written.zone.as_deref().unwrap_or("UTC")),
        (None, Some(_)) if written.zone.is_some() => {
            Err("zone goes with cron; every counts from midnight UTC of 1 January 1970".to_owned())
        }
        (None, Some(every)) => Ok(Rhythm::every(ranged("every", every, EVERY)?)),
        (Some(_), Some(_)) => Err("has both cron and every; one of them says when".to_owned()),
        (None, None) => Err("has neither cron nor every; one of them says when".to_owned()),
    }
}

fn payload(value: &Value) -> Result<Box<RawValue>, String> {
    if has_date(value) {
        return Err("payload: JSON has no dates; write it as text, in quotes".to_owned());
    }
    let json = serde_json::value::to_raw_value(value).map_err(|err| format!("payload: {err}"))?;
    let bytes = json.get().len();
    if bytes > MAX_SCHEDULE_PAYLOAD_BYTES {
        return Err(format!(
            "payload: has {bytes} bytes as JSON, at most {MAX_SCHEDULE_PAYLOAD_BYTES}"
        ));
    }
    Ok(json)
}

/// Whether a date of TOML is in it, which its reader shows as an object with one key of its own.
fn has_date(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| key.starts_with("$__toml") || has_date(value)),
        Value::Array(values) => values.iter().any(has_date),
        _ => false,
    }
}

fn time(key: &str, written: Option<&str>, default: &str, range: TimeRange) -> Result<Duration, String> {
    ranged(key, written.unwrap_or(default), range)
}

fn ranged(key: &str, written: &str, range: TimeRange) -> Result<Duration, String> {
    parse_duration(written)?;
    range.parse(written).map_err(|why| format!("{key}: {why}"))
}

fn ago(time: Timestamp, by: Duration) -> Timestamp {
    time.saturating_sub(SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX))
        .unwrap_or(Timestamp::MIN)
}

/// A number for a name: FNV-1a, which every version of every host computes alike.
fn spread(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
