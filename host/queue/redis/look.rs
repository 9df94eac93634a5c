//! What operators ask of the store in Redis.

use std::collections::BTreeMap;

use ::redis::cmd;

use super::RedisStore;
use super::scripts::COUNTS;
use crate::queue::counts::{Counts, HostState};
use crate::queue::error::QueueError;
use crate::queue::orders::Pause;
use crate::queue::queue_name::QueueName;

/// Ready, delayed, the hosts, the lanes, who paused the queue.
type Counted = (u64, u64, Vec<(String, i64, u64)>, Vec<(String, u64)>, String);

impl RedisStore {
    pub(super) async fn counts(&self, queue: &QueueName) -> Result<Counts, QueueError> {
        let queue = queue.as_str();
        let set = self.keys.delayed(queue);
        let mut keys = vec![
            self.keys.ready(queue),
            self.keys.leases(queue),
            self.keys.lanes(queue),
            self.keys.orders(queue),
        ];
        if !self.split {
            keys.push(set.clone());
        }
        let mut call = COUNTS.keys(&keys);
        call.arg(self.keys.in_flight(queue, ""))
            .arg(self.keys.waiting(queue, ""))
            .arg(self.keys.groups(queue));
        // A set in another slot is counted before and after the rest. So a job that is moved meanwhile is counted at
        // least once, unless it both comes and goes.
        let elsewhere = async || -> Result<u64, QueueError> {
            if self.split {
                self.run(cmd("ZCARD").arg(&set)).await
            } else {
                Ok(0)
            }
        };
        let before = elsewhere().await?;
        let (ready, delayed, hosts, lanes, paused): Counted = self.pool.call(&call).await?;
        let lanes: BTreeMap<_, _> = lanes.into_iter().collect();
        let delayed = delayed + before.max(elsewhere().await?);
        let hosts: BTreeMap<_, _> = hosts
            .into_iter()
            .map(|(host, lease_left_ms, in_flight)| {
                (
                    host,
                    HostState {
                        lease_left_ms,
                        in_flight,
                    },
                )
            })
            .collect();
        Ok(Counts {
            ready,
            waiting: lanes.values().sum(),
            lanes,
            delayed,
            in_flight: hosts.values().map(|host| host.in_flight).sum(),
            hosts,
            paused: Some(paused)
                .filter(|text| !text.is_empty())
                .map(|text| Pause::read(&text)),
        })
    }

    /// Why the store takes no jobs although it answers, in words; none if it takes them.
    pub(super) async fn trouble(&self) -> Result<Option<String>, QueueError> {
        if self.pool.is_cluster() {
            let info: String = self.run(cmd("CLUSTER").arg("INFO")).await?;
            let ok = info.lines().any(|line| line == "cluster_state:ok");
            return Ok((!ok).then(|| "the Cluster is down: not every slot is served".to_owned()));
        }
        let info: String = match self.run(&cmd("INFO")).await {
            // This user may not be allowed to ask.
            Err(QueueError::Redis(err)) if err.code() == Some("NOPERM") => return Ok(None),
            info => info?,
        };
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = |name: &str| field(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
        if field("role") == Some("slave") {
            return Ok(Some("it is a replica and takes no writes".to_owned()));
        }
        let (used, limit) = (number("used_memory"), number("maxmemory"));
        let full = limit > 0 && used >= limit;
        Ok(full.then(|| format!("it is out of memory: {used} of {limit} bytes are used")))
    }

    /// Whether Redis may throw jobs away to make room, in words; none if it does not, or cannot be asked.
    pub(super) async fn evicts(&self) -> Result<Option<String>, QueueError> {
        if self.pool.is_cluster() {
            return Ok(None);
        }
        let info: String = match self.run(cmd("INFO").arg("memory")).await {
            Err(QueueError::Redis(err)) if err.code() == Some("NOPERM") => return Ok(None),
            info => info?,
        };
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        // Without a limit on its memory, Redis never evicts. The policies not listed spare keys that do not expire.
        let bounded = field("maxmemory").is_some_and(|bytes| bytes != "0");
        let evicting = field("maxmemory_policy").filter(|policy| bounded && policy.starts_with("allkeys"));
        Ok(evicting.map(|policy| format!("maxmemory-policy is {policy}: jobs may be evicted; set it to noeviction")))
    }
}
