//! Whether a job may start now, and if not, where it waits and until when.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::sorting::Sorting;
use crate::config::{HOLD_DEFAULT, Unknown, lane_name, unique_lane, unique_name};
use crate::job::{Job, Options, UniqueRule};
use crate::outcome::{Failure, FailureKind, Lane};
use crate::plugins::{Plugin, Plugins, Resolved};
use crate::queue::{Consumer, Delivery, OfKey};
use crate::sandbox::PluginPermit;
use crate::text;

/// How long a job from a lane is delayed if it cannot start after all. Two hosts may disagree about which lane it
/// belongs to; this limits how fast they pass it back and forth.
const DISAGREEMENT_WAIT: Duration = Duration::from_secs(1);

/// How long a job is delayed for whose limits too many wait already.
const FULL_WAIT: Duration = Duration::from_secs(10);

/// Least time between two log lines about held jobs of one name.
const TELL_AGAIN: Duration = Duration::from_mins(1);

/// Most names of held jobs that are remembered. Names come from producers, in any number.
const MAX_TOLD: usize = 1_000;

/// What is decided about a job before it runs.
#[derive(Debug)]
pub(super) enum Admission {
    /// It starts now, on this plugin.
    Start(Arc<Plugin>, PluginPermit),
    /// It starts now, if limits across hosts let it: the store is to be asked. Else it waits in this lane for its turn.
    Ask(Lane, Arc<Plugin>, PluginPermit),
    /// It waits in this lane: until a host has room for its plugin, or until its name is resumed.
    Wait(Lane),
    /// It was ready before its time, and is delayed until then.
    Until(Timestamp),
    /// It is put back for a while. No attempt is counted.
    Hold(Duration, Failure),
    /// It cannot run. That counts as an attempt, since otherwise it would be fetched again for ever.
    Refuse(Failure),
    /// It never runs: nobody handles it.
    Fail(Failure),
}

/// A permit to start one job of a plugin, taken before the job was fetched.
#[derive(Debug)]
pub struct Reserved {
    /// The version that is to run it.
    pub plugin: Arc<Plugin>,
    /// The permit.
    pub permit: PluginPermit,
}

/// Where a job that is unique by a key is admitted.
#[derive(Debug)]
pub(super) struct Entry {
    /// The lane in which it waits for its turn.
    pub(super) lane: Lane,
    /// What its key is called there.
    pub(super) cap: String,
    /// Which jobs of its key run.
    pub(super) rule: UniqueRule,
    /// After which time the jobs of its plugin are too old to run.
    pub(super) expire: Option<Duration>,
}

/// Decides about each job.
#[derive(Debug)]
pub(super) struct Gate {
    consumer: Arc<Consumer>,
    plugins: Arc<Plugins>,
    unknown: Unknown,
    told: Told,
    pub(super) sorting: Sorting,
}

impl Gate {
    pub(super) fn new(consumer: Arc<Consumer>, plugins: Arc<Plugins>, unknown: Unknown) -> Self {
        Self {
            consumer,
            plugins,
            unknown,
            told: Told::default(),
            sorting: Sorting::default(),
        }
    }

    /// Decides about a delivery's job. For a job from a lane, a permit has usually been reserved.
    pub(super) fn admit(
        &self,
        job: &Job,
        options: &Options,
        delivery: &Delivery,
        mut reserved: Option<Reserved>,
    ) -> Admission {
        let queue = delivery.queue().as_str();
        if let Some(until) = job.is_early(|| self.consumer.now()) {
            return Admission::Until(until);
        }
        if self.is_paused(job, delivery) {
            return Admission::Wait(Lane::of_job(&job.name));
        }
        let lane = match self.plugins.resolve(&job.name) {
            Resolved::Plugin(plugin) => {
                if let Some(wait) = self.waits_for_limits(job, options, delivery, &plugin, &mut reserved) {
                    return wait;
                }
                let lane = || Lane::of_plugin(plugin.handler.name());
                let permit = if self.would_overtake(delivery, lane) {
                    None
                } else {
                    permit(&plugin, reserved)
                };
                match permit {
                    Some(permit) => return Admission::Start(plugin, permit),
                    None => Lane::of_plugin(plugin.handler.name()),
                }
            }
            Resolved::NotNow { plugin, why } => {
                self.tell(job, queue, &why, "job waits for its plugin, as others of its name do");
                Lane::of_plugin(&plugin)
            }
            Resolved::NotThis(why) => {
                self.tell(job, queue, &why, "job is held, as others of its name are");
                return Admission::Hold(HOLD_DEFAULT, Failure::new(FailureKind::Unloadable, &*why));
            }
            Resolved::Unloadable(why) => {
                let (id, name) = (&*text::name(&job.id), &*text::name(&job.name));
                tracing::warn!(id, name, queue, why = &*why, "job cannot run");
                return Admission::Refuse(Failure::new(FailureKind::Unloadable, &*why));
            }
            Resolved::Unknown => return self.unhandled(job, queue),
        };
        if delivery.lane().is_some_and(|lane| !lane.is_of_large()) {
            let why = Failure::new(FailureKind::Unloadable, "its plugin changed while it waited");
            return Admission::Hold(DISAGREEMENT_WAIT, why);
        }
        Admission::Wait(lane)
    }

    /// Where a job that is unique by a key is to be admitted; none if it is its turn, or something else keeps it from running.
    pub(super) fn entry(&self, job: &Job, options: &Options, delivery: &Delivery) -> Option<Entry> {
        let unique = options.plans().unique.as_ref()?;
        if job.is_early(|| self.consumer.now()).is_some() || self.is_paused(job, delivery) {
            return None;
        }
        let Resolved::Plugin(plugin) = self.plugins.resolve(&job.name) else {
            return None;
        };
        let stem = plugin.handler.name();
        let cap = unique_name(&unique.key);
        let lane = if matches!(unique.rule, UniqueRule::Throttle(_)) {
            // It was asked about when it came. A further attempt is no further job.
            if job.is_admitted() {
                return None;
            }
            cap.clone()
        } else {
            let is_from_limits = delivery.lane().is_some_and(|from| from.limited() == Some(stem));
            if is_from_limits || self.consumer.is_full(delivery.queue(), &Lane::of_group(stem)) {
                return None;
            }
            lane_of(job, options, &plugin)?
        };
        Some(Entry {
            lane: Lane::of_limits(stem, &lane),
            cap,
            rule: unique.rule,
            expire: plugin.handler.expire(),
        })
    }

    /// The key of a job that was admitted as unique by it. One from the failed list keeps none away while it waits.
    pub(super) fn key_of(&self, job: &Job, options: &Options) -> Option<OfKey> {
        let unique = options.plans().unique.as_ref()?;
        let yields = match unique.rule {
            UniqueRule::Throttle(_) => return None,
            UniqueRule::Drop => false,
            UniqueRule::Latest | UniqueRule::Debounce { .. } => true,
        };
        if !job.is_admitted() || job.is_revived() {
            return None;
        }
        let group = match self.plugins.resolve(&job.name) {
            Resolved::Plugin(plugin) => Lane::of_group(plugin.handler.name()),
            Resolved::NotNow { plugin, .. } => Lane::of_group(&plugin),
            Resolved::NotThis(_) | Resolved::Unloadable(_) | Resolved::Unknown => return None,
        };
        Some(OfKey {
            group,
            cap: unique_name(&unique.key),
            id: job.id.clone(),
            stamp: job.stamp().unwrap_or_default().to_owned(),
            yields,
        })
    }

    /// What a job counts against: a group of lanes, and limits and a key there by their names.
    pub(super) fn counts_against(&self, job: &Job, options: &Options) -> Option<(Lane, Vec<String>)> {
        let Resolved::Plugin(plugin) = self.plugins.resolve(&job.name) else {
            return None;
        };
        let lane = lane_of(job, options, &plugin)?;
        let names = lane.split('|').map(str::to_owned).collect();
        Some((Lane::of_group(plugin.handler.name()), names))
    }

    /// What becomes of a job that limits across hosts concern; none if it has its turn, or nothing limits it. It has its turn only
    /// if it comes from the lane of what it counts against: only then does it occupy the places.
    fn waits_for_limits(
        &self,
        job: &Job,
        options: &Options,
        delivery: &Delivery,
        plugin: &Arc<Plugin>,
        reserved: &mut Option<Reserved>,
    ) -> Option<Admission> {
        let stem = plugin.handler.name();
        let lane = Lane::of_limits(stem, &lane_of(job, options, plugin)?);
        if delivery.lane() == Some(&lane) {
            return None;
        }
        if delivery.lane().is_some_and(|from| from.limited() == Some(stem)) {
            let why = Failure::new(
                FailureKind::Unloadable,
                "the limits of its plugin changed while it waited",
            );
            return Some(Admission::Hold(DISAGREEMENT_WAIT, why));
        }
        let group = Lane::of_group(stem);
        if self.consumer.is_full(delivery.queue(), &group) {
            let queue = delivery.queue().as_str();
            let why = "as many jobs as may wait for the limits of its plugin already do";
            self.tell(job, queue, why, "job is held, as others of its name are");
            return Some(Admission::Hold(FULL_WAIT, Failure::new(FailureKind::Unloadable, why)));
        }
        if is_one_at_a_time(options) {
            // It would have been admitted, but its plugin or what is known of its lane has just changed.
            let why = Failure::new(FailureKind::Unloadable, "it was not admitted by its key");
            return Some(Admission::Hold(DISAGREEMENT_WAIT, why));
        }
        if plugin.handler.caps().iter().any(|cap| cap.fair) {
            self.sorting.ask(delivery.queue());
        }
        if self.would_overtake(delivery, || Lane::of_plugin(stem)) {
            return Some(Admission::Wait(lane));
        }
        Some(match permit(plugin, reserved.take()) {
            Some(permit) => Admission::Ask(lane, Arc::clone(plugin), permit),
            None => Admission::Wait(lane),
        })
    }

    /// Whether jobs of this name are paused, or were and still wait in their lane.
    fn is_paused(&self, job: &Job, delivery: &Delivery) -> bool {
        self.consumer.is_job_paused(&job.name) || self.would_overtake(delivery, || Lane::of_job(&job.name))
    }

    /// Whether earlier jobs already wait in this lane.
    fn would_overtake(&self, delivery: &Delivery, lane: impl FnOnce() -> Lane) -> bool {
        delivery.lane().is_none_or(Lane::is_of_large)
            && self.consumer.any_waits()
            && self.consumer.holds(delivery.queue(), &lane())
    }

    fn unhandled(&self, job: &Job, queue: &str) -> Admission {
        let (id, name) = (&*text::name(&job.id), &*text::name(&job.name));
        let why = format!("no plugin handles \"{name}\"");
        let failure = Failure::new(FailureKind::UnknownJob, &*why);
        match self.unknown {
            Unknown::Fail => {
                tracing::warn!(id, name, queue, "no plugin handles this job; it fails");
                Admission::Fail(failure)
            }
            Unknown::Hold(wait) => {
                self.tell(job, queue, &why, "job is held, as others of its name are");
                Admission::Hold(wait, failure)
            }
        }
    }

    /// Logs that a job does not start, unless a job of the same name was logged within the last minute.
    pub(super) fn tell(&self, job: &Job, queue: &str, why: &str, what: &'static str) {
        if self.told.is_news(&job.name) {
            let (id, name) = (&*text::name(&job.id), &*text::name(&job.name));
            tracing::warn!(id, name, queue, why, "{what}");
        }
    }
}

/// Whether one job of its key runs at a time.
fn is_one_at_a_time(options: &Options) -> bool {
    let unique = options.plans().unique.as_ref();
    unique.is_some_and(|unique| !matches!(unique.rule, UniqueRule::Throttle(_)))
}

/// The name of the lane of a job that limits across hosts concern; none if nothing limits it.
fn lane_of(job: &Job, options: &Options, plugin: &Plugin) -> Option<String> {
    let limits = lane_name(plugin.handler.caps(), job, options.key.as_deref());
    match &options.plans().unique {
        Some(unique) if is_one_at_a_time(options) => {
            Some(unique_lane(limits.as_deref(), &unique.key, job.is_revived()))
        }
        _ => limits,
    }
}

/// A permit to start a job of this plugin, if there is one: the reserved one, else a free one.
fn permit(plugin: &Arc<Plugin>, reserved: Option<Reserved>) -> Option<PluginPermit> {
    let reserved = reserved.filter(|reserved| Arc::ptr_eq(&reserved.plugin, plugin));
    reserved
        .map(|reserved| reserved.permit)
        .or_else(|| plugin.handler.try_permit())
}

/// Names that were logged, and when. Held jobs come back again and again, and each name is logged once a minute.
#[derive(Debug, Default)]
struct Told(Mutex<HashMap<String, Instant>>);

impl Told {
    /// Whether this name was not logged within the last minute. Remembers at most [`MAX_TOLD`] names.
    fn is_news(&self, name: &str) -> bool {
        let name = &*text::name(name);
        let mut told = self.0.lock();
        if told.get(name).is_some_and(|when| when.elapsed() < TELL_AGAIN) {
            return false;
        }
        if told.len() >= MAX_TOLD {
            told.clear();
        }
        told.insert(name.to_owned(), Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::MAX_NAME_BYTES;

    #[test]
    fn names_of_held_jobs_are_remembered_within_bounds() {
        let told = Told::default();
        let long = "n".repeat(100_000);
        for number in 0..2 * MAX_TOLD {
            assert!(told.is_news(&format!("{number} {long}")));
        }
        assert!(!told.is_news(&format!("{} {long}", 2 * MAX_TOLD - 1)));
        let told = told.0.lock();
        assert!(told.len() <= MAX_TOLD && told.keys().all(|name| name.capacity() <= 2 * MAX_NAME_BYTES));
    }
}
