//! Jobs that have grown too old to run.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use kiln::config::Expired;
use kiln::outcome::FailureKind;
use kiln::queue::{Store, StoreSettings};
use kiln::service::ServiceSettings;

use crate::process::Worker;
use crate::queue::{due, ready};
use crate::service::{failures, folder_of, serve, settings};
use crate::support::{default_queue, eventually, redis_settings};

fn ago(hours: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(hours)
}

/// A job that became available that long ago, with a wish about its end.
fn job(id: &str, name: &str, hours: i64, expires: &str) -> String {
    let at = ago(hours);
    let wish = if expires.is_empty() {
        String::new()
    } else {
        format!(r#","metadata":{{"kiln":{{"expires":{expires}}}}}"#)
    };
    format!(r#"{{"id":"{id}","name":"{name}","created_at":"{at}","available_at":"{at}"{wish}}}"#)
}

async fn until_idle(store: &Store) -> anyhow::Result<()> {
    eventually("nothing left to do", async || {
        Ok(store.counts(&default_queue()).await?.is_empty().then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_is_dropped_or_kept_and_all_else_runs() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", ""), ("ok", "expire = \"1h\"")])?;
    for (settings_of, expired) in [
        (redis_settings(), Expired::Drop),
        (redis_settings(), Expired::Keep),
        (StoreSettings::new("memory:"), Expired::Drop),
        (StoreSettings::new("memory:"), Expired::Keep),
    ] {
        let store = Store::open(&settings_of).await?;
        let (past, future) = (format!("\"{}\"", ago(1)), format!("\"{}\"", ago(-1)));
        let old = [
            job("by-duration", "echo", 2, r#""1h""#),
            job("by-time", "echo", 0, &past),
            job("by-manifest", "ok", 2, ""),
            job("sooner-than-manifest", "ok", 0, r#""1ms""#),
        ];
        let runs = [
            job("young", "echo", 2, r#""3h""#),
            job("in-time", "echo", 9, &future),
            job("no-wish", "echo", 9, ""),
            job("by-manifest-young", "ok", 0, ""),
            job("later-than-manifest", "ok", 2, r#""3h""#),
            job("no-duration", "echo", 9, r#""soon""#),
            job("no-text", "echo", 9, "7"),
            job("at-once", "echo", 9, r#""0s""#),
            r#"{"id":"ageless","name":"ok","metadata":{"kiln":{"expires":"1ms"}}}"#.to_owned(),
        ];
        let jobs: Vec<_> = old.iter().chain(&runs).map(|job| ready(job)).collect();
        store.push(&jobs).await?;
        let service = ServiceSettings {
            burst: false,
            expired,
            ..settings()
        };
        let (serving, stop) = serve(service, &store, folder.path()).await?;
        for id in [
            "young",
            "in-time",
            "no-wish",
            "by-manifest-young",
            "later-than-manifest",
        ] {
            eventually(id, async || Ok(store.result(id).await?)).await?;
        }
        for id in ["no-duration", "no-text", "at-once", "ageless"] {
            eventually(id, async || Ok(store.result(id).await?)).await?;
        }
        until_idle(&store).await?;
        stop.cancel();
        serving.await??;
        let failed = failures(&store).await?;
        if expired == Expired::Drop {
            assert!(failed.is_empty(), "{failed:?}");
            continue;
        }
        let ids: BTreeSet<_> = failed.keys().map(String::as_str).collect();
        let expected = ["by-duration", "by-manifest", "by-time", "sooner-than-manifest"];
        assert_eq!(ids, BTreeSet::from(expected));
        assert!(failed.values().all(|kind| *kind == FailureKind::Expired), "{failed:?}");
        for entry in store.failed(0, 9).await? {
            let failure = entry.failure().expect("Kiln's");
            assert!(failure.message.starts_with("it was to run by 20"), "{failure}");
            assert_eq!((failure.attempt, entry.job().expect("a job").attempts), (0, 0));
        }
        // What an operator puts back runs, though its time is over.
        let entries = store.failed(0, 9).await?;
        store.retry_failed(entries).await?;
        let service = ServiceSettings { expired, ..settings() };
        let (serving, _) = serve(service, &store, folder.path()).await?;
        serving.await??;
        let mut again = failures(&store).await?;
        assert_eq!(again.remove("sooner-than-manifest"), Some(FailureKind::Expired));
        assert!(again.is_empty(), "{again:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_failed_makes_no_job_younger() -> anyhow::Result<()> {
    let retry = "retry = { policy = \"fixed\", base = \"1500ms\", jitter = 0 }";
    let folder = folder_of(&[("retry", &format!("expire = \"1s\"\n{retry}"))])?;
    for settings_of in [redis_settings(), StoreSettings::new("memory:")] {
        let store = Store::open(&settings_of).await?;
        let service = ServiceSettings {
            burst: true,
            expired: Expired::Keep,
            ..settings()
        };
        let now = store.now().await?;
        let wish = r#"{"kiln":{"expires":"1s","retry":{"policy":"fixed","base":"1500ms"}}}"#;
        let times = format!(r#""created_at":"{now}","updated_at":"{now}","available_at":"{now}""#);
        let by_manifest = format!(r#"{{"id":"manifest","name":"retry",{times}}}"#);
        let by_wish = format!(r#"{{"id":"wish","name":"retry",{times},"metadata":{wish}}}"#);
        store
            .push(&[ready(&by_manifest), due(&by_wish, now.as_millisecond())])
            .await?;
        let (serving, _) = serve(service, &store, folder.path()).await?;
        serving.await??;
        for entry in store.failed(0, 9).await? {
            let (job, failure) = (entry.job().expect("a job"), entry.failure().expect("Kiln's"));
            assert_eq!((failure.kind, job.attempts), (FailureKind::Expired, 1), "{}", job.id);
        }
        assert_eq!(store.failed_len().await?, 2);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_says_what_it_drops_and_which_wish_it_cannot_read() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", "")])?;
    let settings_of = redis_settings();
    let store = Store::open(&settings_of).await?;
    let jobs = [
        job("old", "echo", 2, r#""1h""#),
        job("wrong", "echo", 0, r#""next week""#),
        job("wrong-too", "echo", 0, r#""next week""#),
    ];
    store
        .push(&jobs.iter().map(|job| ready(job)).collect::<Vec<_>>())
        .await?;
    let ended = async |extra: &[&str]| -> anyhow::Result<Vec<String>> {
        let mut worker = Worker::start(&settings_of, folder.path(), &[&["--burst"], extra].concat())?;
        eventually("its end", async || worker.exit_code()).await?;
        Ok(worker.lines())
    };
    let lines = ended(&[]).await?;
    let with = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!(with("job is expired; it does not run"), 1, "{lines:#?}");
    assert_eq!(with("a job's wish is ignored"), 1, "once for each name: {lines:#?}");
    let why = "metadata.kiln.expires is ignored: \\\"next week\\\" is neither a duration, like 10m, nor a time";
    assert_eq!(with(why), 1, "{lines:#?}");
    assert_eq!(store.failed_len().await?, 0);
    store.push(&[ready(&jobs[0])]).await?;
    ended(&["--expired", "keep"]).await?;
    assert_eq!(failures(&store).await?["old"], FailureKind::Expired);
    Ok(())
}
