//! Batches: which ones a job belongs to, and what is to be pushed once all their jobs have ended.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::nesting::Nesting;
use super::options::{duration, read, read_borrowed};
use super::spec::Follower;
use super::{Job, JobSpec, Parent, raw};
use crate::outcome::{BatchMark, FollowUp, NewJob};
use crate::text::{self, is_hidden};

/// Most batches that one job belongs to.
pub const MAX_BATCHES: usize = 16;

/// Most jobs that a batch is announced with. The ids of all of them are kept, in one slot.
pub const MAX_MEMBERS: u64 = 1_000_000;

/// Longest name of a batch, in bytes.
pub const MAX_BATCH_ID_BYTES: usize = 128;

/// One batch that a job belongs to, as the job has it.
#[derive(Debug, Clone)]
pub struct Membership {
    /// The batch.
    pub id: String,
    /// How many jobs it was announced with; 0: this job does not know.
    of: u64,
    then: Option<Box<RawValue>>,
    complete: Option<Box<RawValue>>,
    late: Option<Box<RawValue>>,
    within: Option<Duration>,
}

/// Batches, and all jobs that may come of them.
type Memberships = (Vec<Membership>, Vec<Follower>);

/// What a callback without a payload of its own gets as its payload.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sizes {
    /// Jobs in all: as announced, and those that joined later.
    pub total: u64,
    /// Those that have completed.
    pub done: u64,
    /// Those that are in the failed list, or are gone from there.
    pub failed: u64,
}

/// Refuses what no batch can be called.
///
/// # Errors
/// What a name looks like.
pub fn check_batch_id(id: &str) -> Result<(), String> {
    let odd = |c: char| is_hidden(c) || c.is_whitespace() || "{}".contains(c);
    if id.is_empty() || id.len() > MAX_BATCH_ID_BYTES || id.contains(odd) {
        return Err(format!(
            "a batch's id has 1 to {MAX_BATCH_ID_BYTES} bytes, without spaces, braces and hidden characters"
        ));
    }
    Ok(())
}

/// Reads `metadata.kiln.batch`: an object, or a list of them.
pub(super) fn memberships(value: &RawValue, level: Nesting) -> Result<Memberships, String> {
    let all: Vec<&RawValue> = if value.get().starts_with('[') {
        read_borrowed(value)?
    } else {
        vec![value]
    };
    if all.len() > MAX_BATCHES {
        return Err(format!("a job belongs to {MAX_BATCHES} batches at most"));
    }
    let mut followers = Vec::new();
    let level = level.deeper()?;
    let read = all
        .into_iter()
        .map(|value| Membership::read(value, &mut followers, level));
    let batches = read.collect::<Result<Vec<_>, _>>()?;
    let mut ids = HashSet::new();
    if let Some(batch) = batches.iter().find(|batch| !ids.insert(&*batch.id)) {
        // Whoever tells the first of the two that the job has ended would call back for the other as well.
        return Err(format!("it names the batch {} twice", text::name(&batch.id)));
    }
    Ok((batches, followers))
}

impl Membership {
    fn read(value: &RawValue, followers: &mut Vec<Follower>, level: Nesting) -> Result<Self, String> {
        let mut membership = Self {
            id: String::new(),
            of: 0,
            then: None,
            complete: None,
            late: None,
            within: None,
        };
        let keys: BTreeMap<Cow<'_, str>, &RawValue> = read_borrowed(value)?;
        for (key, value) in keys {
            let mut callback = || {
                followers.extend(JobSpec::read(value, level)?.into_pushed());
                Ok(Some(value.to_owned()))
            };
            let filled = match &*key {
                "id" => read(value).map(|id| membership.id = id),
                "of" => read(value).map(|of| membership.of = of),
                "then" => callback().map(|then| membership.then = then),
                "complete" => callback().map(|complete| membership.complete = complete),
                "late" => callback().map(|late| membership.late = late),
                "within" => duration(value).map(|within| membership.within = Some(within)),
                _ => Err("there are id, of, then, complete, late and within".to_owned()),
            };
            filled.map_err(|why| format!("{key}: {why}"))?;
        }
        check_batch_id(&membership.id)?;
        if membership.of > MAX_MEMBERS {
            return Err(format!("of: a batch has {MAX_MEMBERS} jobs at most"));
        }
        if membership.late.is_some() != membership.within.is_some() {
            return Err("late and within belong together".to_owned());
        }
        Ok(membership)
    }

    /// What the store is to be told once this job has ended. `failed`: in the failed list. `follow_ups`: what it pushes then.
    #[must_use]
    pub fn mark(&self, parent: &Parent, failed: bool, follow_ups: &[FollowUp], now: Timestamp) -> BatchMark {
        let callback = |which: &str, spec: &Option<Box<RawValue>>| {
            let follow_up = JobSpec::read(spec.as_deref()?, Nesting::default())
                .ok()?
                .callback(parent, &self.id, which);
            Some(Job::follow_up(follow_up, now))
        };
        let late = callback("late", &self.late).map(|mut late| {
            let due = now
                .saturating_add(self.within.unwrap_or_default())
                .unwrap_or(Timestamp::MAX);
            late.due_ms = Some(due.as_millisecond());
            late
        });
        let joins = |follow_up: &&FollowUp| !failed && follow_up.joins.contains(&self.id);
        BatchMark {
            id: self.id.clone(),
            of: self.of,
            member: parent.id().to_owned(),
            failed,
            adds: follow_ups
                .iter()
                .filter(joins)
                .map(|follow_up| follow_up.id.clone())
                .collect(),
            then: callback("then", &self.then),
            complete: callback("complete", &self.complete),
            late,
        }
    }
}

/// The job that is to be pushed if a batch is late: delayed by `within` from now on, and dropped if the batch has ended then.
///
/// # Errors
/// When `spec`, the JSON that describes it, is wrong.
pub fn late_job(batch: &str, queue: &str, spec: &RawValue, within: Duration, now: Timestamp) -> Result<NewJob, String> {
    let spec = JobSpec::read(spec, Nesting::default())?;
    let mut late = Job::follow_up(spec.callback(&Parent::new("", queue, "{}"), batch, "late"), now);
    late.due_ms = Some(now.saturating_add(within).unwrap_or(Timestamp::MAX).as_millisecond());
    Ok(late)
}

/// A callback that is to be pushed now. Without a payload it gets the sizes of its batch.
#[must_use]
pub(crate) fn called_back(callback: NewJob, batch: &str, sizes: Sizes) -> NewJob {
    #[derive(Serialize)]
    struct Report<'a> {
        batch: &'a str,
        #[serde(flatten)]
        sizes: Sizes,
    }
    match Job::decode_any(callback.job.get().as_bytes()) {
        Ok(mut job) if job.payload.get() == "null" => {
            job.payload = raw(&Report { batch, sizes });
            NewJob {
                job: raw(&job),
                ..callback
            }
        }
        _ => callback,
    }
}
