//! Claims of alerts, and when schedules last succeeded, in memory.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::MemoryStore;
use crate::queue::queue_name::QueueName;

impl MemoryStore {
    pub(super) fn claim_alert(&self, alert: &str, lasts: Duration) -> bool {
        let (alerts, now) = (&mut self.state().alerts, Instant::now());
        alerts.retain(|_, until| *until > now);
        if alerts.contains_key(alert) {
            return false;
        }
        alerts.insert(alert.to_owned(), now + lasts);
        true
    }

    pub(super) fn hold_alert(&self, alert: &str, lasts: Duration) {
        if let Some(until) = self.state().alerts.get_mut(alert) {
            *until = Instant::now() + lasts;
        }
    }

    pub(super) fn note_successes(&self, queue: &QueueName, schedules: &[String]) {
        let mut state = self.state();
        let successes = &mut state.queue(queue).successes;
        successes.extend(schedules.iter().map(|schedule| (schedule.clone(), Timestamp::now())));
    }

    pub(super) fn successes(&self, queue: &QueueName, schedules: &[String]) -> Vec<Timestamp> {
        let mut state = self.state();
        let successes = &mut state.queue(queue).successes;
        let last = |schedule: &String| *successes.entry(schedule.clone()).or_insert_with(Timestamp::now);
        schedules.iter().map(last).collect()
    }
}
