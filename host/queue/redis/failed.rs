//! The failed list in Redis: what operators read of it, and the moves out of it.

use std::collections::{BTreeMap, BTreeSet};

use ::redis::cmd;
use uuid::Uuid;

use super::RedisStore;
use super::scripts::{FAILED_PAGE, PURGE, RETAIN, TAKE_FAILED};
use crate::queue::error::QueueError;
use crate::queue::limits::{MAX_BATCH_BYTES, MAX_ENTRY_BYTES};
use crate::queue::moves::{Arrived, Pick};

impl RedisStore {
    pub(super) async fn failed_len(&self) -> Result<u64, QueueError> {
        self.run(cmd("LLEN").arg(self.keys.failed())).await
    }

    pub(super) async fn failed_dropped(&self) -> Result<u64, QueueError> {
        let dropped: Option<u64> = self.run(cmd("GET").arg(self.keys.dropped())).await?;
        Ok(dropped.unwrap_or(0))
    }

    pub(super) async fn failed(&self, start: u64, count: u64) -> Result<Vec<Arrived>, QueueError> {
        let mut call = FAILED_PAGE.keys(&[self.keys.failed()]);
        call.arg(start).arg(count).arg(MAX_BATCH_BYTES).arg(MAX_ENTRY_BYTES);
        self.pool.call(&call).await
    }

    pub(super) async fn purge_failed(&self, count: u64) -> Result<u64, QueueError> {
        self.pool.call(PURGE.keys(&[self.keys.failed()]).arg(count)).await
    }

    pub(super) async fn retain_failed(&self, count: u64, last: &Arrived) -> Result<u64, QueueError> {
        let mut call = RETAIN.keys(&[self.keys.failed(), self.keys.dropped()]);
        self.pool.call(call.arg(count).arg(&last.bytes).arg(last.len)).await
    }

    /// Takes entries out of the failed list, and tells of each whether it was still there.
    pub(super) async fn take_failed(&self, picks: &[Pick]) -> Result<Vec<bool>, QueueError> {
        let all: Vec<_> = picks.iter().collect();
        if !self.split || picks.iter().all(|pick| pick.job.is_none()) {
            return self.take("take", &all).await;
        }
        let there = self.take("look", &all).await?;
        let (mut jobs, mut found) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
        for pick in all
            .into_iter()
            .zip(&there)
            .filter_map(|(pick, there)| there.then_some(pick))
        {
            found.push(pick);
            if let Some((queue, job)) = &pick.job {
                jobs.entry(queue).or_default().push(job);
            }
        }
        for (queue, jobs) in jobs {
            self.run::<()>(cmd("RPUSH").arg(self.keys.ready(queue.as_str())).arg(jobs))
                .await?;
        }
        if !found.is_empty() {
            self.take("take", &found).await?;
        }
        Ok(there)
    }

    async fn take(&self, how: &str, picks: &[&Pick]) -> Result<Vec<bool>, QueueError> {
        let queues = picks.iter().filter_map(|pick| Some(&pick.job.as_ref()?.0));
        let queues: BTreeSet<_> = queues.filter(|_| !self.split).collect();
        let ready = queues.iter().map(|queue| self.keys.ready(queue.as_str()));
        let keys: Vec<_> = std::iter::once(self.keys.failed()).chain(ready).collect();
        let mut call = TAKE_FAILED.keys(&keys);
        call.arg(how).arg(Uuid::new_v4().to_string());
        for Pick { place, entry, job } in picks {
            call.arg(place).arg(entry.len).arg(&entry.bytes);
            match job.as_ref().filter(|_| !self.split) {
                Some((queue, job)) => call
                    .arg(1 + queues.iter().take_while(|other| **other != queue).count())
                    .arg(job),
                None => call.arg(0).arg(""),
            };
        }
        self.pool.call(&call).await
    }
}
