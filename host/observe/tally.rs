//! Counts what this host's jobs and attempts come to, for the sums that all hosts keep in the store.
//!
//! A job costs a few additions to numbers of the thread it runs on. Every few seconds [`Tally::take`] tells how much came
//! since the last time, and the service adds that to the store's sums. A job's name is never counted by: producers make those
//! up, in any number.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::metrics::sharded::Sharded;
use crate::events::{Event, PluginVersion, Run, Subscriber};
use crate::outcome::{Attempt, FailureKind, Fate, Outcome};
use crate::queue::{OTHER, Of, QueueName, Sum, Sums, WAIT_SUMS, sum_names, sums_of};

/// What is counted of a queue's jobs.
const FATES: [&str; 4] = ["done", "failed", "retried", "dropped"];

const KINDS: usize = FailureKind::ALL.len();

/// What is counted of a plugin's attempts: those that completed, those that failed by kind, and what all of them took.
const COMPLETED: usize = KINDS;
const CPU_US: usize = KINDS + 1;
const RAN_US: usize = KINDS + 2;
const OF_PLUGIN: usize = KINDS + 3;

/// Plugins that are counted, on one host. What further ones come to is counted as `_other`.
const MAX_PLUGINS: usize = 1_000;

/// What one host counts.
#[derive(Debug)]
pub struct Tally {
    queues: HashMap<String, OfQueue>,
    /// By the versions' numbers, which are sorted: what each attempt is found by.
    versions: ArcSwap<Vec<(u64, Arc<OfPlugin>)>>,
    plugins: Mutex<BTreeMap<String, Arc<OfPlugin>>>,
    /// How much of each was taken.
    taken: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct OfQueue {
    fates: Sharded<{ FATES.len() }>,
    waits: Sharded<WAIT_SUMS>,
}

#[derive(Debug)]
struct OfPlugin {
    name: String,
    numbers: Sharded<OF_PLUGIN>,
}

impl Tally {
    /// Counts for a host that serves these queues.
    #[must_use]
    pub fn new<'a>(queues: impl IntoIterator<Item = &'a QueueName>) -> Self {
        let queues = queues.into_iter().map(|queue| (queue.to_string(), OfQueue::default()));
        Self {
            queues: queues.collect(),
            versions: ArcSwap::default(),
            plugins: Mutex::default(),
            taken: Mutex::default(),
        }
    }

    /// How much came since this was asked last.
    #[must_use]
    pub fn take(&self) -> Sums {
        let mut taken = self.taken.lock();
        let mut more = Sums::new();
        for (sum, total) in self.totals() {
            let before = taken.entry(sum.clone()).or_default();
            let came = total.wrapping_sub(*before);
            *before = total;
            if came > 0 {
                more.insert(sum, came);
            }
        }
        more
    }

    fn totals(&self) -> Sums {
        let mut totals = Sums::new();
        for (name, numbers) in &self.queues {
            let fates = numbers.fates.totals();
            add(&mut totals, Of::Queue, name, FATES.into_iter().zip(fates));
            let names = sum_names();
            let waits = names.iter().map(String::as_str).zip(numbers.waits.totals());
            add(&mut totals, Of::Wait, name, waits);
        }
        for plugin in self.plugins.lock().values() {
            let kinds = FailureKind::ALL.iter().map(|kind| kind.as_str());
            let names = kinds.chain(["completed", "cpu_us", "ran_us"]);
            add(
                &mut totals,
                Of::Plugin,
                &plugin.name,
                names.zip(plugin.numbers.totals()),
            );
        }
        totals
    }

    fn ended(&self, run: &Run<'_>, attempt: &Attempt) {
        let place = match &attempt.outcome {
            Outcome::Completed { .. } => COMPLETED,
            Outcome::Failed { failure, .. } => failure.kind as usize,
            // It is made again, here or elsewhere.
            Outcome::Stopped => return,
        };
        self.of(run.plugin, |plugin| {
            plugin.numbers.add(place, 1);
            plugin.numbers.add(CPU_US, micros(attempt.report.cpu));
            plugin.numbers.add(RAN_US, micros(attempt.report.duration));
        });
    }

    fn settled(&self, queue: &str, settled: &[(u64, Fate)]) {
        let Some(numbers) = self.queues.get(queue) else { return };
        let mut fates = [0; FATES.len()];
        for (_, fate) in settled {
            match fate {
                Fate::Acked => fates[0] += 1,
                Fate::Failed => fates[1] += 1,
                Fate::Delayed => fates[2] += 1,
                Fate::Dropped => fates[3] += 1,
                Fate::Waiting | Fate::Requeued => {}
            }
        }
        for (place, count) in fates.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            numbers.fates.add(place, count);
        }
    }

    /// Counts how long a job waited. One that does not say when it was due is not counted.
    fn started(&self, run: &Run<'_>) {
        let Some(numbers) = self.queues.get(run.queue) else {
            return;
        };
        let started = run.fetched.elapsed();
        if let Some(waited) = run.waited(started) {
            for (place, more) in sums_of(waited, run.from_lane, started) {
                numbers.waits.add(place, more);
            }
        }
    }

    /// Finds a version's plugin.
    fn of(&self, version: PluginVersion<'_>, count: impl FnOnce(&OfPlugin)) {
        let versions = self.versions.load();
        match versions.binary_search_by_key(&version.number, |(number, _)| *number) {
            Ok(place) => count(&versions[place].1),
            Err(_) => count(&self.add(version)),
        }
    }

    /// Takes up a version that was not seen before.
    fn add(&self, version: PluginVersion<'_>) -> Arc<OfPlugin> {
        let mut plugins = self.plugins.lock();
        let is_full = plugins.len() >= MAX_PLUGINS && !plugins.contains_key(version.name);
        let name = if is_full { OTHER } else { version.name };
        let plugin = plugins.entry(name.to_owned()).or_insert_with(|| {
            let (name, numbers) = (name.to_owned(), Sharded::default());
            Arc::new(OfPlugin { name, numbers })
        });
        let mut versions = Vec::clone(&self.versions.load());
        if let Err(place) = versions.binary_search_by_key(&version.number, |(number, _)| *number) {
            // Of one plugin only the latest few run: older numbers make room.
            versions.insert(place, (version.number, Arc::clone(plugin)));
            let excess = versions.len().saturating_sub(2 * MAX_PLUGINS);
            versions.drain(..excess);
        }
        self.versions.store(Arc::new(versions));
        Arc::clone(plugin)
    }
}

fn add<'a>(totals: &mut Sums, of: Of, name: &str, numbers: impl Iterator<Item = (&'a str, u64)>) {
    for (what, total) in numbers {
        let (name, what) = (name.to_owned(), what.to_owned());
        totals.insert(Sum { of, name, what }, total);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Subscriber for Tally {
    fn on(&self, event: &Event<'_>) {
        match *event {
            Event::Started(run) => self.started(&run),
            Event::Ended { run, attempt } => self.ended(&run, attempt),
            Event::Settled { queue, settled, .. } => self.settled(queue, settled),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_has_the_place_of_its_name() {
        for (place, kind) in FailureKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place, "{kind}");
        }
    }

    #[test]
    fn what_was_taken_is_not_told_again_and_what_is_no_queue_of_this_host_is_not_counted() {
        let mail = QueueName::new("mail").unwrap();
        let tally = Tally::new([&mail]);
        let fates = [
            (1, Fate::Acked),
            (2, Fate::Acked),
            (3, Fate::Delayed),
            (4, Fate::Waiting),
        ];
        for queue in ["mail", "other"] {
            tally.settled(queue, &fates);
        }
        let told = |sums: Sums| {
            let sums = sums
                .into_iter()
                .map(|(sum, more)| (format!("{} {}", sum.name, sum.what), more));
            sums.collect::<Vec<_>>()
        };
        assert_eq!(
            told(tally.take()),
            [("mail done".to_owned(), 2), ("mail retried".to_owned(), 1)]
        );
        assert_eq!(told(tally.take()), []);
        tally.settled("mail", &fates[..1]);
        assert_eq!(told(tally.take()), [("mail done".to_owned(), 1)]);
    }

    #[test]
    fn no_more_plugins_are_counted_than_may_be_and_further_ones_together() {
        let tally = Tally::new([]);
        for number in 0..MAX_PLUGINS as u64 + 2 {
            let name = format!("plugin-{number}");
            let digest = "";
            let version = PluginVersion {
                number,
                name: &name,
                digest,
            };
            tally.of(version, |plugin| plugin.numbers.add(COMPLETED, 1));
        }
        let sums = tally.take();
        let other = sums.iter().find(|(sum, _)| sum.name == OTHER).map(|(_, more)| *more);
        assert_eq!((sums.len(), other), (MAX_PLUGINS + 1, Some(2)));
    }
}
