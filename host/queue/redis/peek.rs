//! A look at the jobs that a queue holds, for operators.

use super::RedisStore;
use super::scripts::PEEK;
use crate::queue::error::QueueError;
use crate::queue::limits::MAX_BATCH_BYTES;
use crate::queue::moves::{Arrived, PEEK_BYTES, Peeked, Place};
use crate::queue::queue_name::QueueName;

impl RedisStore {
    pub(super) async fn peek(
        &self,
        queue: &QueueName,
        place: Place,
        start: u64,
        count: usize,
    ) -> Result<Vec<Peeked>, QueueError> {
        let queue = queue.as_str();
        let key = match place {
            Place::Ready => self.keys.ready(queue),
            Place::Delayed => self.keys.delayed(queue),
            Place::InFlight => self.keys.leases(queue),
        };
        let mut call = PEEK.keys(&[key]);
        call.arg(place.as_str())
            .arg(start)
            .arg(count)
            .arg(PEEK_BYTES)
            .arg(MAX_BATCH_BYTES)
            .arg(self.keys.in_flight(queue, ""));
        let found: Vec<(Vec<u8>, usize, String)> = self.pool.call(&call).await?;
        let peeked = found.into_iter().map(|(bytes, len, more)| Peeked {
            job: Arrived { bytes, len, sha1: None },
            due_ms: (place == Place::Delayed).then(|| due_ms(&more)).flatten(),
            host: (place == Place::InFlight).then_some(more),
        });
        Ok(peeked.collect())
    }
}

/// The milliseconds of a score, which is in seconds.
#[expect(clippy::cast_possible_truncation, reason = "beyond it, a time is as good as never")]
fn due_ms(score: &str) -> Option<i64> {
    let seconds: f64 = score.parse().ok()?;
    Some((seconds * 1000.0) as i64)
}
