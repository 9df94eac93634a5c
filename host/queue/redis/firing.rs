//! The jobs of schedules.

use ::redis::cmd;
use jiff::Timestamp;

use super::RedisStore;
use super::scripts::FIRE;
use crate::queue::error::QueueError;
use crate::queue::firing::{Fired, Firing, MAX_AHEAD, MAX_REMEMBERED_SCHEDULES, MAX_UNENDED};
use crate::queue::moves::millis;
use crate::queue::queue_name::QueueName;

impl RedisStore {
    pub(super) async fn fire(
        &self,
        queue: &QueueName,
        firings: &[Firing],
    ) -> Result<(Timestamp, Vec<Fired>), QueueError> {
        let name = queue.as_str();
        let mut call = FIRE.keys(&[
            self.keys.ready(name),
            self.keys.schedules(name),
            self.keys.unended(name),
        ]);
        call.arg(MAX_REMEMBERED_SCHEDULES)
            .arg(millis(MAX_AHEAD))
            .arg(millis(MAX_UNENDED));
        let mut bytes = 0;
        for firing in firings {
            let shift_ms = i64::try_from(firing.shift.as_millis()).unwrap_or(i64::MAX);
            call.arg(&firing.schedule)
                .arg(shift_ms)
                .arg(u8::from(firing.skips))
                .arg(firing.instants.len());
            for instant in &firing.instants {
                let job = instant.job.as_deref().unwrap_or_default();
                call.arg(instant.at.as_millisecond()).arg(&instant.label).arg(job);
                bytes += job.len();
            }
        }
        let answer: Vec<String> = self.pool.call_with(&call, bytes).await?;
        let (now, fired) = answer.split_first().map_or(("", &[][..]), |(now, rest)| (now, rest));
        let fired: Vec<_> = fired
            .chunks(3)
            .map(|fired| Fired {
                last: instant(&fired[0]),
                jobs: number(fired.get(1)),
                skipped: number(fired.get(2)),
            })
            .collect();
        if fired.iter().any(|fired| fired.jobs > 0) {
            // The jobs are pushed. A queue missing from the operators' list is no fault of theirs.
            self.note_queues([queue]).await.ok();
        }
        Ok((instant(now).unwrap_or_else(Timestamp::now), fired))
    }

    pub(super) async fn last_fired(
        &self,
        queue: &QueueName,
        schedules: &[String],
    ) -> Result<Vec<Option<Timestamp>>, QueueError> {
        if schedules.is_empty() {
            return Ok(Vec::new());
        }
        let mut ask = cmd("HMGET");
        ask.arg(self.keys.schedules(queue.as_str())).arg(schedules);
        let found: Vec<Option<String>> = self.run(&ask).await?;
        let last = |text: String| instant(text.split(' ').next()?);
        Ok(found.into_iter().map(|text| text.and_then(last)).collect())
    }
}

fn number(text: Option<&String>) -> usize {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A time as the scripts have it.
fn instant(ms: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(ms.parse().ok()?).ok()
}
