//! The marks of cancelled jobs: two sorted sets beside each queue. Their version is a field of its orders, which hosts watch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::RedisStore;
use super::scripts::{CANCEL, CANCELLED, UNCANCEL};
use crate::queue::cancels::{Cancels, MAX_CANCELLED};
use crate::queue::error::QueueError;
use crate::queue::moves::millis;
use crate::queue::queue_name::QueueName;

impl RedisStore {
    pub(super) async fn cancel(
        &self,
        queue: &QueueName,
        ids: &[String],
        lasts: Duration,
    ) -> Result<Vec<bool>, QueueError> {
        let once: BTreeSet<_> = ids.iter().map(String::as_str).collect();
        let mut call = CANCEL.keys(&self.cancel_keys(queue));
        call.arg(MAX_CANCELLED).arg(millis(lasts)).arg(&once);
        let were: Option<Vec<bool>> = self.pool.call(&call).await?;
        let Some(were) = were else {
            return Err(QueueError::Full {
                most: MAX_CANCELLED,
                what: "cancelled jobs in this queue",
            });
        };
        Ok(in_the_order_of(ids, &once, &were))
    }

    pub(super) async fn uncancel(&self, queue: &QueueName, ids: &[String]) -> Result<Vec<bool>, QueueError> {
        let once: BTreeSet<_> = ids.iter().map(String::as_str).collect();
        let were: Vec<bool> = self
            .pool
            .call(UNCANCEL.keys(&self.cancel_keys(queue)).arg(&once))
            .await?;
        Ok(in_the_order_of(ids, &once, &were))
    }

    pub(super) async fn cancelled(&self, queue: &QueueName, since: u64) -> Result<Cancels, QueueError> {
        let (version, all, marks): (u64, bool, Vec<(String, f64)>) = self
            .pool
            .call(CANCELLED.keys(&self.cancel_keys(queue)).arg(since))
            .await?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "milliseconds of the next thousands of years"
        )]
        let marks = marks.into_iter().map(|(id, ends)| (id, ends as i64));
        Ok(Cancels {
            version,
            all,
            marks: marks.collect(),
        })
    }

    fn cancel_keys(&self, queue: &QueueName) -> [String; 3] {
        let queue = queue.as_str();
        [
            self.keys.cancelled(queue),
            self.keys.cancelled_until(queue),
            self.keys.orders(queue),
        ]
    }
}

/// What was answered of each id, of which some may be equal.
fn in_the_order_of(ids: &[String], once: &BTreeSet<&str>, were: &[bool]) -> Vec<bool> {
    let answers: BTreeMap<_, _> = once.iter().zip(were).collect();
    let was = |id: &String| answers.get(&id.as_str()).is_some_and(|was| **was);
    ids.iter().map(was).collect()
}
