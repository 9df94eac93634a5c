//! What is kept of attempts: who ran them, when, what they came to and what their handlers said.

use std::time::Duration;

use kiln::admin::job::{Life, Look, State, life, words};
use kiln::config::{HistorySettings, KeepAttempts, KeepLogs};
use kiln::outcome::{AttemptRecord, FailureKind, MAX_SAID_BYTES, Settlement};
use kiln::queue::{Consumer, MAX_HISTORIES, MAX_JOB_HISTORY_BYTES, ProgressReport, Store, StoreSettings};
use kiln::service::{Drained, ServiceSettings};

use crate::pausing::said;
use crate::queue::{ACK, LONG, fetch, join, push_numbered, until_counts};
use crate::service::{folder_of, push, serve, settings};
use crate::support::{default_queue, eventually, kiln, redis_settings};

on_every_store! {
    what_is_recorded_comes_with_the_settlement_and_the_last_of_it_stays
    of_a_settlement_that_is_refused_the_attempt_is_kept_all_the_same
    no_more_is_kept_than_may_be_and_the_newest_stays
    a_running_attempt_tells_of_itself_and_takes_that_back
}

async fn kept(store: &Store, id: &str) -> anyhow::Result<Vec<String>> {
    let lines = store.past(&default_queue(), id).await?.attempts;
    Ok(lines.lines().map(str::to_owned).collect())
}

/// Records for each of some jobs, and settles them.
async fn record(consumer: &Consumer, count: usize, json: impl Fn(usize) -> String) -> anyhow::Result<()> {
    for (n, mut delivery) in fetch(consumer, count).await?.into_iter().enumerate() {
        delivery.record("7", json(n));
        consumer.settle(delivery, ACK).await;
    }
    Ok(())
}

async fn what_is_recorded_comes_with_the_settlement_and_the_last_of_it_stays(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 20).await?;
    let consumer = join(&store, LONG).await?;
    record(&consumer, 3, |n| format!("{{\"n\":{n}}}")).await?;
    eventually("what is kept", async || {
        Ok((kept(&store, "7").await?.len() == 3).then_some(()))
    })
    .await?;
    assert_eq!(kept(&store, "7").await?, [r#"{"n":0}"#, r#"{"n":1}"#, r#"{"n":2}"#]);
    assert!(kept(&store, "8").await?.is_empty());
    let long = |n: usize| format!("{{\"n\":{n},\"x\":\"{}\"}}", "x".repeat(MAX_JOB_HISTORY_BYTES / 4));
    record(&consumer, 9, long).await?;
    until_counts(&store, (8, 0, 0)).await?;
    let last = eventually("the last of it", async || {
        let kept = kept(&store, "7").await?;
        Ok(kept
            .last()
            .is_some_and(|last| last.starts_with(r#"{"n":8"#))
            .then_some(kept))
    })
    .await?;
    assert_eq!(last.len(), 3, "four of them are too long");
    Ok(())
}

async fn of_a_settlement_that_is_refused_the_attempt_is_kept_all_the_same(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 1).await?;
    let (first, second) = (join(&store, Duration::from_secs(1)).await?, join(&store, LONG).await?);
    let mut delivery = fetch(&first, 1).await?.remove(0);
    delivery.record("0", "{}".to_owned());
    // The lease of the first runs out, and the second takes its job over.
    let adopted = eventually("the job's new host", async || {
        Ok(Some(second.adopt(&default_queue()).await?).filter(|adopted| !adopted.is_empty()))
    })
    .await?;
    first.settle(delivery, Settlement::Ack { result: None }).await;
    eventually("what is kept", async || {
        Ok((kept(&store, "0").await? == ["{}"]).then_some(()))
    })
    .await?;
    assert_eq!(store.counts(&default_queue()).await?.in_flight, adopted.len() as u64);
    Ok(())
}

async fn no_more_is_kept_than_may_be_and_the_newest_stays(store: Store) -> anyhow::Result<()> {
    const BATCH: usize = 250;
    let consumer = join(&store, LONG).await?;
    for batch in 0..=MAX_HISTORIES / BATCH {
        push_numbered(&store, BATCH).await?;
        for (n, mut delivery) in fetch(&consumer, BATCH).await?.into_iter().enumerate() {
            delivery.record(&(batch * BATCH + n).to_string(), "{}".to_owned());
            consumer.settle(delivery, ACK).await;
        }
    }
    let newest = (MAX_HISTORIES + BATCH - 1).to_string();
    eventually("the newest", async || {
        Ok((!kept(&store, &newest).await?.is_empty()).then_some(()))
    })
    .await?;
    let (gone, stays) = ((BATCH - 1).to_string(), BATCH.to_string());
    // Those that are written together have one time, and go by their ids.
    assert!(kept(&store, &gone).await?.is_empty() && kept(&store, "0").await?.is_empty());
    let mut left = 0;
    for id in [&stays, &newest] {
        left += kept(&store, id).await?.len();
    }
    assert!(left >= 1);
    Ok(())
}

async fn a_running_attempt_tells_of_itself_and_takes_that_back(store: Store) -> anyhow::Result<()> {
    let report = |id: &str, json: Option<&str>| ProgressReport {
        id: id.to_owned(),
        json: json.map(str::to_owned),
    };
    store
        .report_progress(&[report("1", Some("{}")), report("2", Some("{\"a\":1}"))])
        .await?;
    assert_eq!(store.progress("2").await?.as_deref(), Some("{\"a\":1}"));
    store
        .report_progress(&[report("2", None), report("1", Some("[]"))])
        .await?;
    assert_eq!(
        (store.progress("1").await?.as_deref(), store.progress("2").await?),
        (Some("[]"), None)
    );
    Ok(())
}

fn keeping(attempts: KeepAttempts, logs: KeepLogs) -> ServiceSettings {
    ServiceSettings {
        history: HistorySettings { attempts, logs },
        ..settings()
    }
}

async fn life_of(store: &Store, id: &str) -> anyhow::Result<Life> {
    Ok(life(store, id, &Look::default()).await?)
}

async fn attempts(store: &Store, id: &str) -> anyhow::Result<Vec<AttemptRecord>> {
    Ok(words(store, id, None).await?.attempts)
}

const AT_ONCE: &str = "retry = { policy = \"fixed\", base = \"1ms\", jitter = 0 }\nversion = \"1.2\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn of_failed_attempts_it_is_kept_who_ran_them_when_and_what_was_said() -> anyhow::Result<()> {
    for store in [redis_settings(), StoreSettings::new("memory:")] {
        let store = Store::open(&store).await?;
        let folder = folder_of(&[("tells", AT_ONCE), ("ok", "")])?;
        let before_ms = store.now().await?.as_millisecond() - 1;
        let jobs = [
            r#"{"id":"7","name":"tells","payload":10,"max_attempts":2}"#,
            r#"{"id":"8","name":"ok"}"#,
        ];
        push(&store, &jobs).await?;
        push(&store, &[r#"{"id":"9","name":"nobody"}"#]).await?;
        let (serving, _) = serve(settings(), &store, folder.path()).await?;
        assert_eq!(serving.await??, Drained::Clean);
        let life = life_of(&store, "7").await?;
        assert_eq!((life.state, life.attempts.len()), (State::Failed, 2));
        for (attempt, number) in life.attempts.iter().zip(1..) {
            assert_eq!((attempt.attempt, attempt.failure), (number, Some(FailureKind::Error)));
            assert_eq!((attempt.message.as_str(), attempt.plugin.as_str()), ("busy", "tells"));
            assert_eq!((attempt.version.as_deref(), attempt.digest.len()), (Some("1.2"), 12));
            assert_eq!(
                (attempt.progress_percent, attempt.again_in_ms),
                (Some(40), (number == 1).then_some(1))
            );
            let started_ms = attempt.started_ms.expect("it ran");
            let order = [before_ms, attempt.fetched_ms, started_ms, attempt.ended_ms];
            assert!(order.is_sorted() && attempt.ended_ms >= started_ms + 10, "{attempt:?}");
            assert!(attempt.peak_memory_bytes > 0 && attempt.cpu_us > 0, "{attempt:?}");
            let said = attempt.said.as_ref().expect("its words");
            let lines: Vec<_> = said
                .lines
                .iter()
                .map(|line| (&*line.level, &*line.context, &*line.message))
                .collect();
            assert_eq!(lines, [("warn", "main", r"begun\u001b[31m"), ("info", "", "ended")]);
            assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("printed", ""));
        }
        assert!(attempts(&store, "8").await?.is_empty(), "it completed");
        let unknown = attempts(&store, "9").await?;
        assert_eq!((unknown.len(), unknown[0].failure), (1, Some(FailureKind::UnknownJob)));
        assert_eq!((unknown[0].started_ms, unknown[0].attempt), (None, 0));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_or_nothing_is_kept_where_the_host_or_a_manifest_says_so() -> anyhow::Result<()> {
    let job = |id: &str, name: &str| format!(r#"{{"id":"{id}","name":"{name}","payload":1,"max_attempts":1}}"#);
    for (attempts_kept, logs, manifest, flood, said_of_flood, failed, said_of_failed) in [
        (KeepAttempts::All, KeepLogs::Off, "", 1, false, 1, false),
        (
            KeepAttempts::Failures,
            KeepLogs::Failures,
            "logs = \"all\"",
            1,
            true,
            1,
            true,
        ),
        (KeepAttempts::Off, KeepLogs::All, "logs = \"all\"", 0, false, 0, false),
        (
            KeepAttempts::Failures,
            KeepLogs::All,
            "logs = \"off\"",
            0,
            false,
            1,
            true,
        ),
    ] {
        let store = Store::open(&redis_settings()).await?;
        let folder = folder_of(&[("tells", ""), ("log_flood", manifest)])?;
        push(&store, &[&job("7", "tells"), &job("8", "log_flood")]).await?;
        let (serving, _) = serve(keeping(attempts_kept, logs), &store, folder.path()).await?;
        assert_eq!(serving.await??, Drained::Clean);
        let (tells, floods) = (attempts(&store, "7").await?, attempts(&store, "8").await?);
        let said = |kept: &[AttemptRecord]| kept.iter().any(|attempt| attempt.said.is_some());
        let what = format!("{attempts_kept:?} {logs:?} {manifest}");
        assert_eq!((floods.len(), said(&floods)), (flood, said_of_flood), "{what}");
        assert_eq!((tells.len(), said(&tells)), (failed, said_of_failed), "{what}");
        if let Some(said) = floods.first().and_then(|attempt| attempt.said.as_ref()) {
            let bytes: usize = said
                .lines
                .iter()
                .map(|line| line.context.len() + line.message.len())
                .sum();
            assert!(bytes <= MAX_SAID_BYTES && said.dropped_lines > 0, "{bytes}");
            assert_eq!(life_of(&store, "8").await?.state, State::Completed);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_tells_its_host_its_progress_and_its_words() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("tells", "logs = \"all\"")])?;
    push(
        &store,
        &[r#"{"id":"7","name":"tells","payload":9000,"max_attempts":1}"#],
    )
    .await?;
    let (serving, stop) = serve(
        keeping(KeepAttempts::Failures, KeepLogs::Failures),
        &store,
        folder.path(),
    )
    .await?;
    let life = eventually("the progress, and the host's report", async || {
        let life = life_of(&store, "7").await?;
        Ok(Some(life).filter(|life| life.progress.is_some() && !life.running.is_empty()))
    })
    .await?;
    assert_eq!(life.state, State::InFlight);
    let (running, report) = (&life.running[0], life.progress.expect("a report"));
    assert_eq!(
        (report.percent, report.note.as_str(), report.attempt),
        (Some(40), "half", 1)
    );
    assert_eq!((&report.host, &report.queue), (&running.host, &running.queue));
    let now_ms = store.now().await?.as_millisecond();
    assert!((now_ms - 60_000..now_ms).contains(&running.since_ms), "{running:?}");
    let lines = report.said.expect("its words so far").lines;
    assert_eq!(
        lines.iter().map(|line| &*line.message).collect::<Vec<_>>(),
        [r"begun\u001b[31m"]
    );
    let (code, out, _) = said(kiln().args(["job", "7"]), &settings)?;
    assert!(
        code == 0 && out.contains("40% half") && out.contains("runs        on "),
        "{out}"
    );
    // Each line once, as it comes, until the job has ended.
    let (code, out, _) = said(kiln().args(["logs", "7", "--follow"]), &settings)?;
    let shown = [
        "WARN main: begun",
        "#1 40% half",
        "#1 INFO ended",
        "#1 stdout  printed",
        "#1 error: busy",
    ];
    let places: Vec<_> = shown.iter().map(|what| out.find(what)).collect();
    assert!(code == 0 && places.is_sorted() && places[0].is_some(), "{out}");
    assert_eq!(out.matches("begun").count(), 1, "{out}");
    eventually("that the report is taken back", async || {
        Ok(store.progress("7").await?.is_none().then_some(()))
    })
    .await?;
    stop.cancel();
    serving.await??;
    let (code, out, _) = said(kiln().args(["logs", "7"]), &settings)?;
    assert!(
        code == 0 && out.contains("#1 INFO ended") && !out.contains('\u{1b}'),
        "{out}"
    );
    let (code, _, err) = said(kiln().args(["logs", "8"]), &settings)?;
    assert_eq!((code, err.as_str()), (5, "kiln: nothing is kept of what job 8 said\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_complete_cost_no_command_more_than_without_a_history() -> anyhow::Result<()> {
    let redis = crate::servers::Server::start(&[])?;
    let mut sent = Vec::new();
    for history in [KeepAttempts::Off, KeepAttempts::Failures] {
        let store = Store::open(&crate::support::settings_at(&redis.url())).await?;
        let folder = folder_of(&[("toil", "")])?;
        push(&store, &[r#"{"id":"7","name":"toil"}"#; 300]).await?;
        let (serving, _) = serve(keeping(history, KeepLogs::Failures), &store, folder.path()).await?;
        serving.await??;
        let record = include_str!("../../host/queue/redis/scripts/record.lua");
        let sha: String = redis
            .tell(&["EVAL", "return redis.sha1hex(ARGV[1])", "0", record])
            .await?;
        let known: Vec<bool> = redis.tell(&["SCRIPT", "EXISTS", &sha]).await?;
        let keys: Vec<String> = redis.tell(&["KEYS", "*histor*"]).await?;
        let told: Vec<String> = redis.tell(&["KEYS", "*progress*"]).await?;
        sent.push((known, keys, told));
    }
    assert_eq!(sent, [(vec![false], vec![], vec![]), (vec![false], vec![], vec![])]);
    Ok(())
}
