//! Claims of alerts, and when schedules last succeeded.

use std::time::Duration;

use ::redis::cmd;
use jiff::Timestamp;

use super::RedisStore;
use super::scripts::{SUCCEEDED, SUCCESSES};
use crate::queue::error::QueueError;
use crate::queue::firing::MAX_REMEMBERED_SCHEDULES;
use crate::queue::moves::millis;
use crate::queue::queue_name::QueueName;

impl RedisStore {
    pub(super) async fn claim_alert(&self, alert: &str, lasts: Duration) -> Result<bool, QueueError> {
        let mut set = cmd("SET");
        set.arg(self.keys.alert(alert))
            .arg(1)
            .arg("NX")
            .arg("PX")
            .arg(millis(lasts).max(1));
        let claimed: Option<String> = self.run(&set).await?;
        Ok(claimed.is_some())
    }

    pub(super) async fn hold_alert(&self, alert: &str, lasts: Duration) -> Result<(), QueueError> {
        self.run(cmd("PEXPIRE").arg(self.keys.alert(alert)).arg(millis(lasts)))
            .await
    }

    pub(super) async fn note_successes(&self, queue: &QueueName, schedules: &[String]) -> Result<(), QueueError> {
        let mut call = SUCCEEDED.keys(&[self.keys.successes(queue.as_str())]);
        self.pool.call(call.arg(MAX_REMEMBERED_SCHEDULES).arg(schedules)).await
    }

    pub(super) async fn successes(
        &self,
        queue: &QueueName,
        schedules: &[String],
    ) -> Result<Vec<Timestamp>, QueueError> {
        let mut call = SUCCESSES.keys(&[self.keys.successes(queue.as_str())]);
        let last: Vec<i64> = self
            .pool
            .call(call.arg(MAX_REMEMBERED_SCHEDULES).arg(schedules))
            .await?;
        let last = last
            .into_iter()
            .map(|ms| Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MIN));
        Ok(last.collect())
    }
}
