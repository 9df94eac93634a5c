//! Jobs, read where they lie.

use super::RedisStore;
use super::scripts::JOBS_PAGE;
use crate::queue::error::QueueError;
use crate::queue::limits::{LOOKED_AT, LOOKED_AT_BYTES, MAX_BATCH_BYTES};
use crate::queue::moves::{Arrived, JobsPage, Part, Seen};
use crate::queue::queue_name::QueueName;

impl RedisStore {
    pub(super) async fn jobs(
        &self,
        queue: &QueueName,
        part: &Part,
        from: Option<&str>,
    ) -> Result<JobsPage, QueueError> {
        let queue = queue.as_str();
        let (kind, key) = match part {
            Part::Ready => ("list", self.keys.ready(queue)),
            Part::Lane(lane) => match (lane.limited(), lane.caps()) {
                (Some(stem), Some(caps)) => ("list", self.keys.limited(queue, stem, caps)),
                _ => ("list", self.keys.waiting(queue, lane.as_str())),
            },
            Part::Delayed => ("set", self.keys.delayed(queue)),
            Part::InFlight(host) => ("table", self.keys.in_flight(queue, host)),
        };
        let mut call = JOBS_PAGE.keys(&[key]);
        call.arg(kind)
            .arg(from.unwrap_or_default())
            .arg(LOOKED_AT)
            .arg(MAX_BATCH_BYTES)
            .arg(LOOKED_AT_BYTES);
        let (next, jobs, due): (String, Vec<Arrived>, Vec<f64>) = self.pool.call(&call).await?;
        let due = due.into_iter().map(|due_s| Some(millis_of(due_s)));
        let seen = jobs.into_iter().zip(due.chain(std::iter::repeat(None)));
        Ok(JobsPage {
            jobs: seen.map(|(job, due_ms)| Seen { job, due_ms }).collect(),
            next: Some(next).filter(|next| !next.is_empty()),
        })
    }
}

/// A score of Unix seconds in milliseconds.
#[expect(
    clippy::cast_possible_truncation,
    reason = "beyond the range, the nearest number will do"
)]
pub(super) fn millis_of(due_s: f64) -> i64 {
    (due_s * 1000.0) as i64
}
