//! Whether a job may start now, and if not, where it waits and until when.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::config::{HOLD_DEFAULT, Unknown};
use crate::job::Job;
use crate::outcome::{Failure, FailureKind, Lane};
use crate::plugins::{Plugin, Plugins, Resolved};
use crate::queue::{Consumer, Delivery};
use crate::sandbox::PluginPermit;
use crate::text;

/// How long a job from a lane is delayed if it cannot start after all. Two hosts may disagree about which lane it
/// belongs to; this limits how fast they pass it back and forth.
const DISAGREEMENT_WAIT: Duration = Duration::from_secs(1);

/// Least time between two log lines about held jobs of one name.
const TELL_AGAIN: Duration = Duration::from_mins(1);

/// Most names of held jobs that are remembered. Names come from producers, in any number.
const MAX_TOLD: usize = 1_000;

/// What is decided about a job before it runs.
#[derive(Debug)]
pub(super) enum Admission {
    /// It starts now, on this plugin.
    Start(Arc<Plugin>, PluginPermit),
    /// It waits in this lane until a host has room for its plugin.
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

/// Decides about each job.
#[derive(Debug)]
pub(super) struct Gate {
    consumer: Arc<Consumer>,
    plugins: Arc<Plugins>,
    unknown: Unknown,
    told: Told,
}

impl Gate {
    pub(super) fn new(consumer: Arc<Consumer>, plugins: Arc<Plugins>, unknown: Unknown) -> Self {
        Self {
            consumer,
            plugins,
            unknown,
            told: Told::default(),
        }
    }

    /// Decides about a delivery's job. For a job from a lane, a permit has usually been reserved.
    pub(super) fn admit(&self, job: &Job, delivery: &Delivery, reserved: Option<Reserved>) -> Admission {
        let queue = delivery.queue().as_str();
        if let Some(until) = job.is_early(|| self.consumer.now()) {
            return Admission::Until(until);
        }
        let lane = match self.plugins.resolve(&job.name) {
            Resolved::Plugin(plugin) => {
                let permit = if self.would_overtake(delivery, &plugin) {
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

    /// Whether earlier jobs already wait for this plugin in its lane.
    fn would_overtake(&self, delivery: &Delivery, plugin: &Plugin) -> bool {
        let lane = || Lane::of_plugin(plugin.handler.name());
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
    fn tell(&self, job: &Job, queue: &str, why: &str, what: &'static str) {
        if self.told.is_news(&job.name) {
            let (id, name) = (&*text::name(&job.id), &*text::name(&job.name));
            tracing::warn!(id, name, queue, why, "{what}");
        }
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
