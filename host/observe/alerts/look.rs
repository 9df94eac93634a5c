//! Looks for what is wrong.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::{AlertSettings, Wrong};
use crate::job::Job;
use crate::observe::vitals::Serving;
use crate::plugins::Scheduled;
use crate::queue::{Place, QueueError, QueueName, Store};
use crate::text;

/// Lengths of the failed list that are remembered.
const MAX_LENGTHS: usize = 1_000;

/// How long the failed list was lately.
#[derive(Debug, Default)]
pub(super) struct Growth(VecDeque<(Instant, u64)>);

impl Growth {
    /// By how much the list has grown within a time, to this length now.
    fn of(&mut self, len: u64, now: Instant, within: Duration) -> u64 {
        self.0.push_back((now, len));
        while self.0.len() > MAX_LENGTHS
            || self
                .0
                .front()
                .is_some_and(|(at, _)| now.saturating_duration_since(*at) > within)
        {
            self.0.pop_front();
        }
        let least = self.0.iter().map(|(_, len)| *len).min();
        len - least.unwrap_or(len)
    }
}

/// Everything that is wrong.
pub(super) async fn look(
    settings: &AlertSettings,
    store: &Store,
    serving: &Serving,
    growth: &mut Growth,
) -> Result<Wrong, QueueError> {
    let mut wrong = Wrong::new();
    if let Some((most, within)) = settings.failed {
        let grown = growth.of(store.failed_len().await?, Instant::now(), within);
        if grown >= most {
            let within = shown(within);
            wrong.insert(
                "failed".to_owned(),
                format!("the failed list grew by {grown} entries within {within}"),
            );
        }
    }
    let now = serving.consumer.now();
    if let Some(most) = settings.oldest {
        for queue in serving.consumer.queues() {
            if let Some(age) = oldest(store, queue, now).await?.filter(|age| *age > most) {
                let text = format!("the next job of queue {queue} has been due for {}", shown(age));
                wrong.insert(format!("oldest:{queue}"), text);
            }
        }
    }
    for plugin in serving.plugins.report(now).plugins {
        let why = plugin.serving.as_ref().and_then(|version| version.aside.as_ref());
        if let Some(why) = why {
            let (name, why) = (text::name(&plugin.name), text::line(why, text::MAX_LINE_BYTES));
            wrong.insert(format!("aside:{name}"), format!("plugin {name} is set aside: {why}"));
        }
    }
    wrong.extend(overdue(store, &serving.plugins.schedules(), now).await?);
    Ok(wrong)
}

/// For how long the next job of a queue has been due; none: there is none, or it does not say.
async fn oldest(store: &Store, queue: &QueueName, now: Timestamp) -> Result<Option<Duration>, QueueError> {
    let first = store.peek(queue, Place::Ready, 0, 1).await?;
    let job = first.first().and_then(|first| Job::decode(&first.job.bytes).ok());
    let due = job.and_then(|job| {
        let created = job.times.created_at.as_deref().and_then(|time| time.parse().ok());
        job.available_at().or(created)
    });
    Ok(due.and_then(|due| Duration::try_from(now.duration_since(due)).ok()))
}

/// The schedules that have had no success within what their manifests expect.
async fn overdue(store: &Store, schedules: &[Scheduled], now: Timestamp) -> Result<Wrong, QueueError> {
    let mut by_queue = BTreeMap::<&str, Vec<(&Scheduled, Duration)>>::new();
    for scheduled in schedules {
        if let Some(expect) = scheduled.schedule.expect() {
            let of_queue = by_queue.entry(scheduled.schedule.queue()).or_default();
            of_queue.push((scheduled, expect));
        }
    }
    let mut wrong = Wrong::new();
    for (queue, expected) in by_queue {
        let Ok(queue) = QueueName::new(queue) else { continue };
        let names: Vec<_> = expected
            .iter()
            .map(|(scheduled, _)| scheduled.name.to_string())
            .collect();
        for ((scheduled, expect), last) in expected.iter().zip(store.successes(&queue, &names).await?) {
            let since = now.duration_since(last);
            if since > SignedDuration::try_from(*expect).unwrap_or(SignedDuration::MAX) {
                let (name, since) = (&scheduled.name, shown(since.unsigned_abs()));
                let text = format!(
                    "schedule {name} has had no success for {since}; one is expected every {}",
                    shown(*expect)
                );
                wrong.insert(format!("schedule:{name}"), text);
            }
        }
    }
    Ok(wrong)
}

/// A length of time as people write it, in whole seconds.
fn shown(time: Duration) -> String {
    let seconds = SignedDuration::from_secs(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    format!("{seconds:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_what_came_since_the_shortest_length_within_the_time() {
        let (mut growth, begin, within) = (Growth::default(), Instant::now(), Duration::from_mins(10));
        let mut at = |minute, len| growth.of(len, begin + Duration::from_mins(minute), within);
        assert_eq!(at(0, 500), 0, "what was there before is not news");
        assert_eq!(at(1, 530), 30);
        assert_eq!(at(2, 100), 0, "somebody put most of it back");
        assert_eq!(at(3, 130), 30);
        assert_eq!(at(11, 150), 50);
        assert_eq!(at(13, 150), 20, "what is longer ago than that does not count");
        assert_eq!(at(40, 150), 0);
    }
}
