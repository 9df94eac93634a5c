//! Reports of hosts about themselves, for operators: a key for each, and a list of the hosts.

use ::redis::cmd;

use super::RedisStore;
use crate::queue::error::QueueError;

/// Seconds that a report is kept: a few times as long as a host takes to make the next.
const KEPT_S: u64 = 30;

/// Seconds for which a request to release a plugin stands.
const ASKED_S: u64 = 60;

impl RedisStore {
    pub(super) async fn publish(&self, host: &str, report: &str) -> Result<Option<String>, QueueError> {
        let (hosts, now_s) = (self.keys.hosts(), jiff::Timestamp::now().as_second());
        let mut set = cmd("SET");
        set.arg(self.keys.host(host))
            .arg(report)
            .arg("EX")
            .arg(KEPT_S)
            .arg("GET");
        let before: Option<String> = self.run(&set).await?;
        self.run::<()>(cmd("ZADD").arg(&hosts).arg(now_s).arg(host)).await?;
        // A dead host does not remove its name, so old names are removed here.
        let long_ago = now_s.saturating_sub_unsigned(2 * KEPT_S);
        self.run::<()>(cmd("ZREMRANGEBYSCORE").arg(hosts).arg("-inf").arg(long_ago))
            .await?;
        Ok(before)
    }

    pub(super) async fn amend(&self, host: &str, report: &str) -> Result<bool, QueueError> {
        let mut set = cmd("SET");
        set.arg(self.keys.host(host)).arg(report).arg("XX").arg("KEEPTTL");
        let set: Option<String> = self.run(&set).await?;
        Ok(set.is_some())
    }

    pub(super) async fn withdraw(&self, host: &str) -> Result<(), QueueError> {
        self.run::<()>(cmd("ZREM").arg(self.keys.hosts()).arg(host)).await?;
        self.run(cmd("DEL").arg(self.keys.host(host))).await
    }

    pub(super) async fn reports(&self) -> Result<Vec<(String, String)>, QueueError> {
        let hosts: Vec<String> = self.run(cmd("ZRANGE").arg(self.keys.hosts()).arg(0).arg(-1)).await?;
        let mut reports = Vec::with_capacity(hosts.len());
        for host in hosts {
            let report: Option<String> = self.run(cmd("GET").arg(self.keys.host(&host))).await?;
            reports.extend(report.map(|report| (host, report)));
        }
        Ok(reports)
    }

    pub(super) async fn ask_release(&self, plugin: &str, token: &str) -> Result<(), QueueError> {
        self.run(
            cmd("SET")
                .arg(self.keys.release(plugin))
                .arg(token)
                .arg("EX")
                .arg(ASKED_S),
        )
        .await
    }

    pub(super) async fn release_asked(&self, plugin: &str) -> Result<Option<String>, QueueError> {
        self.run(cmd("GET").arg(self.keys.release(plugin))).await
    }
}
