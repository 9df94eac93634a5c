//! Requests to push: a key for each, for as long as it is remembered.

use std::time::Duration;

use ::redis::cmd;

use super::RedisStore;
use crate::queue::error::QueueError;

impl RedisStore {
    pub(super) async fn begin_request(
        &self,
        name: &str,
        note: &str,
        time: Duration,
    ) -> Result<Option<String>, QueueError> {
        let key = self.keys.request(name);
        let mut set = cmd("SET");
        set.arg(&key).arg(note).arg("NX").arg("PX").arg(ms(time));
        let was_set: Option<String> = self.run(&set).await?;
        if was_set.is_some() {
            return Ok(None);
        }
        // If it ends in between, whoever asks tries again.
        let found: Option<String> = self.run(cmd("GET").arg(key)).await?;
        Ok(Some(found.unwrap_or_default()))
    }

    pub(super) async fn end_request(&self, name: &str, note: &str, time: Duration) -> Result<(), QueueError> {
        let mut set = cmd("SET");
        set.arg(self.keys.request(name)).arg(note).arg("PX").arg(ms(time));
        self.run(&set).await
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
