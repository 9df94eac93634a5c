//! Promotions: delayed → ready.

use std::time::Duration;

use ::redis::{FromRedisValue, ParsingError, Value, cmd};
use jiff::Timestamp;

use super::RedisStore;
use super::scripts::{CLAIM_DUE, DROP_CLAIMED, PROMOTE};
use crate::job::{DecodeError, KEPT_BYTES, wrap_partial};
use crate::queue::error::QueueError;
use crate::queue::limits::{MAX_BATCH, MAX_BATCH_BYTES, MAX_TAKEN_BYTES};
use crate::queue::moves::Arrived;
use crate::queue::queue_name::QueueName;

/// How long a promotion to another slot keeps its claim on a job before another host may try. Far longer than a
/// promotion takes.
const PROMOTION_CLAIM: Duration = Duration::from_secs(10);

impl RedisStore {
    pub(super) async fn wait_due(&self, queues: &[QueueName]) -> Result<Vec<QueueName>, QueueError> {
        let sets: Vec<_> = queues.iter().map(|queue| self.keys.delayed(queue.as_str())).collect();
        let due = self.key_watch.due(&sets).await?;
        Ok(due.into_iter().map(|at| queues[at].clone()).collect())
    }

    /// Moves due jobs to ready and returns how many.
    pub(super) async fn promote(&self, queue: &QueueName) -> Result<usize, QueueError> {
        let (delayed, ready) = (self.keys.delayed(queue.as_str()), self.keys.ready(queue.as_str()));
        if self.split {
            return self.promote_across(queue, &delayed, &ready).await;
        }
        self.pool
            .call(PROMOTE.keys(&[delayed, ready]).arg(MAX_BATCH).arg(MAX_BATCH_BYTES))
            .await
    }

    /// Moves due jobs to a ready list in another slot, in three steps.
    async fn promote_across(&self, queue: &QueueName, delayed: &String, ready: &str) -> Result<usize, QueueError> {
        let delayed = std::slice::from_ref(delayed);
        let mut call = CLAIM_DUE.keys(delayed);
        call.arg(MAX_BATCH).arg(MAX_BATCH_BYTES).arg(PROMOTION_CLAIM.as_secs());
        call.arg(MAX_TAKEN_BYTES).arg(KEPT_BYTES);
        let Claimed { claim, jobs, too_large } = self.pool.call(&call).await?;
        if let Some(Arrived { bytes, len, sha1 }) = too_large {
            let err = DecodeError::TooLarge { len };
            tracing::warn!(%queue, bytes = len, %err, "malformed job");
            let entry = wrap_partial(&bytes, len, sha1, queue.as_str(), &err, Timestamp::now());
            self.run::<()>(cmd("RPUSH").arg(self.keys.failed()).arg(entry)).await?;
            self.run::<()>(cmd("ZREMRANGEBYSCORE").arg(delayed).arg(&claim).arg(&claim))
                .await?;
            return Ok(1);
        }
        if !jobs.is_empty() {
            self.run::<()>(cmd("RPUSH").arg(ready).arg(&jobs)).await?;
            self.pool
                .call::<()>(DROP_CLAIMED.keys(delayed).arg(claim).arg(&jobs))
                .await?;
        }
        Ok(jobs.len())
    }
}

/// What a promotion to another slot has claimed.
struct Claimed {
    claim: String,
    jobs: Vec<Vec<u8>>,
    /// A job too large for any host. It is claimed alone.
    too_large: Option<Arrived>,
}

impl FromRedisValue for Claimed {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let mut parts = Vec::<Value>::from_redis_value(value)?.into_iter();
        let mut part = || parts.next().unwrap_or(Value::Nil);
        Ok(Self {
            claim: FromRedisValue::from_redis_value(part())?,
            jobs: FromRedisValue::from_redis_value(part())?,
            too_large: FromRedisValue::from_redis_value(part())?,
        })
    }
}
