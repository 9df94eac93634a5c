//! What is acknowledged and still to be written elsewhere: it stands beside the queue, in the same slot, from the
//! acknowledgement on.

use std::collections::{BTreeMap, BTreeSet};

use ::redis::cmd;
use futures::future::try_join_all;
use jiff::Timestamp;

use super::RedisStore;
use super::push::score;
use super::scripts::{HAND_ON, OUTBOX};
use crate::job::reply_of;
use crate::queue::error::QueueError;
use crate::queue::limits::MAX_BATCH_BYTES;
use crate::queue::moves::{HandedOn, Once, OutboxPage, Written};
use crate::queue::push::Push;
use crate::queue::queue_name::QueueName;

/// Entries read at once, as long as they fit into one message.
const READ: usize = 50;

impl RedisStore {
    pub(super) async fn outbox(
        &self,
        queue: &QueueName,
        host: Option<&str>,
        cursor: u64,
    ) -> Result<OutboxPage, QueueError> {
        let of = queue.as_str();
        let mut call = OUTBOX.keys(&[self.keys.outbox(of), self.keys.leases(of)]);
        call.arg(cursor).arg(READ).arg(MAX_BATCH_BYTES);
        call.arg(self.keys.in_flight(of, "")).arg(host.unwrap_or_default());
        // As bytes: that an entry is no text must not keep the others from being read.
        let (next, entries) = self.pool.call(&call).await?;
        Ok(OutboxPage { next, entries })
    }

    /// Pushes jobs of entries, those of one entry all to one place. For those in the outbox's slot, both are one step.
    pub(super) async fn hand_on(&self, queue: &QueueName, handed: &[HandedOn<'_>]) -> Result<Vec<bool>, QueueError> {
        let of = queue.as_str();
        let to = |push: &Push| match push.due_ms {
            None => self.keys.ready(push.queue.as_str()),
            Some(_) => self.keys.delayed(push.queue.as_str()),
        };
        let in_slot = |push: &&Push| !self.split || (push.queue == *queue && push.due_ms.is_none());
        let all = || handed.iter().flat_map(|handed| handed.jobs);
        let elsewhere: Vec<_> = all().filter(|push| !in_slot(push)).cloned().collect();
        self.push(&elsewhere).await?;
        let places: BTreeSet<_> = all().filter(in_slot).map(to).collect();
        let mut keys = vec![self.keys.outbox(of)];
        keys.extend(places.iter().cloned());
        let (mut call, mut bytes) = (HAND_ON.keys(&keys), 0);
        for entry in handed {
            let here = || entry.jobs.iter().filter(in_slot);
            call.arg(entry.entry).arg(entry.len).arg(entry.rest).arg(here().count());
            bytes += entry.entry.len() + entry.rest.len();
            for push in here() {
                let place = 2 + places.iter().take_while(|place| **place != to(push)).count();
                call.arg(place)
                    .arg(push.due_ms.map(|due_ms| score(due_ms).to_string()).unwrap_or_default());
                call.arg(&push.job);
                bytes += push.job.len();
            }
        }
        let done: Vec<bool> = self.pool.call_with(&call, bytes).await?;
        // As in a push.
        self.note_queues(all().filter(in_slot).map(|push| &push.queue))
            .await
            .ok();
        Ok(done)
    }

    pub(super) async fn drop_from_outbox(&self, queue: &QueueName, written: &[Written]) -> Result<(), QueueError> {
        if written.is_empty() {
            return Ok(());
        }
        if self.keeps_results() {
            let results = written.iter().filter_map(|entry| entry.commit.result.as_ref());
            self.keep_elsewhere(results.map(|(id, json)| (id.as_str(), json.as_str())))
                .await?;
        }
        let replies: Vec<_> = written.iter().filter_map(|entry| reply_of(&entry.commit)).collect();
        if let Err(err) = self.reply(&replies).await {
            if err.is_outage() {
                return Err(err);
            }
            let jobs = replies.len();
            tracing::warn!(jobs, %err, "those who wait for jobs could not be told that they have ended");
        }
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
}
