//! The delayed set, and the moves into and out of it.

use redis::Value;

use super::{keys, list, run, scores, tell};

const CLAIM_DUE: &str = include_str!("../../../host/queue/redis/scripts/claim_due.lua");
const DROP_CLAIMED: &str = include_str!("../../../host/queue/redis/scripts/drop_claimed.lua");
const DUE: &str = include_str!("../../../host/queue/redis/scripts/due.lua");
const PROMOTE: &str = include_str!("../../../host/queue/redis/scripts/promote.lua");
const PUSH_DELAYED: &str = include_str!("../../../host/queue/redis/scripts/push_delayed.lua");

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
