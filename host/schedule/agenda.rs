//! When what is due, as far as one host knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{job, shifted};
use crate::config::{MAX_SCHEDULES, Overlap};
use crate::plugins::Scheduled;
use crate::queue::{Fired, Firing, Instant, QueueName};

/// The schedules of a host, and what it knows of their last instants.
#[derive(Debug, Default)]
pub struct Agenda {
    entries: BTreeMap<Arc<str>, Entry>,
}

#[derive(Debug)]
struct Entry {
    scheduled: Scheduled,
    queue: QueueName,
    shift: SignedDuration,
    last: Option<Timestamp>,
    /// When to ask the store, by the host's clock; none: never again, as it is.
    due: Option<Timestamp>,
}

impl Agenda {
    /// Takes up these schedules in place of those before. Returns the names of those that are left out: there are more than
    /// [`MAX_SCHEDULES`].
    pub fn plan(&mut self, schedules: Vec<Scheduled>) -> Vec<Arc<str>> {
        let mut before = std::mem::take(&mut self.entries);
        let mut left_out = Vec::new();
        for scheduled in schedules {
            // Read from a manifest, which was checked.
            let Ok(queue) = QueueName::new(scheduled.schedule.queue()) else {
                continue;
            };
            if self.entries.len() == MAX_SCHEDULES {
                left_out.push(scheduled.name);
                continue;
            }
            let known = before.remove(&scheduled.name).filter(|old| old.queue == queue);
            let mut entry = Entry {
                shift: scheduled.schedule.shift(&scheduled.name),
                queue,
                last: known.and_then(|old| old.last),
                due: Some(Timestamp::MIN),
                scheduled,
            };
            entry.plan();
            self.entries.insert(Arc::clone(&entry.scheduled.name), entry);
        }
        left_out
    }

    /// Whether there is nothing to fire, ever.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The queues that the schedules push to.
    pub fn queues(&self) -> impl Iterator<Item = &QueueName> {
        self.entries.values().map(|entry| &entry.queue)
    }

    /// When the store is to be asked next; none: never, as things are.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.entries.values().filter_map(|entry| entry.due).min()
    }

    /// What the store is to be asked now, by queue.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> BTreeMap<QueueName, Vec<Firing>> {
        let mut due = BTreeMap::<_, Vec<_>>::new();
        for entry in self.entries.values() {
            if entry.due.is_some_and(|due| due <= now) {
                due.entry(entry.queue.clone()).or_default().push(entry.firing(now));
            }
        }
        due
    }

    /// The store has answered: its clock shows `at`, while the host's shows `now`. Returns false for a schedule that the store
    /// does not remember, since it has too many.
    pub fn heard(&mut self, firing: &Firing, fired: Fired, at: Timestamp, now: Timestamp) -> bool {
        let Some(entry) = self.entries.get_mut(&*firing.schedule) else {
            return true;
        };
        entry.last = fired.last;
        entry.plan();
        let Some(due) = entry.due else { return true };
        if fired.last.is_none() {
            // Room may be made by hand.
            entry.due = now.saturating_add(FULL_WAIT).ok();
        } else if due <= now {
            // Too early by the store's clock, which decides. Due already by that clock, too: at once.
            let wait = due.duration_since(at).max(SignedDuration::ZERO);
            entry.due = now.saturating_add(wait).ok();
        }
        fired.last.is_some()
    }

    /// A queue's schedules cannot be fired for now: they are asked for again at that time.
    pub fn put_off(&mut self, queue: &QueueName, until: Timestamp) {
        for entry in self.entries.values_mut().filter(|entry| entry.queue == *queue) {
            entry.due = entry.due.map(|due| due.max(until));
        }
    }
}

/// Until a schedule that the store does not remember is offered again.
const FULL_WAIT: SignedDuration = SignedDuration::from_secs(60);

impl Entry {
    fn plan(&mut self) {
        self.due = match self.last {
            None => Some(Timestamp::MIN),
            Some(last) => self
                .scheduled
                .schedule
                .after(last)
                .map(|next| shifted(next, self.shift)),
        };
    }

    fn firing(&self, now: Timestamp) -> Firing {
        let schedule = &self.scheduled.schedule;
        let by_the_schedule = now.saturating_sub(self.shift).unwrap_or(now);
        let passed = self.last.and_then(|last| schedule.passed(last, by_the_schedule));
        let (fired, newest) = passed.map_or((Vec::new(), None), |(fired, newest)| (fired, Some(newest)));
        let instant = |at, wanted: bool| Instant {
            at,
            label: schedule.label(at),
            job: wanted.then(|| job(&self.scheduled.name, &self.scheduled.job, schedule, at, now).encode()),
        };
        let without_job = newest.filter(|newest| fired.last() != Some(newest));
        let mut instants: Vec<_> = fired.into_iter().map(|at| instant(at, true)).collect();
        instants.extend(without_job.map(|at| instant(at, false)));
        Firing {
            schedule: self.scheduled.name.to_string(),
            shift: self.shift,
            skips: schedule.overlap() == Overlap::Skip,
            instants,
        }
    }
}
