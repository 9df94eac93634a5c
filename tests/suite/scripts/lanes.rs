//! Lanes: what waits, and the moves into and out of them.

use super::{FETCH, Fetched, SETTLE, jobs_and_lanes, keys, list, run, run_at, table, tell};
use crate::servers::Server;

/// The keys of a queue with a host and two lanes, and what they hold.
struct Queue {
    keys: [String; 8],
}

impl Queue {
    async fn new(ready: &[&str], first: &[&str], second: &[&str]) -> anyhow::Result<Self> {
        let queue = Self {
            keys: keys([
                "ready", "flying", "leases", "last", "orders", "lanes", "first", "second",
            ]),
        };
        let [list, _, leases, _, _, lanes, one, two] = &queue.keys;
        let _: u64 = tell(&["ZADD", leases, "1000251", "good"]).await?;
        for (list, jobs) in [(list, ready), (one, first), (two, second)] {
            if !jobs.is_empty() {
                let _: u64 = tell(&[&["RPUSH", list.as_str()][..], jobs].concat()).await?;
            }
        }
        for (lane, jobs) in [("first", first), ("second", second)] {
            if !jobs.is_empty() {
                let _: u64 = tell(&["SADD", lanes, lane]).await?;
            }
        }
        Ok(queue)
    }

    /// Fetches up to so many jobs and bytes, and so many from the lanes.
    async fn fetch(
        &self,
        tag: &str,
        count: &str,
        bytes: &str,
        lanes: [&str; 2],
    ) -> anyhow::Result<(Vec<String>, Vec<u64>)> {
        let lanes = ["first", lanes[0], "second", lanes[1]];
        let args = [
            &["good", "60000", tag, count, bytes, "9000", "1", "1000", "0"][..],
            &lanes[..],
        ]
        .concat();
        Ok(jobs_and_lanes(run(FETCH, &self.keys.each_ref(), &args).await?))
    }

    /// The jobs of the ready list and of both lanes, and the lanes that are said to hold some.
    async fn left(&self) -> anyhow::Result<(Vec<String>, Vec<String>, Vec<String>, Vec<String>)> {
        let [ready, _, _, _, _, lanes, first, second] = &self.keys;
        let mut holding: Vec<String> = tell(&["SMEMBERS", lanes]).await?;
        holding.sort();
        Ok((list(ready).await?, list(first).await?, list(second).await?, holding))
    }
}

fn texts(jobs: &[&str]) -> Vec<String> {
    jobs.iter().map(|job| (*job).to_owned()).collect()
}

#[tokio::test]
async fn a_fetch_takes_of_each_lane_what_it_may_and_then_of_the_ready_list() -> anyhow::Result<()> {
    let queue = Queue::new(&["r1", "r2", "r3"], &["a1", "a2", "a3"], &["b1"]).await?;
    let fetched = queue.fetch("1", "5", "99", ["2", "9"]).await?;
    assert_eq!(fetched, (texts(&["a1", "a2", "b1", "r1", "r2"]), vec![2, 1, 1, 0]));
    let tagged = [(1, "a1"), (2, "a2"), (3, "b1"), (4, "r1"), (5, "r2")];
    assert_eq!(
        table(&queue.keys[1]).await?,
        tagged.map(|(tag, job)| (tag, job.to_owned()))
    );
    let left = (texts(&["r3"]), texts(&["a3"]), texts(&[]), texts(&["first"]));
    assert_eq!(queue.left().await?, left);
    // Asked twice it takes nothing more; of lanes it tells nothing then.
    assert_eq!(queue.fetch("1", "5", "99", ["2", "9"]).await?, (fetched.0, vec![]));
    assert_eq!(queue.left().await?, left);
    Ok(())
}

#[tokio::test]
async fn a_fetch_takes_no_more_of_lanes_than_it_may_take_altogether() -> anyhow::Result<()> {
    for (count, bytes, jobs, lanes) in [
        ("1", "99", &["a1"][..], [1, 1, 0, 2]),
        ("3", "99", &["a1", "a2", "b1"][..], [2, 0, 1, 1]),
        ("9", "2", &["a1"][..], [1, 1, 0, 2]),
        ("9", "6", &["a1", "a2", "b1"][..], [2, 0, 1, 1]),
        ("9", "9", &["a1", "a2", "b1", "b2"][..], [2, 0, 2, 0]),
    ] {
        let queue = Queue::new(&["r1"], &["a1", "a2"], &["b1", "b2"]).await?;
        let fetched = queue.fetch("1", count, bytes, ["9", "9"]).await?;
        assert_eq!(fetched, (texts(jobs), lanes.to_vec()), "{count}, {bytes}");
    }
    Ok(())
}

#[tokio::test]
async fn a_lane_that_was_said_to_hold_jobs_and_holds_none_is_so_no_longer() -> anyhow::Result<()> {
    let queue = Queue::new(&[], &[], &["b1"]).await?;
    let _: u64 = tell(&["SADD", &queue.keys[5], "first"]).await?;
    assert_eq!(
        queue.fetch("1", "9", "99", ["9", "0"]).await?,
        (vec![], vec![0, 0, 0, 1])
    );
    let left = (texts(&[]), texts(&[]), texts(&["b1"]), texts(&["second"]));
    assert_eq!(queue.left().await?, left);
    Ok(())
}

#[tokio::test]
async fn a_lane_that_cannot_be_read_keeps_nothing_else_from_being_fetched() -> anyhow::Result<()> {
    let queue = Queue::new(&["r1"], &[], &["b1"]).await?;
    let _: () = tell(&["SET", &queue.keys[6], "no list"]).await?;
    let _: u64 = tell(&["SADD", &queue.keys[5], "first"]).await?;
    let fetched = queue.fetch("1", "9", "99", ["9", "9"]).await?;
    assert_eq!(fetched, (texts(&["b1", "r1"]), vec![0, 1, 1, 0]));
    let lanes: Vec<String> = tell(&["SMEMBERS", &queue.keys[5]]).await?;
    assert_eq!(lanes, ["first"]);
    Ok(())
}

/// The first lane is that of large jobs here.
#[tokio::test]
async fn a_fetch_that_takes_no_large_jobs_puts_them_aside_and_goes_on_behind_them() -> anyhow::Result<()> {
    let ready = ["r1", "large-2", "r3", "large-4", "r5"];
    for (count, bytes, taken, put_aside, left) in [
        (
            "9",
            "99",
            &["b1", "r1", "r3", "r5"][..],
            &["large-2", "large-4"][..],
            &[][..],
        ),
        ("3", "99", &["b1", "r1", "r3"], &["large-2"], &["large-4", "r5"]),
        ("2", "99", &["b1", "r1"], &[], &["large-2", "r3", "large-4", "r5"]),
        // What is put aside counts, too: it takes time as well.
        ("9", "12", &["b1", "r1"], &["large-2"], &["r3", "large-4", "r5"]),
        ("9", "11", &["b1", "r1"], &["large-2"], &["r3", "large-4", "r5"]),
        ("9", "10", &["b1", "r1"], &[], &["large-2", "r3", "large-4", "r5"]),
    ] {
        let queue = Queue::new(&ready, &["large-0"], &["b1", "large-b", "b3"]).await?;
        let args = [
            "good", "60000", "1", count, bytes, "9000", "1", "1000", "3", "first", "second", "9",
        ];
        let fetched = jobs_and_lanes::<String>(run(FETCH, &queue.keys.each_ref(), &args).await?);
        assert_eq!(fetched, (texts(taken), vec![1, 2]), "{count}, {bytes}");
        let large = [&["large-0"], put_aside].concat();
        let second = texts(&["large-b", "b3"]);
        let all = (texts(left), texts(&large), second, texts(&["first", "second"]));
        assert_eq!(queue.left().await?, all, "{count}, {bytes}");
    }
    let queue = Queue::new(&["large-1", "r2"], &[], &[]).await?;
    let args = ["good", "60000", "1", "9", "1", "9000", "1", "1000", "3", "first"];
    let keys: Vec<_> = queue.keys[..7].iter().collect();
    let fetched = jobs_and_lanes::<String>(run(FETCH, &keys, &args).await?);
    assert_eq!(fetched, (vec![], vec![]), "the first passes whatever it takes");
    let all = (texts(&["r2"]), texts(&["large-1"]), vec![], texts(&["first"]));
    assert_eq!(queue.left().await?, all);
    Ok(())
}

#[tokio::test]
async fn neither_a_lane_nor_the_lanes_of_the_wrong_type_lose_what_is_to_wait() -> anyhow::Result<()> {
    for wrong in [4, 5] {
        let all = &keys(["flying", "ready", "delayed", "failed", "lanes", "lane"]);
        let _: u64 = tell(&["HSET", &all[0], "1", "a", "2", "b"]).await?;
        let _: () = tell(&["SET", &all[wrong], "no list, no set"]).await?;
        let args = ["1", "0", "9000", "1", "2", "wait", "slow", "6"];
        let settled = run::<redis::Value>(SETTLE, &all.each_ref(), &args).await;
        settled.expect_err("a key of the wrong type");
        assert_eq!(table(&all[0]).await?.len(), 2);
    }
    Ok(())
}

#[tokio::test]
async fn without_memory_jobs_still_wait_and_are_still_taken_from_their_lane() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let all = &keys([
        "flying", "ready", "delayed", "failed", "lanes", "lane", "leases", "last", "orders",
    ]);
    let [flying, ready, _, _, lanes, lane, leases, last, orders] = all;
    let _: u64 = redis.tell(&["HSET", flying, "1", "a"]).await?;
    let _: u64 = redis.tell(&["ZADD", leases, "1000251", "good"]).await?;
    let _: () = redis.tell(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    let wait = ["0", "0", "9000", "1", "wait", "slow", "6"];
    let (refused, _, _): (Vec<u64>, u64, String) =
        run_at(&redis, SETTLE, &all[..6].iter().collect::<Vec<_>>(), &wait).await?;
    assert!(refused.is_empty());
    assert_eq!(redis.tell::<u64>(&["LLEN", lane]).await?, 1);
    let args = ["good", "60000", "7", "9", "99", "9000", "1", "1000", "0", "slow", "9"];
    let (jobs, ..): Fetched<String> = run_at(
        &redis,
        FETCH,
        &[ready, flying, leases, last, orders, lanes, lane],
        &args,
    )
    .await?;
    assert_eq!(jobs, ["a"]);
    assert_eq!(redis.tell::<u64>(&["EXISTS", lane, lanes]).await?, 0);
    Ok(())
}
