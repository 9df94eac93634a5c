//! What producers send and what they read: jobs, and the results of completed ones.

use std::collections::BTreeMap;

use ::redis::cmd;

use super::RedisStore;
use super::scripts::PUSH_DELAYED;
use crate::queue::error::QueueError;
use crate::queue::push::Push;

/// Jobs in one command of a push. Bounds how much of a large batch is in memory twice.
const PUSH_JOBS: usize = 1_000;

impl RedisStore {
    pub(super) async fn push(&self, jobs: &[Push]) -> Result<(), QueueError> {
        for jobs in jobs.chunks(PUSH_JOBS) {
            // One command for each key, which keeps the order within a queue. Between queues there is none.
            let (mut ready, mut delayed) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
            for push in jobs {
                let queue = push.queue.as_str();
                match push.due_ms {
                    None => ready.entry(queue).or_default().push(&push.job),
                    Some(due_ms) => delayed.entry(queue).or_default().push((&push.job, score(due_ms))),
                }
            }
            for (queue, jobs) in ready {
                self.run::<()>(cmd("RPUSH").arg(self.keys.ready(queue)).arg(jobs))
                    .await?;
            }
            for (queue, jobs) in delayed {
                let mut call = PUSH_DELAYED.keys(&[self.keys.delayed(queue)]);
                for (job, due) in jobs {
                    call.arg(job).arg(due);
                }
                self.pool.call::<()>(&call).await?;
            }
            // The jobs are pushed. A queue missing from the operators' list is no reason to push them again.
            self.note_queues(jobs.iter().map(|push| &push.queue)).await.ok();
        }
        Ok(())
    }

    pub(super) async fn result(&self, id: &str) -> Result<Option<String>, QueueError> {
        self.run(cmd("GET").arg(self.keys.result(id))).await
    }
}

/// Milliseconds since the Unix epoch as the seconds of a delayed set's score.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact for every date of the next 280,000 years"
)]
pub(super) fn score(due_ms: i64) -> f64 {
    due_ms as f64 / 1000.0
}
