//! Workers as processes of their own: what they log, how they stop, and what they survive.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kiln::outcome::FailureKind;
use kiln::queue::{Counts, Push, Store};

use crate::process::Worker;
use crate::queue::until_counts;
use crate::servers::Server;
use crate::service::{folder_of, push};
use crate::support::{default_queue, eventually, redis_settings, settings_at};

/// A log that tells of attempts that start.
const STARTS: &str = "debug,kiln::observe=trace";

async fn until_in_flight(store: &Store, jobs: u64) -> anyhow::Result<()> {
    eventually("running jobs", async || {
        Ok((store.counts(&default_queue()).await?.in_flight == jobs).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_log_nobody_takes_goes_on_and_can_be_stopped() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("echo", "")])?;
    let mut worker = Worker::mute(&settings, folder.path(), &["--log", "debug"])?;
    push(
        &store,
        &[
            r#"{"id":"a","name":"echo","payload":1}"#,
            "garbage",
            r#"{"id":"b","name":"echo","payload":2}"#,
        ],
    )
    .await?;
    eventually("both results", async || {
        Ok(store.result("a").await?.zip(store.result("b").await?))
    })
    .await?;
    eventually("the failed entry", async || {
        Ok((store.failed_len().await? == 1).then_some(()))
    })
    .await?;
    worker.signal("-TERM")?;
    assert_eq!(worker.exit_code()?, Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_gives_unfinished_jobs_back_and_says_so() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("spin", "")])?;
    push(&store, &[r#"{"name":"spin"}"#]).await?;
    let mut worker = Worker::start(&settings, folder.path(), &["--grace", "100ms"])?;
    eventually("a running job", async || {
        Ok((store.counts(&default_queue()).await?.in_flight == 1).then_some(()))
    })
    .await?;
    worker.signal("-TERM")?;
    assert_eq!(worker.exit_code()?, Some(6));
    let Counts {
        ready,
        in_flight,
        hosts,
        ..
    } = store.counts(&default_queue()).await?;
    assert_eq!((ready, in_flight, hosts.len()), (1, 0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("spin", "")])?;
    push(&store, &[r#"{"name":"spin"}"#]).await?;
    let mut worker = Worker::start(&settings, folder.path(), &["--grace", "1h", "--log", STARTS])?;
    worker.until_said("attempt starts").await?;
    worker.signal("-TERM")?;
    worker.until_said("draining").await?;
    // One that follows at once is taken for the same.
    eventually("the end", async || {
        worker.signal("-TERM")?;
        Ok(worker.process.try_wait()?)
    })
    .await?;
    assert_eq!(worker.exit_code()?, Some(130));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_another_worker_finishes_every_job() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("echo", ""), ("spin", "")])?;
    let ids: BTreeSet<String> = (0..2_000).map(|n| n.to_string()).collect();
    let mut jobs: Vec<_> = ids
        .iter()
        .map(|id| format!(r#"{{"id":"{id}","name":"echo","payload":{id}}}"#))
        .collect();
    // Some that certainly run when the worker dies; they time out at the next one.
    jobs.insert(
        500,
        r#"{"id":"spin","name":"spin","max_attempts":1,"timeout":500000000}"#.to_owned(),
    );
    jobs.insert(
        0,
        r#"{"id":"spin0","name":"spin","max_attempts":1,"timeout":60000000000}"#.to_owned(),
    );
    let push = |job: &String| Push {
        queue: default_queue(),
        job: job.clone(),
        due_ms: None,
    };
    store.push(&jobs.iter().map(push).collect::<Vec<_>>()).await?;
    let doomed = Worker::start(&settings, folder.path(), &["--lease", "1s"])?;
    eventually("running jobs", async || {
        Ok((store.counts(&default_queue()).await?.in_flight > 0).then_some(()))
    })
    .await?;
    doomed.signal("-KILL")?;
    std::fs::write(folder.path().join("spin.toml"), "timeout = \"200ms\"")?;
    let mut heir = Worker::start(&settings, folder.path(), &["--lease", "1s", "--burst"])?;
    assert_eq!(heir.exit_code()?, Some(0));
    assert!(store.counts(&default_queue()).await?.is_empty());
    for id in &ids {
        assert_eq!(store.result(id).await?.as_ref(), Some(id));
    }
    let failed = store.failed(0, 100).await?;
    assert_eq!(failed.len(), 2);
    assert!(
        failed
            .iter()
            .all(|entry| entry.failure().unwrap().kind == FailureKind::Timeout)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_host_drops_what_is_no_longer_its_own() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("sleep", "")])?;
    push(&store, &[r#"{"id":"a","name":"sleep"}"#]).await?;
    let mut paused = Worker::start(&settings, folder.path(), &["--lease", "1s", "--log", "debug"])?;
    until_in_flight(&store, 1).await?;
    let held = async |host: &str| {
        let hosts = store.counts(&default_queue()).await?.hosts;
        anyhow::Ok(hosts.get(host).map_or(0, |host| host.in_flight))
    };
    let first = store.counts(&default_queue()).await?.hosts.into_keys().next().unwrap();
    paused.signal("-STOP")?;
    let heir = Worker::start(&settings, folder.path(), &["--lease", "1s", "--log", "debug"])?;
    heir.until_said("took over from a host that died").await?;
    until_in_flight(&store, 1).await?;
    assert_eq!(held(&first).await?, 0, "the heir runs it");
    paused.signal("-CONT")?;
    paused.until_said("attempt stopped").await?;
    eventually("a new lease", async || {
        let hosts = store.counts(&default_queue()).await?.hosts;
        Ok(hosts
            .get(&first)
            .is_some_and(|host| host.lease_left_ms > 0)
            .then_some(()))
    })
    .await?;
    // It counts as lost once, so it may be a moment before the heir runs it again.
    eventually("that the heir alone holds it", async || {
        let found = (held(&first).await?, store.counts(&default_queue()).await?.in_flight);
        Ok((found == (0, 1)).then_some(()))
    })
    .await?;
    paused.signal("-TERM")?;
    assert_eq!(paused.exit_code()?, Some(0));
    assert_eq!(paused.lines_with("job completed").len(), 0);
    Ok(())
}

/// Attempts, of hundreds, that may have found the lease good and not yet said that they begin.
const ON_THEIR_WAY: usize = 8;

/// Jobs that compute for some milliseconds each, so that most of those that a host holds have not begun.
async fn push_backlog(store: &Store, count: usize) -> anyhow::Result<()> {
    push(store, &vec![r#"{"name":"toil"}"#; count]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_took_over_during_a_pause_does_not_begin_after_it() -> anyhow::Result<()> {
    const HELD: usize = 256;
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("toil", "")])?;
    push_backlog(&store, HELD).await?;
    let flags = ["--lease", "1s", "--concurrency", "256", "--log", "debug"];
    let mut paused = Worker::start(&settings, folder.path(), &flags)?;
    paused.until_said("percent=0").await?;
    paused.signal("-STOP")?;
    let heir = Worker::start(&settings, folder.path(), &flags)?;
    heir.until_said("took over from a host that died").await?;
    until_counts(&store, (0, 0, 0)).await?;
    let began = paused.lines_with("percent=0").len();
    assert!(began < HELD, "there is a backlog");
    heir.signal("-TERM")?;
    heir.until_said("worker stopped").await?;
    paused.signal("-CONT")?;
    paused.until_said("the lease").await?;
    // What comes now is this host's alone, and stands behind all that it held: hundreds would begin before it.
    push_backlog(&store, 1).await?;
    until_counts(&store, (0, 0, 0)).await?;
    paused.signal("-TERM")?;
    assert_eq!(paused.exit_code()?, Some(0));
    paused.until_said("worker stopped").await?;
    let later = paused.lines_with("percent=0").len() - began;
    assert!(later <= ON_THEIR_WAY + 1, "{later} began");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_once_an_outage_has_outlasted_the_lease() -> anyhow::Result<()> {
    /// More than are done within a lease.
    const HELD: usize = 4_000;
    let mut redis = Server::start(&[])?;
    let settings = settings_at(&redis.url());
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("toil", "")])?;
    push_backlog(&store, HELD).await?;
    let flags = [
        "--lease",
        "1s",
        "--concurrency",
        "4000",
        "--grace",
        "1s",
        "--log",
        "debug",
    ];
    let mut worker = Worker::start(&settings, folder.path(), &flags)?;
    worker.until_said("percent=0").await?;
    redis.kill();
    worker.until_said("the lease could not be put off").await?;
    // No wait for anything: in this time hundreds would begin.
    tokio::time::sleep(Duration::from_secs(1)).await;
    worker.signal("-TERM")?;
    assert_eq!(worker.exit_code()?, Some(3));
    worker.until_said("the store did not take the last settlements").await?;
    let lines = worker.lines();
    let began = |lines: &[String]| lines.iter().filter(|line| line.contains("percent=0")).count();
    let end = lines
        .iter()
        .position(|line| line.contains("the lease could not be put off"));
    let (before, after) = lines.split_at(end.expect("it was said"));
    assert!(began(before) > 0 && began(before) < HELD, "{}", began(before));
    assert!(began(after) <= ON_THEIR_WAY, "{} began", began(after));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_runs_every_job_once() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("nap", "")])?;
    let ids: BTreeSet<String> = (0..400).map(|n| n.to_string()).collect();
    let jobs: Vec<_> = ids
        .iter()
        .map(|id| format!(r#"{{"id":"{id}","name":"nap","payload":100}}"#))
        .collect();
    push(&store, &jobs.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let start = || Worker::start(&settings, folder.path(), &["--concurrency", "8", "--log", "debug"]);
    let mut fleet = vec![start()?, start()?, start()?];
    let mut retired = Vec::new();
    for _ in 0..3 {
        let completed = |fleet: &[Worker]| fleet.iter().map(|host| host.lines_with("job completed").len()).sum();
        let before: usize = completed(&fleet);
        eventually("more jobs completed", async || {
            Ok((completed(&fleet) > before + 20).then_some(()))
        })
        .await?;
        let mut oldest = fleet.remove(0);
        oldest.signal("-TERM")?;
        assert_eq!(oldest.exit_code()?, Some(0));
        retired.push(oldest);
        fleet.push(start()?);
    }
    eventually("every result", async || {
        for id in &ids {
            if store.result(id).await?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await?;
    for host in &mut fleet {
        host.signal("-TERM")?;
        assert_eq!(host.exit_code()?, Some(0));
    }
    let mut completions = BTreeMap::<String, usize>::new();
    for host in fleet.iter().chain(&retired) {
        // The lines are all there once the process is gone and its pipe is read to the end.
        host.until_said("worker stopped").await?;
        for line in host.lines_with("job completed") {
            let id = line
                .split("id=\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next())
                .unwrap();
            *completions.entry(id.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(completions, ids.into_iter().map(|id| (id, 1)).collect());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_once_and_sat_out() -> anyhow::Result<()> {
    let mut redis = Server::start(&[])?;
    let settings = settings_at(&redis.url());
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("echo", "")])?;
    let mut worker = Worker::start(&settings, folder.path(), &["--lease", "2s", "--queue", "default,other"])?;
    worker.until_said("worker started").await?;
    redis.kill();
    worker.until_said("the lease could not be put off").await?;
    redis.restart()?;
    // The first of these meets a connection that broke.
    let job = r#"{"id":"a","name":"echo","payload":1}"#;
    eventually("a push", async || Ok(push(&store, &[job]).await.ok())).await?;
    eventually("a result", async || Ok(store.result("a").await?)).await?;
    worker.until_said("the store can be used again").await?;
    worker.signal("-TERM")?;
    assert_eq!(worker.exit_code()?, Some(0));
    worker.until_said("worker stopped").await?;
    let said = |what| worker.lines_with(what).len();
    assert_eq!(
        (said("the store cannot be used"), said("the store can be used again")),
        (1, 1)
    );
    assert_eq!(said("ERROR"), 2, "and the leases: {:?}", worker.lines_with("ERROR"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_deliver_its_last_settlements_says_so() -> anyhow::Result<()> {
    let mut redis = Server::start(&[])?;
    let settings = settings_at(&redis.url());
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("nap", "")])?;
    push(&store, &[r#"{"id":"a","name":"nap","payload":100}"#]).await?;
    let mut worker = Worker::start(&settings, folder.path(), &["--log", STARTS])?;
    worker.until_said("attempt starts").await?;
    redis.kill();
    worker.until_said("job completed").await?;
    worker.signal("-TERM")?;
    assert_eq!(worker.exit_code()?, Some(3));
    worker.until_said("the store did not take the last settlements").await?;
    redis.restart()?;
    eventually("a connection", async || Ok(store.failed_len().await.ok())).await?;
    until_in_flight(&store, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_kept_while_every_core_computes() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("spin", "timeout = \"4s\"")])?;
    let job = r#"{"name":"spin","max_attempts":1}"#;
    push(&store, &[job; 16]).await?;
    let mut worker = Worker::start(&settings, folder.path(), &["--lease", "2s", "--burst"])?;
    let other = Worker::start(&settings, folder.path(), &["--lease", "2s", "--concurrency", "1"])?;
    assert_eq!(worker.exit_code()?, Some(0));
    assert_eq!(store.failed_len().await?, 16);
    assert_eq!(
        worker.lines_with("the lease").len() + other.lines_with("took over").len(),
        0
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_plugin_is_no_hosts_and_another_takes_it_while_one_drains() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("sleep", "concurrency = 1")])?;
    let jobs: Vec<_> = (0..5).map(|n| format!(r#"{{"id":"{n}","name":"sleep"}}"#)).collect();
    push(&store, &jobs.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let worker = Worker::start(&settings, folder.path(), &["--grace", "1h"])?;
    let until = async |waiting: u64, in_flight: u64| {
        eventually("the jobs are where they belong", async || {
            let counts = store.counts(&default_queue()).await?;
            Ok(((counts.ready, counts.waiting, counts.in_flight) == (0, waiting, in_flight)).then_some(()))
        })
        .await
    };
    until(4, 1).await?;
    worker.signal("-TERM")?;
    worker.until_said("draining").await?;
    let _other = Worker::start(&settings, folder.path(), &[])?;
    until(3, 2).await
}
