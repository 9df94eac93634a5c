//! The delayed set, the failed list, and the moves into and out of them.

use redis::Value;

use super::{exist, keys, list, run, run_at, scores, tell};
use crate::servers::Server;

const CLAIM_DUE: &str = include_str!("../../../host/queue/redis/scripts/claim_due.lua");
const DROP_CLAIMED: &str = include_str!("../../../host/queue/redis/scripts/drop_claimed.lua");
const DUE: &str = include_str!("../../../host/queue/redis/scripts/due.lua");
const FAILED_PAGE: &str = include_str!("../../../host/queue/redis/scripts/failed_page.lua");
const PROMOTE: &str = include_str!("../../../host/queue/redis/scripts/promote.lua");
const PURGE: &str = include_str!("../../../host/queue/redis/scripts/purge.lua");
const PUSH_DELAYED: &str = include_str!("../../../host/queue/redis/scripts/push_delayed.lua");
const RETAIN: &str = include_str!("../../../host/queue/redis/scripts/retain.lua");
const TAKE_FAILED: &str = include_str!("../../../host/queue/redis/scripts/take_failed.lua");

/// Jobs of four bytes: four that are due, one this very microsecond, and one that is not.
async fn delay(key: &str) -> anyhow::Result<()> {
    let jobs = [
        "2",
        "due2",
        "1",
        "due1",
        "1000.25",
        "due4",
        "3",
        "due3",
        "1000.250001",
        "not5",
    ];
    tell(&[&["ZADD", key][..], &jobs[..]].concat()).await
}

#[tokio::test]
async fn due_jobs_become_ready_the_earliest_first_until_there_are_enough() -> anyhow::Result<()> {
    for (count, bytes, moved) in [
        ("9", "99", 4),
        ("3", "99", 3),
        ("9", "3", 1),
        ("9", "4", 2),
        ("9", "7", 2),
    ] {
        let [delayed, ready] = &keys(["delayed", "ready"]);
        delay(delayed).await?;
        let _: u64 = tell(&["RPUSH", ready, "due0"]).await?;
        let promoted: usize = run(PROMOTE, &[delayed, ready], &[count, bytes]).await?;
        let jobs = ["due0", "due1", "due2", "due3", "due4"];
        assert_eq!(
            (promoted, list(ready).await?),
            (moved, jobs[..=moved].iter().map(|job| (*job).to_owned()).collect())
        );
        assert_eq!(scores(delayed).await?.len(), 5 - moved);
    }
    Ok(())
}

#[tokio::test]
async fn due_jobs_stay_where_ready_is_no_list() -> anyhow::Result<()> {
    let [delayed, ready] = &keys(["delayed", "ready"]);
    delay(delayed).await?;
    let _: () = tell(&["SET", ready, "no list"]).await?;
    let promoted = run::<usize>(PROMOTE, &[delayed, ready], &["9", "99"]).await;
    promoted.expect_err("a key of the wrong type");
    assert_eq!(scores(delayed).await?.len(), 5);
    Ok(())
}

#[tokio::test]
async fn the_next_job_is_due_in_so_many_milliseconds_rounded_up() -> anyhow::Result<()> {
    let [delayed] = &keys(["delayed"]);
    assert_eq!(run::<i64>(DUE, &[delayed], &[]).await?, -1);
    for (score, due_ms) in [
        ("inf", 3_600_000),
        ("4601", 3_600_000),
        ("1010.2505", 10_001),
        ("1001", 750),
        ("1000.25", 0),
        ("5", 0),
    ] {
        let _: u64 = tell(&["ZADD", delayed, score, "the next", "inf", "another"]).await?;
        assert_eq!(run::<i64>(DUE, &[delayed], &[]).await?, due_ms, "{score}");
    }
    Ok(())
}

#[tokio::test]
async fn jobs_are_delayed_side_by_side_until_a_time_or_for_so_long() -> anyhow::Result<()> {
    let [delayed] = &keys(["delayed"]);
    let _: Value = run(PUSH_DELAYED, &[delayed], &["a", "5", "a", "+30", "b", "7.5"]).await?;
    let wanted = [("a", 5.0), ("b", 7.5), ("a ", 1_030.25)].map(|(job, due)| (job.to_owned(), due));
    assert_eq!(scores(delayed).await?, wanted);
    Ok(())
}

#[tokio::test]
async fn due_jobs_are_claimed_until_there_are_enough_and_put_off() -> anyhow::Result<()> {
    for (count, bytes, claimed) in [
        ("9", "99", 4),
        ("3", "99", 3),
        ("9", "3", 1),
        ("9", "4", 2),
        ("9", "7", 2),
    ] {
        let [delayed] = &keys(["delayed"]);
        delay(delayed).await?;
        let args = [count, bytes, "10", "4", "2"];
        let (score, jobs): (String, Vec<String>) = run(CLAIM_DUE, &[delayed], &args).await?;
        let due = ["due1", "due2", "due3", "due4"];
        assert_eq!((&*score, &jobs[..]), ("1010.25", &due.map(String::from)[..claimed]));
        assert_eq!(marked(delayed, &score).await?, jobs);
    }
    Ok(())
}

/// The members of a sorted set that have this score.
async fn marked(key: &str, score: &str) -> anyhow::Result<Vec<String>> {
    tell(&["ZRANGE", key, score, score, "BYSCORE"]).await
}

#[tokio::test]
async fn what_is_too_large_is_claimed_alone_and_under_a_score_of_its_own() -> anyhow::Result<()> {
    let [delayed] = &keys(["delayed"]);
    let _: u64 = tell(&["ZADD", delayed, "1", "due1", "2", "large", "1010.25", "claimed"]).await?;
    let claim = async || run::<Vec<Value>>(CLAIM_DUE, &[delayed], &["9", "99", "10", "4", "2"]).await;
    let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    assert_eq!(claim().await?[1..], [Value::Array(vec![text("due1")])]);
    let told = Value::Array(vec![
        text("la"),
        Value::Int(5),
        text("5296d5cced2aa1cf19afd9cf498d89f0d85481f2"),
    ]);
    let claimed = claim().await?;
    assert_eq!(claimed[1..], [Value::Array(vec![]), told]);
    let score: String = redis::from_redis_value(claimed[0].clone())?;
    assert_eq!(marked(delayed, &score).await?, ["large"]);
    assert!(score.starts_with("1010.25"), "{score}");
    Ok(())
}

#[tokio::test]
async fn what_was_claimed_is_dropped_unless_it_has_been_delayed_anew() -> anyhow::Result<()> {
    let [delayed] = &keys(["delayed"]);
    let _: u64 = tell(&["ZADD", delayed, "7", "a", "7", "b", "9", "anew", "7", "of another"]).await?;
    let _: Value = run(DROP_CLAIMED, &[delayed], &["7", "a", "anew", "gone", "b"]).await?;
    let left = [("of another", 7.0), ("anew", 9.0)].map(|(job, due)| (job.to_owned(), due));
    assert_eq!(scores(delayed).await?, left);
    Ok(())
}

#[tokio::test]
async fn a_page_of_the_failed_list_is_what_was_asked_for_and_small() -> anyhow::Result<()> {
    let [failed] = &keys(["failed"]);
    let mut entries: Vec<_> = (10..50).map(|n| n.to_string()).collect();
    entries.push("large".to_owned());
    let words: Vec<_> = entries.iter().map(String::as_str).collect();
    let _: u64 = tell(&[&["RPUSH", failed][..], &words[..]].concat()).await?;
    for (start, count, bytes, read) in [
        ("3", "21", "999", 3..24),
        ("30", "21", "999", 30..41),
        ("3", "21", "5", 3..5),
        ("3", "21", "6", 3..6),
        ("3", "21", "1", 3..4),
        ("40", "21", "1", 40..41),
        ("41", "21", "999", 41..41),
    ] {
        let page: Vec<String> = run(FAILED_PAGE, &[failed], &[start, count, bytes, "5"]).await?;
        assert_eq!(page, entries[read], "{start}, {count}, {bytes}");
    }
    let page: Vec<(String, usize)> = run(FAILED_PAGE, &[failed], &["40", "9", "2", "4"]).await?;
    assert_eq!(page, [("la".to_owned(), 5)]);
    Ok(())
}

#[tokio::test]
async fn a_purge_drops_the_oldest_and_says_how_many_there_were() -> anyhow::Result<()> {
    let [failed] = &keys(["failed"]);
    let _: u64 = tell(&["RPUSH", failed, "a", "b", "c"]).await?;
    for (count, dropped, left) in [("2", 2, &["c"][..]), ("2", 1, &[][..]), ("2", 0, &[][..])] {
        assert_eq!(run::<u64>(PURGE, &[failed], &[count]).await?, dropped);
        assert_eq!(list(failed).await?, left);
    }
    Ok(())
}

#[tokio::test]
async fn only_what_was_looked_at_is_dropped_from_the_failed_list_and_it_is_counted() -> anyhow::Result<()> {
    let [failed, dropped] = &keys(["failed", "dropped"]);
    let _: u64 = tell(&["RPUSH", failed, "aa", "bb", "cc", "dd"]).await?;
    for (count, start, len, wanted) in [
        ("9", "b", "2", 0),
        ("2", "b", "3", 0),
        ("2", "c", "2", 0),
        ("3", "b", "2", 0),
        ("2", "b", "2", 2),
        ("1", "cc", "2", 1),
    ] {
        let args = [count, start, len];
        assert_eq!(run::<u64>(RETAIN, &[failed, dropped], &args).await?, wanted, "{args:?}");
    }
    assert_eq!(list(failed).await?, ["dd"]);
    assert_eq!(tell::<u64>(&["GET", dropped]).await?, 3);
    Ok(())
}

/// Takes entries out of a failed list; of each: its place, its length, its first bytes, the list that its job goes to.
async fn take(how: &str, keys: &[&String], entries: &[[&str; 4]]) -> anyhow::Result<Vec<u64>> {
    let mut args = vec![how, "no entry"];
    for entry in entries {
        args.extend(entry);
        args.push("job");
    }
    run(TAKE_FAILED, keys, &args).await
}

#[tokio::test]
async fn entries_leave_the_failed_list_once_and_their_jobs_go_where_they_belong() -> anyhow::Result<()> {
    let [failed, one, two] = &keys(["failed", "one", "two"]);
    let _: u64 = tell(&["RPUSH", failed, "a0", "b1", "c2", "d3", "e4"]).await?;
    let entries = [
        ["1", "2", "b", "2"],
        ["3", "2", "d3", "0"],
        ["3", "2", "d3", "1"],
        ["2", "3", "c2", "1"],
        ["2", "2", "d", "1"],
        ["9", "2", "i9", "1"],
    ];
    let there = [1, 1, 0, 0, 0, 0];
    assert_eq!(take("look", &[failed, one, two], &entries).await?, there);
    assert_eq!((list(failed).await?.len(), exist([one, two]).await?), (5, 0));
    assert_eq!(take("take", &[failed, one, two], &entries).await?, there);
    assert_eq!(list(failed).await?, ["a0", "c2", "e4"]);
    assert_eq!((exist([one]).await?, list(two).await?), (0, vec!["job".to_owned()]));
    Ok(())
}

#[tokio::test]
async fn entries_are_found_where_they_have_moved_to_and_no_twin_is_taken_for_one() -> anyhow::Result<()> {
    let [failed] = &keys(["failed"]);
    let entries: Vec<_> = (10..50).map(|n| n.to_string()).collect();
    let words: Vec<_> = entries.iter().map(String::as_str).collect();
    let _: u64 = tell(&[&["RPUSH", failed][..], &words[..]].concat()).await?;
    // Those of 10 to 33 have been read two places further on, the others five.
    let places: Vec<_> = (10..40)
        .map(|n| (n - 8 + if n < 34 { 0 } else { 3 }).to_string())
        .collect();
    let moved: Vec<_> = words
        .iter()
        .zip(&places)
        .map(|(entry, place)| [place, "2", entry, "0"])
        .collect();
    assert_eq!(take("take", &[failed], &moved).await?, [1; 30]);
    assert_eq!(list(failed).await?, entries[30..]);
    // An entry only ever moves to the front: one that is further on is another.
    assert_eq!(take("take", &[failed], &[["3", "2", "45", "0"]]).await?, [0]);
    // To look for each takes as long as the list is, so there is an end to it.
    let mut missing = vec![["9", "2", "xx", "0"]; 15];
    missing.extend([["9", "2", "45", "0"], ["9", "2", "44", "0"]]);
    let mut there = [0; 17];
    there[15] = 1;
    assert_eq!(take("take", &[failed], &missing).await?, there);
    Ok(())
}

#[tokio::test]
async fn entries_stay_in_the_failed_list_where_their_jobs_cannot_go() -> anyhow::Result<()> {
    let [failed, one, two] = &keys(["failed", "one", "two"]);
    let _: u64 = tell(&["RPUSH", failed, "a", "b"]).await?;
    let _: () = tell(&["SET", two, "no list"]).await?;
    let entries = [["0", "1", "a", "1"], ["1", "1", "b", "2"]];
    let taken = take("take", &[failed, one, two], &entries).await;
    taken.expect_err("a key of the wrong type");
    assert_eq!((list(failed).await?.len(), exist([one]).await?), (2, 0));
    Ok(())
}

#[tokio::test]
async fn without_memory_entries_still_go_back_to_their_queue() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let [failed, ready] = &keys(["failed", "ready"]);
    let _: u64 = redis.tell(&["RPUSH", failed, "a"]).await?;
    let _: () = redis.tell(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    let args = ["take", "no entry", "0", "1", "a", "1", "job"];
    let there: Vec<u64> = run_at(&redis, TAKE_FAILED, &[failed, ready], &args).await?;
    assert_eq!(there, [1]);
    assert_eq!(
        redis
            .tell::<(u64, u64)>(&[
                "EVAL",
                "return {redis.call('EXISTS', KEYS[1]), redis.call('LLEN', KEYS[2])}",
                "2",
                failed,
                ready
            ])
            .await?,
        (0, 1)
    );
    Ok(())
}
