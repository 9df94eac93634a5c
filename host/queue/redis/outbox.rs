//! What is acknowledged and still to be written elsewhere: it stands beside the queue, in the same slot, from the
//! acknowledgement on.

use std::collections::BTreeMap;

use ::redis::cmd;
use futures::future::try_join_all;
use jiff::Timestamp;

use super::RedisStore;
use crate::queue::error::QueueError;
use crate::queue::moves::{Once, OutboxPage, Written, millis};
use crate::queue::queue_name::QueueName;

/// Entries read at once. Each may be as large as a plugin's limit allows.
const READ: usize = 50;

impl RedisStore {
    pub(super) async fn outbox(&self, queue: &QueueName, cursor: u64) -> Result<OutboxPage, QueueError> {
        let mut scan = cmd("HSCAN");
        scan.arg(self.keys.outbox(queue.as_str()))
            .arg(cursor)
            .arg("COUNT")
            .arg(READ);
        // As bytes: that an entry is no text must not keep the others from being read.
        let (next, entries) = self.run(&scan).await?;
        Ok(OutboxPage { next, entries })
    }

    pub(super) async fn drop_from_outbox(&self, queue: &QueueName, written: &[Written]) -> Result<(), QueueError> {
        if written.is_empty() {
            return Ok(());
        }
        let results = written.iter().filter_map(|entry| entry.commit.result.as_ref());
        try_join_all(results.map(|(id, json)| self.keep_result(id, json))).await?;
        let mut delete = cmd("HDEL");
        delete.arg(self.keys.outbox(queue.as_str()));
        for entry in written {
            delete.arg(&entry.name);
        }
        self.run::<()>(&delete).await?;
        // Until now the buckets remembered these entries for good.
        let now_ms = Timestamp::now().as_millisecond();
        let mut buckets = BTreeMap::<_, Vec<String>>::new();
        for entry in written {
            for write in &entry.commit.writes {
                let once = Once {
                    queue,
                    entry: &entry.name,
                };
                buckets.entry(&write.bucket).or_default().push(once.to_string());
            }
        }
        let forgets = buckets.into_iter().map(async |(bucket, names)| {
            let mut add = cmd("ZADD");
            add.arg(self.keys.bucket(bucket).done).arg("XX");
            for name in names {
                add.arg(now_ms).arg(name);
            }
            self.run::<()>(&add).await
        });
        try_join_all(forgets).await?;
        Ok(())
    }

    async fn keep_result(&self, id: &str, json: &str) -> Result<(), QueueError> {
        if !self.keeps_results() {
            return Ok(());
        }
        let mut set = cmd("SET");
        set.arg(self.keys.result(id)).arg(json);
        match self.run::<()>(set.arg("PX").arg(millis(self.result_ttl))).await {
            Err(err) if err.is_outage() => Err(err),
            // Only the result is lost by this.
            Err(err) => {
                self.unkept.note(1, &err.to_string());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}
