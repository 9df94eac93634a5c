//! Outboxes: writes that an acknowledged job asked for. They are kept beside the queue, in the same slot, from the
//! acknowledgement until they are carried out.

use ::redis::cmd;

use super::RedisStore;
use crate::queue::error::QueueError;
use crate::queue::moves::millis;
use crate::queue::queue_name::QueueName;

/// Entries read at once. Each may be as large as a plugin's limit allows.
const READ: usize = 10;

impl RedisStore {
    pub(super) async fn outbox(&self, queue: &QueueName) -> Result<Vec<(String, String)>, QueueError> {
        let key = self.keys.outbox(queue.as_str());
        let mut cursor = 0_u64;
        loop {
            let mut scan = cmd("HSCAN");
            scan.arg(&key).arg(cursor).arg("COUNT").arg(READ);
            let (next, entries): (u64, Vec<(String, String)>) = self.run(&scan).await?;
            // A step of the scan may return nothing before the end.
            if !entries.is_empty() || next == 0 {
                return Ok(entries);
            }
            cursor = next;
        }
    }

    pub(super) async fn drop_from_outbox(
        &self,
        queue: &QueueName,
        entry: &str,
        result: Option<(&str, &str)>,
    ) -> Result<(), QueueError> {
        if let Some((id, json)) = result.filter(|_| self.keeps_results()) {
            let mut set = cmd("SET");
            set.arg(self.keys.result(id)).arg(json);
            let kept = self.run::<()>(set.arg("PX").arg(millis(self.result_ttl))).await;
            // A failure here costs only the result.
            if let Err(err) = kept {
                self.unkept.note(1, &err.to_string());
            }
        }
        self.run(cmd("HDEL").arg(self.keys.outbox(queue.as_str())).arg(entry))
            .await
    }
}
