//! The jobs of schedules, in memory.

use jiff::{SignedDuration, Timestamp};

use super::MemoryStore;
use super::state::{LastInstant, Queue};
use crate::queue::firing::{Fired, Firing, MAX_AHEAD, MAX_REMEMBERED_SCHEDULES, MAX_UNENDED};
use crate::queue::queue_name::QueueName;

impl MemoryStore {
    pub(super) fn fire(&self, queue: &QueueName, firings: &[Firing]) -> (Timestamp, Vec<Fired>) {
        let now = Timestamp::now();
        let mut state = self.state();
        let queue = state.queue(queue);
        let fired = firings.iter().map(|firing| queue.fire(firing, now)).collect();
        self.ready.notify_waiters();
        (now, fired)
    }

    pub(super) fn last_fired(&self, queue: &QueueName, schedules: &[String]) -> Vec<Option<Timestamp>> {
        let mut state = self.state();
        let known = &state.queue(queue).schedules;
        schedules
            .iter()
            .map(|name| known.get(name).map(|last| last.at))
            .collect()
    }
}

impl Queue {
    /// As `fire.lua`.
    fn fire(&mut self, firing: &Firing, now: Timestamp) -> Fired {
        let ahead = SignedDuration::try_from(MAX_AHEAD).unwrap_or(SignedDuration::MAX);
        let known = self.schedules.get(&firing.schedule);
        let is_full = known.is_none() && self.schedules.len() >= MAX_REMEMBERED_SCHEDULES;
        let mut last = match known {
            Some(last) if last.at.duration_since(now) <= ahead => last.clone(),
            _ if is_full => return Fired::default(),
            _ => {
                let at = now.saturating_sub(firing.shift).unwrap_or(now);
                let label = String::new();
                self.schedules
                    .insert(firing.schedule.clone(), LastInstant { at, label });
                return Fired {
                    last: Some(at),
                    ..Fired::default()
                };
            }
        };
        let (mut jobs, mut skipped) = (0, 0);
        for instant in &firing.instants {
            if instant.at.saturating_add(firing.shift).is_ok_and(|due| due > now) {
                break;
            }
            if instant.at <= last.at {
                continue;
            }
            let is_told = instant.label.is_empty() || instant.label != last.label;
            if let Some(job) = instant.job.as_ref().filter(|_| is_told) {
                if firing.skips && self.is_unended(&firing.schedule, now) {
                    skipped += 1;
                } else {
                    self.ready.push_back(job.clone().into_bytes());
                    jobs += 1;
                    if firing.skips {
                        self.unended.insert(firing.schedule.clone(), instant.at);
                    }
                }
            }
            last = LastInstant {
                at: instant.at,
                label: instant.label.clone(),
            };
        }
        let at = last.at;
        self.schedules.insert(firing.schedule.clone(), last);
        let last = Some(at);
        Fired { last, jobs, skipped }
    }

    /// Whether the job of an earlier instant has not ended.
    fn is_unended(&self, schedule: &str, now: Timestamp) -> bool {
        let most = SignedDuration::try_from(MAX_UNENDED).unwrap_or(SignedDuration::MAX);
        let unended = self.unended.get(schedule);
        unended.is_some_and(|at| now.duration_since(*at) < most)
    }
}
