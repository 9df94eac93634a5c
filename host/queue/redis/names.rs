//! Which queues there are. Redis has no list of them: a queue exists as soon as somebody pushes to it. So hosts and
//! pushes record the queues that they know, and only queues of other producers have to be searched for among all keys.

use std::collections::BTreeSet;

use ::redis::cmd;

use super::RedisStore;
use crate::queue::error::QueueError;
use crate::queue::moves::{Found, Search};
use crate::queue::queue_name::QueueName;

/// Keys looked at in one step of a scan.
const SCAN_STEP: usize = 1_000;

/// Steps of a brief search on each server: some ten milliseconds of Redis' time.
const BRIEF_STEPS: usize = 10;

/// How long a queue stays recorded after Kiln last served it or pushed to it.
const KNOWN_S: i64 = 30 * 24 * 3600;

impl RedisStore {
    pub(super) async fn note_queues<'q>(
        &self,
        queues: impl IntoIterator<Item = &'q QueueName>,
    ) -> Result<(), QueueError> {
        let new = queues.into_iter().filter(|queue| !self.noted.is_granted(queue));
        let new: BTreeSet<_> = new.collect();
        if new.is_empty() {
            return Ok(());
        }
        let (key, now_s) = (self.keys.queue_names(), jiff::Timestamp::now().as_second());
        let mut add = cmd("ZADD");
        add.arg(&key);
        for queue in &new {
            add.arg(now_s).arg(queue.as_str());
        }
        self.run::<()>(&add).await?;
        self.run::<()>(
            cmd("ZREMRANGEBYSCORE")
                .arg(&key)
                .arg("-inf")
                .arg(now_s.saturating_sub(KNOWN_S)),
        )
        .await?;
        self.noted.grant(new);
        Ok(())
    }

    pub(super) async fn queues(&self, search: Search) -> Result<Found, QueueError> {
        let names: Vec<String> = self
            .run(cmd("ZRANGE").arg(self.keys.queue_names()).arg(0).arg(-1))
            .await?;
        let mut queues: BTreeSet<_> = names.iter().filter_map(|name| QueueName::new(name).ok()).collect();
        let steps = match search {
            Search::Brief => BRIEF_STEPS,
            Search::Whole => usize::MAX,
        };
        let mut all = true;
        for node in self.pool.masters().await? {
            all &= self.find_queues(&node, steps, &mut queues).await?;
        }
        if search == Search::Whole {
            // Only saves the next caller a search, so a failure is ignored: this user may be one that may only read.
            self.note_queues(&queues).await.ok();
        }
        let queues = queues.into_iter().collect();
        Ok(Found { queues, all })
    }

    /// Searches the keys of one server, and returns whether all were seen.
    async fn find_queues(&self, node: &str, steps: usize, found: &mut BTreeSet<QueueName>) -> Result<bool, QueueError> {
        let mut cursor = 0;
        for _ in 0..steps {
            let (next, keys) = self.scan(node, cursor, &self.keys.all_queues()).await?;
            let queues = keys.iter().filter_map(|key| self.keys.queue_of(key));
            found.extend(queues.filter_map(|queue| QueueName::new(queue).ok()));
            if next == 0 {
                return Ok(true);
            }
            cursor = next;
        }
        Ok(false)
    }

    /// One step of a scan of a server's keys: where to go on, and the keys found that match.
    pub(super) async fn scan(&self, node: &str, cursor: u64, pattern: &str) -> Result<(u64, Vec<String>), QueueError> {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_STEP);
        self.pool.run_at(node, scan).await
    }
}
