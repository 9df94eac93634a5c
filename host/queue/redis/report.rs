//! Reports of hosts about themselves, for operators: a key for each, and a list of the hosts.

use std::collections::HashMap;

use ::redis::cmd;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::RedisStore;
use crate::queue::error::QueueError;
use crate::queue::moves::Reported;

/// Seconds that a report is kept: a few times as long as a host takes to make the next.
const KEPT_S: u64 = 30;

/// Reports read at once, over connections that other commands share.
const AT_ONCE: usize = 8;

/// Seconds for which a request to release a plugin stands.
const ASKED_S: u64 = 60;

impl RedisStore {
    pub(super) async fn publish(&self, host: &str, report: &str) -> Result<Option<String>, QueueError> {
        let (hosts, now) = (self.keys.hosts(), jiff::Timestamp::now());
        let mut set = cmd("SET");
        set.arg(self.keys.host(host))
            .arg(report)
            .arg("EX")
            .arg(KEPT_S)
            .arg("GET");
        let before: Option<String> = self.run(&set).await?;
        self.run::<()>(cmd("ZADD").arg(&hosts).arg(score(now)).arg(host))
            .await?;
        // A dead host does not remove its name, so old names are removed here.
        let long_ago = now.as_second().saturating_sub_unsigned(2 * KEPT_S);
        self.run::<()>(cmd("ZREMRANGEBYSCORE").arg(hosts).arg("-inf").arg(long_ago))
            .await?;
        Ok(before)
    }

    pub(super) async fn amend(&self, host: &str, report: &str) -> Result<bool, QueueError> {
        let mut set = cmd("SET");
        set.arg(self.keys.host(host)).arg(report).arg("XX").arg("KEEPTTL");
        let set: Option<String> = self.run(&set).await?;
        // Whoever has read the report before reads it again.
        let now = score(jiff::Timestamp::now());
        self.run::<()>(cmd("ZADD").arg(self.keys.hosts()).arg("XX").arg(now).arg(host))
            .await?;
        Ok(set.is_some())
    }

    pub(super) async fn withdraw(&self, host: &str) -> Result<(), QueueError> {
        self.run::<()>(cmd("ZREM").arg(self.keys.hosts()).arg(host)).await?;
        self.run(cmd("DEL").arg(self.keys.host(host))).await
    }

    pub(super) async fn report(&self, host: &str) -> Result<Option<String>, QueueError> {
        self.run(cmd("GET").arg(self.keys.host(host))).await
    }

    pub(super) async fn reports(&self, known: &HashMap<String, String>) -> Result<Vec<Reported>, QueueError> {
        let mut list = cmd("ZRANGE");
        list.arg(self.keys.hosts()).arg(0).arg(-1).arg("WITHSCORES");
        let hosts: Vec<(String, String)> = self.run(&list).await?;
        let read = |(host, stamp): (String, String)| async move {
            if known.get(&host) == Some(&stamp) {
                return Ok(Some(Reported {
                    host,
                    stamp,
                    text: None,
                }));
            }
            let text = self.report(&host).await?;
            Ok::<_, QueueError>(text.map(|text| Reported {
                host,
                stamp,
                text: Some(text),
            }))
        };
        let reading = stream::iter(hosts.into_iter().map(read)).buffered(AT_ONCE);
        Ok(reading.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    pub(super) async fn keep_catalogue(&self, name: &str, text: &str) -> Result<(), QueueError> {
        let key = self.keys.catalogue(name);
        let is_kept: bool = self.run(cmd("EXPIRE").arg(&key).arg(2 * KEPT_S)).await?;
        if is_kept {
            return Ok(());
        }
        self.run(cmd("SET").arg(key).arg(text).arg("EX").arg(2 * KEPT_S)).await
    }

    pub(super) async fn catalogue(&self, name: &str) -> Result<Option<String>, QueueError> {
        self.run(cmd("GET").arg(self.keys.catalogue(name))).await
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

/// When a report came, as its place in the list of hosts: in seconds, to the millisecond.
fn score(time: jiff::Timestamp) -> String {
    let ms = time.as_millisecond();
    format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000))
}
