//! What the scripts in `host/queue/redis/scripts` hold to that no host can be brought to ask of them at will: questions asked
//! twice, small bounds, keys of the wrong type, a clock that stands.

mod failed;
mod lanes;
mod lists;
mod tables;

use redis::{FromRedisValue, Value};

use crate::servers::Server;
use crate::support::shared_redis;

const FETCH: &str = include_str!("../../host/queue/redis/scripts/fetch.lua");
const SETTLE: &str = concat!(
    include_str!("../../host/queue/redis/scripts/queue_up.lua"),
    include_str!("../../host/queue/redis/scripts/settle.lua")
);
const OURS: &str = include_str!("../../host/queue/redis/scripts/ours.lua");
const ADOPT: &str = include_str!("../../host/queue/redis/scripts/adopt.lua");

/// What a fetch answers.
type Fetched<T> = (Vec<T>, Vec<u64>, Value, Value, Value);

/// Of that the jobs, and two numbers for each lane.
fn jobs_and_lanes<T>((jobs, lanes, ..): Fetched<T>) -> (Vec<T>, Vec<u64>) {
    (jobs, lanes)
}

/// Stops the clock of the script that follows: at 1000.25 s.
const STOPPED: &str = "
    local real = redis
    local redis = {pcall = real.pcall, sha1hex = real.sha1hex, error_reply = real.error_reply, call = function(name, ...)
      return name == 'TIME' and {'1000', '250000'} or real.call(name, ...)
    end}
";

/// Keys in one slot that no other test has.
fn keys<const N: usize>(names: [&str; N]) -> [String; N] {
    let id = fastrand::u64(..);
    names.map(|name| format!("{{test-{id:016x}}}:{name}"))
}

/// Runs a script, with its clock stopped.
async fn run<T: FromRedisValue>(script: &str, keys: &[&String], args: &[&str]) -> anyhow::Result<T> {
    run_at(shared_redis(), script, keys, args).await
}

async fn run_at<T: FromRedisValue>(redis: &Server, script: &str, keys: &[&String], args: &[&str]) -> anyhow::Result<T> {
    let (script, count) = (format!("{STOPPED}{script}"), keys.len().to_string());
    let mut words = vec!["EVAL", &script, &count];
    words.extend(keys.iter().map(|key| key.as_str()));
    words.extend(args);
    redis.tell(&words).await
}

async fn tell<T: FromRedisValue>(words: &[&str]) -> anyhow::Result<T> {
    shared_redis().tell(words).await
}

/// All elements of a list.
async fn list(key: &str) -> anyhow::Result<Vec<String>> {
    tell(&["LRANGE", key, "0", "-1"]).await
}

/// All members of a sorted set, with their scores.
async fn scores(key: &str) -> anyhow::Result<Vec<(String, f64)>> {
    tell(&["ZRANGE", key, "0", "-1", "WITHSCORES"]).await
}

/// All of a host's table, in the order of its tags.
async fn table(key: &str) -> anyhow::Result<Vec<(u64, String)>> {
    let mut table: Vec<_> = tell(&["HGETALL", key]).await?;
    table.sort();
    Ok(table)
}

/// How many of these keys there are.
async fn exist<const N: usize>(keys: [&String; N]) -> anyhow::Result<usize> {
    tell(&[&["EXISTS"][..], &keys.map(String::as_str)].concat()).await
}

/// The keys of a queue of its own: a dead host, which holds two jobs, and an heir, whose lease has twenty seconds left.
struct Estate<'a> {
    redis: &'a Server,
    keys: [String; 5],
}

impl Estate<'_> {
    async fn new() -> anyhow::Result<Self> {
        let redis = shared_redis();
        let estate = Self {
            redis,
            keys: keys(["leases", "dead", "heir", "last", "found"]),
        };
        let [leases, dead, ..] = &estate.keys;
        let soon = (estate.now_ms().await? + 20_000).to_string();
        let _: u64 = redis.tell(&["ZADD", leases, "1", "dead", &soon, "heir"]).await?;
        let _: u64 = redis.tell(&["HSET", dead, "1", "first-job", "2", "second-job"]).await?;
        Ok(estate)
    }

    async fn now_ms(&self) -> anyhow::Result<u64> {
        let (s, us): (u64, u64) = self.redis.tell(&["TIME"]).await?;
        Ok(s * 1_000 + us / 1_000)
    }

    /// What the heir's lease has left; it had twenty seconds, and a move gives it a minute.
    async fn lease_left_ms(&self) -> anyhow::Result<f64> {
        let ends_ms: f64 = self.redis.tell(&["ZSCORE", &self.keys[0], "heir"]).await?;
        let (s, us): (f64, f64) = self.redis.tell(&["TIME"]).await?;
        Ok(ends_ms - s * 1e3 - us / 1e3)
    }

    /// The jobs taken over.
    async fn adopt<T: FromRedisValue>(&self, count: &str, enough_bytes: &str) -> anyhow::Result<Vec<T>> {
        self.adopt_under("10", count, enough_bytes).await
    }

    async fn adopt_under<T: FromRedisValue>(
        &self,
        tag: &str,
        count: &str,
        enough_bytes: &str,
    ) -> anyhow::Result<Vec<T>> {
        let keys = self.keys.each_ref().map(String::as_str);
        let head = ["EVAL", ADOPT, "5"];
        let args = ["dead", "heir", "60000", tag, count, enough_bytes, "60000", "0", "1000"];
        self.redis.tell(&[&head[..], &keys[..], &args[..]].concat()).await
    }

    async fn len(&self, command: &str, key: usize) -> anyhow::Result<u64> {
        self.redis.tell(&[command, &self.keys[key]]).await
    }
}

#[tokio::test]
async fn an_adoption_that_is_asked_for_twice_takes_nothing_more() -> anyhow::Result<()> {
    let estate = Estate::new().await?;
    let first = estate.adopt::<String>("1", "1000").await?;
    assert_eq!(first.len(), 1);
    assert_eq!(estate.adopt::<String>("1", "1000").await?, first);
    assert_eq!((estate.len("HLEN", 1).await?, estate.len("HLEN", 2).await?), (1, 1));
    Ok(())
}

#[tokio::test]
async fn a_fetch_that_is_asked_for_twice_takes_nothing_more() -> anyhow::Result<()> {
    let estate = Estate::new().await?;
    let [leases, _, heir, last, _] = &estate.keys;
    let [ready, orders] = &keys(["ready", "orders"]);
    let _: u64 = estate.redis.tell(&["RPUSH", ready, "first-job", "second-job"]).await?;
    let fetch = [
        "EVAL", FETCH, "5", ready, heir, leases, last, orders, "heir", "60000", "10", "1", "1000", "60000", "9",
        "1000", "0",
    ];
    for _ in 0..2 {
        let (fetched, ..): Fetched<String> = estate.redis.tell(&fetch).await?;
        assert_eq!(fetched, ["first-job"]);
    }
    assert_eq!((list(ready).await?.len(), estate.len("HLEN", 2).await?), (1, 1));
    let left_ms = estate.lease_left_ms().await?;
    assert!(left_ms > 30_000.0, "{left_ms}");
    // Nor does it once they are settled: what was asked for is over.
    let _: u64 = estate.redis.tell(&["HDEL", heir, "10"]).await?;
    let (fetched, ..): Fetched<String> = estate.redis.tell(&fetch).await?;
    assert!(fetched.is_empty(), "{fetched:?}");
    assert_eq!(list(ready).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_dead_hosts_lease_stays_until_nothing_is_left_under_it_and_then_nothing_of_it_is() -> anyhow::Result<()> {
    let estate = Estate::new().await?;
    for (tag, left, leases) in [("10", 1, 2), ("11", 0, 1)] {
        assert_eq!(estate.adopt_under::<String>(tag, "1", "1000").await?.len(), 1);
        assert_eq!(
            (estate.len("HLEN", 1).await?, estate.len("ZCARD", 0).await?),
            (left, leases)
        );
    }
    assert_eq!(estate.len("EXISTS", 1).await?, 0);
    Ok(())
}

#[tokio::test]
async fn an_adoption_takes_no_more_bytes_than_are_enough_and_puts_the_lease_off() -> anyhow::Result<()> {
    let estate = Estate::new().await?;
    assert_eq!(estate.adopt::<redis::Value>("256", "5").await?.len(), 1);
    let left_ms = estate.lease_left_ms().await?;
    assert!(left_ms > 30_000.0, "{left_ms}");
    Ok(())
}

#[tokio::test]
async fn a_host_whose_lease_is_over_is_told_so_before_it_writes_into_another_slot() -> anyhow::Result<()> {
    let estate = Estate::new().await?;
    let [leases, dead, ..] = &estate.keys;
    let ours = async |host: &str| -> anyhow::Result<Option<Vec<String>>> {
        estate
            .redis
            .tell(&["EVAL", OURS, "2", dead, leases, host, "1", "7"])
            .await
    };
    assert_eq!((ours("dead").await?, ours("nobody").await?), (None, None));
    assert_eq!(ours("heir").await?, Some(vec!["1".to_owned()]));
    Ok(())
}
