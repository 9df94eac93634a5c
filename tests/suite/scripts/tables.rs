//! Leases, tables of what is in flight, and the moves into and out of them.

use redis::Value;

use super::{ADOPT, FETCH, Fetched, OURS, SETTLE, exist, keys, list, run, run_at, scores, table, tell};
use crate::servers::Server;

const COUNTS: &str = include_str!("../../../host/queue/redis/scripts/counts.lua");
const DEAD: &str = include_str!("../../../host/queue/redis/scripts/dead.lua");
const LEAVE: &str = include_str!("../../../host/queue/redis/scripts/leave.lua");
const PIECE: &str = include_str!("../../../host/queue/redis/scripts/piece.lua");
const RENEW: &str = include_str!("../../../host/queue/redis/scripts/renew.lua");

/// Leases that end this very millisecond, and in the next.
async fn leases(key: &str) -> anyhow::Result<()> {
    tell(&["ZADD", key, "1000250", "over", "1000251", "good"]).await
}

#[tokio::test]
async fn a_host_leaves_once_nothing_is_in_flight_under_it_and_leaves_no_key() -> anyhow::Result<()> {
    let [lease, flying, last] = &keys(["leases", "flying", "last"]);
    leases(lease).await?;
    let _: u64 = tell(&["HSET", flying, "1", "a"]).await?;
    let _: () = tell(&["SET", last, "1"]).await?;
    for (left, leases) in [(3, 2), (1, 1)] {
        let _: Value = run(LEAVE, &[lease, flying, last], &["good"]).await?;
        assert_eq!(exist([lease, flying, last]).await?, left);
        assert_eq!(scores(lease).await?.len(), leases);
        let _: u64 = tell(&["HDEL", flying, "1"]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_lease_is_over_in_the_millisecond_it_ends_in_and_who_had_it_hears_so() -> anyhow::Result<()> {
    let names = ["leases", "flying", "ready", "last", "dead", "found", "orders"];
    let [lease, flying, ready, last, dead, found, orders] = &keys(names);
    leases(lease).await?;
    let over: (Vec<String>, i64) = run(DEAD, &[lease], &[]).await?;
    assert_eq!(over, (vec!["over".to_owned()], 1));
    let _: u64 = tell(&["HSET", flying, "1", "a"]).await?;
    let _: u64 = tell(&["HSET", dead, "1", "b"]).await?;
    let _: u64 = tell(&["RPUSH", ready, "c"]).await?;
    let fetch = [ready, flying, lease, last, orders];
    let adopt = [lease, dead, flying, last, found];
    for (host, good) in [("nobody", false), ("over", false), ("good", true)] {
        let ours: Value = run(OURS, &[flying, lease], &[host, "1"]).await?;
        assert_eq!(ours != Value::Nil, good, "{host}");
        let adopted: Value = run(ADOPT, &adopt, &["dead", host, "9", "2", "1", "9", "9000", "0", "1000"]).await?;
        assert_eq!(adopted != Value::Nil, good, "{host}");
        let fetched: Value = run(FETCH, &fetch, &[host, "9", "3", "1", "9", "9000", "1", "1000", "0"]).await?;
        assert_eq!(fetched != Value::Nil, good, "{host}");
        assert_eq!(exist([dead, ready]).await?, if good { 0 } else { 2 }, "{host}");
    }
    let taken = [(1, "a"), (2, "b"), (3, "c")].map(|(tag, job)| (tag, job.to_owned()));
    assert_eq!(table(flying).await?, taken);
    for (host, good) in [("nobody", 0), ("over", 0), ("good", 1), ("over", 1)] {
        let renewed: (u64, u64) = run(RENEW, &[lease], &[host, "500"]).await?;
        assert_eq!(renewed, (good, 1_000_250), "{host}");
    }
    let put_off = ["good", "nobody", "over"].map(|host| (host.to_owned(), 1_000_750.0));
    assert_eq!(scores(lease).await?, put_off);
    Ok(())
}

#[tokio::test]
async fn a_fetch_takes_as_many_as_are_asked_for_each_under_its_tag() -> anyhow::Result<()> {
    let [lease, flying, ready, last, orders] = &keys(["leases", "flying", "ready", "last", "orders"]);
    leases(lease).await?;
    let jobs: Vec<_> = (10..50).map(|n| n.to_string()).collect();
    let words: Vec<_> = jobs.iter().map(String::as_str).collect();
    let _: u64 = tell(&[&["RPUSH", ready][..], &words[..]].concat()).await?;
    let args = ["good", "60000", "10", "21", "1000", "9000", "1", "1000", "0"];
    let (fetched, lanes, _, _, at): Fetched<String> = run(FETCH, &[ready, flying, lease, last, orders], &args).await?;
    assert_eq!((&fetched[..], lanes.len()), (&jobs[..21], 0));
    assert_eq!(at, Value::BulkString(b"1000250000".to_vec()));
    let tagged: Vec<_> = (10..31).map(|n| (n, n.to_string())).collect();
    assert_eq!(table(flying).await?, tagged);
    assert_eq!(list(ready).await?, jobs[21..]);
    assert_eq!(tell::<String>(&["GET", last]).await?, "30");
    assert!(tell::<i64>(&["PTTL", last]).await? > 0);
    Ok(())
}

#[tokio::test]
async fn a_fetch_takes_nothing_of_a_paused_queue_and_tells_again_what_it_took_before() -> anyhow::Result<()> {
    let [lease, flying, ready, last, orders] = &keys(["leases", "flying", "ready", "last", "orders"]);
    leases(lease).await?;
    let _: u64 = tell(&["RPUSH", ready, "a", "b"]).await?;
    let fetch = async |tag: &str| -> anyhow::Result<Value> {
        let args = ["good", "60000", tag, "1", "10", "9000", "1", "1000", "0"];
        run(FETCH, &[ready, flying, lease, last, orders], &args).await
    };
    let took = fetch("1").await?;
    let _: u64 = tell(&["HSET", orders, "paused", "by ana"]).await?;
    assert_eq!(fetch("1").await?, took, "its answer was lost");
    let nothing = || Value::Array(vec![]);
    let paused = Value::Array(vec![nothing(), nothing(), Value::Int(1)]);
    assert_eq!(fetch("2").await?, paused);
    assert_eq!(list(ready).await?, ["b"]);
    let _: u64 = tell(&["HDEL", orders, "paused"]).await?;
    assert_ne!(fetch("2").await?, paused);
    assert_eq!(table(flying).await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_fetch_brings_no_more_bytes_than_are_asked_for_and_tells_of_the_rest() -> anyhow::Result<()> {
    let [lease, flying, ready, last, orders] = &keys(["leases", "flying", "ready", "last", "orders"]);
    leases(lease).await?;
    let large = "x".repeat(11);
    let _: u64 = tell(&["RPUSH", ready, "12345", "67890", "a", &large, "1234567890", "b"]).await?;
    let fetch = async |tag: &str| -> anyhow::Result<Vec<Value>> {
        let args = ["good", "60000", tag, "9", "10", "9000", "1", "1000", "0"];
        let (jobs, ..): Fetched<Value> = run(FETCH, &[ready, flying, lease, last, orders], &args).await?;
        Ok(jobs)
    };
    let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    let cut = Value::Array(vec![text(&large[..10]), Value::Int(11), Value::Nil]);
    for (tag, jobs) in [
        ("1", vec![text("12345"), text("67890")]),
        ("3", vec![text("a")]),
        ("4", vec![cut.clone()]),
        ("4", vec![cut]),
        ("5", vec![text("1234567890")]),
        ("6", vec![text("b")]),
        ("7", vec![]),
    ] {
        assert_eq!(fetch(tag).await?, jobs, "{tag}");
    }
    assert_eq!(table(flying).await?[3], (4, large), "it is moved whole");
    Ok(())
}

#[tokio::test]
async fn an_adoption_takes_the_first_first_and_tells_of_what_is_large() -> anyhow::Result<()> {
    let all = &keys(["leases", "dead", "flying", "last", "found"]);
    let [lease, dead, flying, last, _] = all;
    leases(lease).await?;
    let _: u64 = tell(&["HSET", dead, "2", "2nd", "10", "tenth", "3", "third-job"]).await?;
    let args = ["dead", "good", "60000", "7", "9", "6", "9000", "0", "8"];
    let adopt = async || run::<Vec<Value>>(ADOPT, &all.each_ref(), &args).await;
    let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    let digest = text("41e8c2bc1ad531625de0d78e60d33d6b8210180a");
    let large = Value::Array(vec![text("third-"), Value::Int(9), digest]);
    // Six bytes are enough: with the third it is more.
    assert_eq!(adopt().await?, [text("2nd"), large.clone()]);
    let taken = [(7, "2nd".to_owned()), (8, "third-job".to_owned())];
    assert_eq!(table(flying).await?, taken);
    assert_eq!(adopt().await?, [text("2nd"), large], "asked for twice");
    assert!(tell::<i64>(&["PTTL", last]).await? > 0);
    let args = ["dead", "good", "60000", "9", "9", "6", "9000", "0", "1000"];
    let rest: Vec<String> = run(ADOPT, &all.each_ref(), &args).await?;
    assert_eq!(rest, ["tenth"]);
    Ok(())
}

#[tokio::test]
async fn what_is_alive_or_was_not_found_dead_for_so_long_is_not_taken_over() -> anyhow::Result<()> {
    let all = &keys(["leases", "dead", "flying", "last", "found"]);
    let [lease, dead, _, _, found] = all;
    leases(lease).await?;
    let _: u64 = tell(&["HSET", dead, "1", "a"]).await?;
    let adopt = async |patience: &str| -> anyhow::Result<usize> {
        let args = ["dead", "good", "60000", "7", "9", "9", "9000", patience, "1000"];
        let jobs: Vec<String> = run(ADOPT, &all.each_ref(), &args).await?;
        Ok(jobs.len())
    };
    let _: u64 = tell(&["ZADD", lease, "1000251", "dead"]).await?;
    assert_eq!((adopt("0").await?, exist([dead]).await?), (0, 1), "it is alive");
    let _: u64 = tell(&["ZADD", lease, "1000200", "dead"]).await?;
    assert_eq!(
        (adopt("30").await?, exist([dead]).await?),
        (0, 1),
        "nobody found it dead"
    );
    assert_eq!(tell::<String>(&["GET", found]).await?, "1000250");
    assert!(tell::<i64>(&["PTTL", found]).await? > 0);
    for (time, taken, why) in [
        ("1000221", 0, "29 ms ago is too lately"),
        ("1000199", 0, "it has come back since"),
        ("1000220", 1, "30 ms ago"),
    ] {
        let _: () = tell(&["SET", found, time]).await?;
        assert_eq!((adopt("30").await?, exist([dead]).await?), (taken, 1 - taken), "{why}");
    }
    Ok(())
}

#[tokio::test]
async fn an_adoption_into_what_is_no_table_moves_nothing() -> anyhow::Result<()> {
    let all = &keys(["leases", "dead", "flying", "last", "found"]);
    let [lease, dead, flying, ..] = all;
    leases(lease).await?;
    let _: u64 = tell(&["HSET", dead, "1", "a", "2", "b"]).await?;
    let _: () = tell(&["SET", flying, "no table"]).await?;
    let args = ["dead", "good", "60000", "7", "9", "9", "9000", "0", "1000"];
    let adopted = run::<Value>(ADOPT, &all.each_ref(), &args).await;
    adopted.expect_err("a key of the wrong type");
    assert_eq!(table(dead).await?.len(), 2);
    Ok(())
}

/// The tags that were refused, how many results were not kept, and why.
type Settled = (Vec<u64>, u64, String);

#[tokio::test]
async fn a_settlement_moves_exactly_what_is_the_hosts() -> anyhow::Result<()> {
    let all = &keys([
        "flying", "ready", "delayed", "failed", "lanes", "lane", "null", "not-kept", "kept",
    ]);
    let [flying, ready, delayed, failed, lanes, lane, null, not_kept, kept] = all;
    let table_of = [
        "1",
        "acked",
        "2",
        "kept",
        "3",
        "tried",
        "4",
        "failed",
        "5",
        "back",
        "6",
        "stays",
        "10",
        "acked",
        "11",
        "acked",
        "12",
        "waits",
        "13",
        "waits too",
        "15",
        r#"{"id":"15"}"#,
        "16",
        "no job",
    ];
    let _: u64 = tell(&[&["HSET", flying][..], &table_of[..]].concat()).await?;
    let _: u64 = tell(&["RPUSH", ready, "first"]).await?;
    let _: u64 = tell(&["RPUSH", lane, "first"]).await?;
    let _: u64 = tell(&["RPUSH", failed, "first"]).await?;
    let _: u64 = tell(&["ZADD", delayed, "7", "again"]).await?;
    let acks = ["1", "3", "9000", "10"];
    let results = ["1", "null", "9", "of another", "2", "the result"];
    let others = [
        ["8", "ack", "", ""],
        ["11", "ack", "", ""],
        ["3", "retry", "again", "30"],
        ["4", "fail", "entry", ""],
        ["15", "failthere", r#"{"error":"no","#, "what came"],
        ["16", "failthere", "{", "what came"],
        ["17", "failthere", "{", "of another"],
        ["5", "requeue", "", ""],
        ["7", "retry", "of another", "30"],
        ["12", "wait", "slow", "6"],
        ["14", "wait", "slow", "6"],
        ["13", "wait", "slow", "6"],
    ];
    let args = [&acks[..], &results[..], others.as_flattened()].concat();
    let settled: Settled = run(SETTLE, &all.each_ref(), &args).await?;
    assert_eq!(settled, (vec![9, 8, 17, 7, 14], 0, String::new()), "these are not ours");
    assert_eq!(table(flying).await?, [(6, "stays".to_owned())]);
    assert_eq!(list(lane).await?, ["first", "waits", "waits too"]);
    assert_eq!(tell::<Vec<String>>(&["SMEMBERS", lanes]).await?, ["slow"]);
    assert_eq!(list(ready).await?, ["back", "first"]);
    assert_eq!(
        list(failed).await?,
        ["first", "entry", r#"{"error":"no","id":"15"}"#, "what came"]
    );
    let put_off = [("again".to_owned(), 7.0), ("again ".to_owned(), 1_030.25)];
    assert_eq!(scores(delayed).await?, put_off);
    assert_eq!(
        tell::<(String, String)>(&["MGET", null, kept]).await?,
        ("null".into(), "the result".into())
    );
    assert!(tell::<i64>(&["PTTL", kept]).await? > 0);
    assert_eq!(exist([not_kept]).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_settlement_fails_before_it_has_moved_anything_and_only_for_where_something_goes() -> anyhow::Result<()> {
    let all = &keys(["flying", "ready", "delayed", "failed", "lanes", "lane"]);
    let _: u64 = tell(&["HSET", &all[0], "1", "a", "2", "b", "3", "c"]).await?;
    for wrong in &all[1..] {
        let _: () = tell(&["SET", wrong, "no list, no set"]).await?;
    }
    for (fate, number) in [
        ("retry", "0"),
        ("fail", "0"),
        ("failthere", "0"),
        ("requeue", "0"),
        ("wait", "6"),
        ("no fate", "0"),
        ("", "0"),
    ] {
        let args = ["1", "0", "9000", "1", "3", "ack", "", "0", "2", fate, "b", number];
        let settled = run::<Value>(SETTLE, &all.each_ref(), &args).await;
        settled.expect_err(fate);
        assert_eq!(table(&all[0]).await?.len(), 3, "{fate}");
    }
    let settled: Settled = run(SETTLE, &all.each_ref(), &["1", "0", "9000", "1"]).await?;
    assert_eq!(settled, (vec![], 0, String::new()));
    Ok(())
}

#[tokio::test]
async fn what_is_acknowledged_together_is_refused_together() -> anyhow::Result<()> {
    let all = &keys(["flying", "ready", "delayed"]);
    let _: u64 = tell(&["HSET", &all[0], "1", "a", "2", "b", "3", "c"]).await?;
    let settled: Settled = run(SETTLE, &all.each_ref(), &["2", "0", "9000", "1", "3"]).await?;
    assert_eq!(settled, (vec![], 0, String::new()));
    let settled: Settled = run(SETTLE, &all.each_ref(), &["2", "0", "9000", "1", "2"]).await?;
    assert_eq!(settled, (vec![1, 2], 0, String::new()));
    assert_eq!(exist([&all[0]]).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_piece_of_a_job_is_what_was_asked_for() -> anyhow::Result<()> {
    let [flying] = &keys(["flying"]);
    let _: u64 = tell(&["HSET", flying, "1", "abcdefghij"]).await?;
    for (tag, skipped, piece) in [
        ("1", "0", Some("abc")),
        ("1", "2", Some("cde")),
        ("1", "9", Some("j")),
        ("7", "0", None),
    ] {
        let read: Option<String> = run(PIECE, &[flying], &[tag, skipped, "3"]).await?;
        assert_eq!(read.as_deref(), piece, "{tag}, {skipped}");
    }
    Ok(())
}

/// Ready, delayed, the hosts, the lanes, who paused the queue.
type Counted = (u64, u64, Vec<(String, i64, u64)>, Vec<(String, u64)>, String);

#[tokio::test]
async fn what_is_counted_is_in_one_place_each() -> anyhow::Result<()> {
    let names = [
        "ready",
        "leases",
        "delayed",
        "flying:over",
        "flying:",
        "lanes",
        "lane:a",
        "lane:b",
        "lane:",
        "orders",
    ];
    let [ready, lease, delayed, over, start, lanes, a, b, lane, orders] = &keys(names);
    leases(lease).await?;
    let _: u64 = tell(&["RPUSH", ready, "a", "b"]).await?;
    let _: u64 = tell(&["ZADD", delayed, "1", "c", "2", "d", "3", "e"]).await?;
    let _: u64 = tell(&["HSET", over, "1", "f"]).await?;
    let host = |name: &str, left_ms, held| (name.to_owned(), left_ms, held);
    let _: u64 = tell(&["SADD", lanes, "a", "b"]).await?;
    let _: u64 = tell(&["RPUSH", a, "g"]).await?;
    let _: u64 = tell(&["RPUSH", b, "h", "i"]).await?;
    let mut counted: Counted = run(COUNTS, &[ready, lease, lanes, orders, delayed], &[start, lane]).await?;
    counted.3.sort();
    let waiting = vec![("a".to_owned(), 1), ("b".to_owned(), 2)];
    let hosts = vec![host("over", 0, 1), host("good", 1, 0)];
    assert_eq!(counted, (2, 3, hosts, waiting, String::new()));
    let _: u64 = tell(&["HSET", orders, "paused", "by ana"]).await?;
    let elsewhere: Counted = run(COUNTS, &[ready, lease, lanes, orders], &[start, lane]).await?;
    assert_eq!(elsewhere.1, 0, "delayed is in another slot");
    assert_eq!(elsewhere.4, "by ana");
    Ok(())
}

#[tokio::test]
async fn without_memory_a_dead_hosts_jobs_are_still_found_and_taken_over() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let all = &keys(["leases", "dead", "flying", "last", "found"]);
    let [lease, dead, flying, _, found] = all;
    let _: u64 = redis.tell(&["ZADD", lease, "1000251", "good"]).await?;
    let _: u64 = redis.tell(&["HSET", dead, "1", "a"]).await?;
    let _: () = redis.tell(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    for (patience, key) in [("30", found), ("0", flying)] {
        let args = ["dead", "good", "60000", "7", "9", "9", "9000", patience, "1000"];
        let _: Value = run_at(&redis, ADOPT, &all.each_ref(), &args).await?;
        assert_eq!(redis.tell::<u64>(&["EXISTS", key]).await?, 1, "{key}");
    }
    Ok(())
}

#[tokio::test]
async fn without_memory_deliveries_are_settled_and_the_results_that_are_not_kept_are_counted() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let all = &keys([
        "flying", "ready", "delayed", "failed", "lanes", "zero", "one", "two", "three",
    ]);
    let _: u64 = redis
        .tell(&["HSET", &all[0], "1", "a", "2", "b", "3", "c", "4", "d"])
        .await?;
    let _: () = redis.tell(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    let args = [
        "1", "4", "9000", "4", "7", "null", "1", "null", "2", "null", "3", "null",
    ];
    let (refused, lost, why): Settled = run_at(&redis, SETTLE, &all.each_ref(), &args).await?;
    assert_eq!((&refused[..], lost), (&[7][..], 3));
    assert!(why.starts_with("OOM"), "{why}");
    assert_eq!(
        redis.tell::<u64>(&["DBSIZE"]).await?,
        0,
        "all are settled, none is kept"
    );
    Ok(())
}
