//! Plain Redis commands, Redis' own statistics, and deleting all keys: for benchmarks.

use std::time::Duration;

use ::redis::{Value, cmd};

use super::RedisStore;
use super::dialer::Connection;
use crate::queue::error::QueueError;

/// How long to wait for one job, in seconds.
const WAIT_S: u32 = 1;

/// A connection, and the list it works on.
#[derive(Clone)]
pub(in crate::queue) struct RedisBare {
    connection: Connection,
    list: String,
}

/// What Redis has done since it was started, for all its clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// Commands, those within scripts included.
    pub(crate) commands: u64,
    /// Processor time of the server.
    pub(crate) cpu_us: u64,
}

impl RedisBare {
    pub(in crate::queue) async fn push(&mut self, jobs: &[String]) -> Result<(), QueueError> {
        let mut push = cmd("RPUSH");
        push.arg(&self.list).arg(jobs);
        Ok(push.exec_async(&mut self.connection).await?)
    }

    pub(in crate::queue) async fn pop(&mut self, count: usize) -> Result<usize, QueueError> {
        let mut pop = cmd("LPOP");
        pop.arg(&self.list).arg(count);
        let popped: Option<Vec<Value>> = pop.query_async(&mut self.connection).await?;
        Ok(popped.map_or(0, |popped| popped.len()))
    }

    pub(in crate::queue) async fn wait(&mut self) -> Result<bool, QueueError> {
        let mut pop = cmd("BLPOP");
        pop.arg(&self.list).arg(WAIT_S);
        let popped: Option<Vec<Value>> = pop.query_async(&mut self.connection).await?;
        Ok(popped.is_some())
    }
}

impl RedisStore {
    pub(in crate::queue) async fn bare(&self) -> Result<RedisBare, QueueError> {
        Ok(RedisBare {
            connection: self.pool.dial().await?,
            list: self.keys.bare(),
        })
    }

    pub(in crate::queue) async fn work(&self) -> Result<Option<Work>, QueueError> {
        if self.pool.is_cluster() {
            return Ok(None);
        }
        let info: String = match self.run(cmd("INFO").arg("all")).await {
            Err(QueueError::Redis(err)) if err.code() == Some("NOPERM") => return Ok(None),
            info => info?,
        };
        let calls = |line: &str| {
            line.strip_prefix("cmdstat_")?
                .split_once("calls=")?
                .1
                .split_once(',')?
                .0
                .parse::<u64>()
                .ok()
        };
        let seconds = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
        };
        let cpu = Duration::try_from_secs_f64(seconds("used_cpu_sys") + seconds("used_cpu_user"));
        Ok(Some(Work {
            commands: info.lines().filter_map(calls).sum(),
            cpu_us: u64::try_from(cpu.unwrap_or_default().as_micros()).unwrap_or(u64::MAX),
        }))
    }

    pub(in crate::queue) async fn erase(&self) -> Result<(), QueueError> {
        for node in self.pool.masters().await? {
            let mut cursor = 0_u64;
            loop {
                let (next, keys) = self.scan(&node, cursor, &self.keys.all()).await?;
                let own = keys.iter().filter(|key| self.keys.is_own(key));
                let unlinks: Vec<_> = own.map(|key| cmd("UNLINK").arg(key).take()).collect();
                if !unlinks.is_empty() {
                    self.pool.run_all(unlinks).await?;
                }
                if next == 0 {
                    break;
                }
                cursor = next;
            }
        }
        Ok(())
    }
}
