//! What is due by the schedules of a host's plugins.
//!
//! There is no leader. Every host that serves a plugin asks the store at each instant of its schedules to push the job, and
//! the store does so once: it remembers the last instant of each schedule, beside the queue. So an instant is fired as long
//! as one such host lives, and what a host knows may be old: at worst it asks in vain.
//!
//! Reads no clock, and asks no store: `service` does.

mod agenda;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use serde_json::value::to_raw_value;

use crate::config::{Overlap, Schedule};
use crate::job::Job;

pub use agenda::Agenda;

/// The job that a schedule pushes for one of its instants, created at `now`. Its id tells which: `cron:NAME:INSTANT`.
#[must_use]
pub fn job(name: &str, job: &str, schedule: &Schedule, instant: Timestamp, now: Timestamp) -> Job {
    let due = instant.saturating_add(schedule.shift(name)).unwrap_or(instant);
    let mut made = at(name, job, schedule, instant, now);
    made.id = format!("cron:{name}:{instant}");
    made.times.available_at = Some(due.to_string());
    made
}

/// A job as a schedule pushes it, but now and with an id of its own.
#[must_use]
pub fn job_now(name: &str, job: &str, schedule: &Schedule, now: Timestamp) -> Job {
    at(name, job, schedule, now, now)
}

fn at(name: &str, job: &str, schedule: &Schedule, instant: Timestamp, now: Timestamp) -> Job {
    let mut made = Job::new(job, schedule.queue(), schedule.payload().to_owned());
    let mut metadata = json!({ "schedule": name, "instant": instant.to_string() });
    if schedule.overlap() == Overlap::Latest {
        metadata["kiln"] = json!({ "unique": { "key": format!("cron:{name}"), "mode": "latest" } });
    }
    made.metadata = to_raw_value(&metadata).ok();
    made.times.created_at = Some(now.to_string());
    made.times.updated_at.clone_from(&made.times.created_at);
    made.times.available_at.clone_from(&made.times.created_at);
    made
}

/// The next instants of a schedule after a time, as many as asked for if there are so many, each with its shift.
pub fn next<'a>(
    name: &str,
    schedule: &'a Schedule,
    after: Timestamp,
    count: usize,
) -> impl Iterator<Item = Timestamp> + use<'a> {
    let shift = schedule.shift(name);
    let begin = after.saturating_sub(shift).unwrap_or(after);
    let instants = std::iter::successors(schedule.after(begin), |instant| schedule.after(*instant));
    instants.take(count).map(move |instant| shifted(instant, shift))
}

fn shifted(instant: Timestamp, shift: SignedDuration) -> Timestamp {
    instant.saturating_add(shift).unwrap_or(Timestamp::MAX)
}
