//! Waiting for jobs: every end is told to whoever asked for it, once, and again only where the job was done again.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln::admin::cancel::cancel;
use kiln::admin::results::{Outcome, wait};
use kiln::job::{MAX_ANSWERED_BYTES, Reply};
use kiln::outcome::{Failure, FailureKind, Settlement};
use kiln::queue::{Store, StoreSettings};
use kiln::service::{Drained, ServiceSettings};

use crate::pausing::{AT_ONCE, said};
use crate::queue::{LONG, fetch, join, push_numbered, ready, until_counts};
use crate::servers::Server;
use crate::service::{folder_of, serve, settings};
use crate::support::{default_queue, eventually, kiln, redis_settings, settings_at};

on_every_store! {
    whoever_waits_is_told_of_every_end_at_once
    a_long_result_is_told_of_by_its_length
    of_a_job_that_is_done_again_and_again_the_last_answer_is_told
}

const PATIENT: Option<Duration> = Some(Duration::from_mins(1));

async fn whoever_waits_is_told_of_every_end_at_once(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 4).await?;
    let consumer = join(&store, LONG).await?;
    let why = || Box::new(Failure::new(FailureKind::Expired, "too old"));
    let result = |id: &str| Some((id.to_owned(), "[1.0,2]".to_owned()));
    let mut deliveries = fetch(&consumer, 9).await?;
    for (n, delivery) in deliveries.iter_mut().enumerate().take(3) {
        delivery.reply_to(&n.to_string());
    }
    let ends = [
        Settlement::Ack { result: result("0") },
        Settlement::Drop { why: why() },
        Settlement::Ack { result: None },
        Settlement::Ack { result: result("3") },
    ];
    let settling = async {
        for (delivery, end) in deliveries.into_iter().zip(ends) {
            consumer.settle(delivery, end).await;
        }
    };
    let began = Instant::now();
    let waits = ["0", "1", "2", "3"].map(|id| wait(&store, id, PATIENT));
    let [a, b, c, d] = waits;
    let (a, b, c, d, ()) = tokio::join!(a, b, c, d, settling);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    let text = |outcome: Option<Outcome>| match outcome {
        Some(Outcome::Completed { result, .. }) => result.map(|result| result.get().to_owned()),
        Some(Outcome::Failed { kind, message }) => Some(format!("{kind}: {message}")),
        None => None,
    };
    assert_eq!(text(a?).as_deref(), Some("[1.0,2]"));
    assert_eq!(text(b?).as_deref(), Some("expired: too old"));
    assert_eq!(text(c?).as_deref(), Some("null"));
    assert_eq!(
        text(d?).as_deref(),
        Some("[1.0,2]"),
        "its result is kept, though it asks for no answer"
    );
    assert_eq!(store.ended("3").await?.reply, None);
    assert!(wait(&store, "nobody", Some(Duration::from_millis(1))).await?.is_none());
    Ok(())
}

async fn a_long_result_is_told_of_by_its_length(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 1).await?;
    let consumer = join(&store, LONG).await?;
    let long = format!("\"{}\"", "x".repeat(MAX_ANSWERED_BYTES));
    let mut delivery = fetch(&consumer, 1).await?.remove(0);
    delivery.reply_to("0");
    let result = Some(("0".to_owned(), long.clone()));
    consumer.settle(delivery, Settlement::Ack { result }).await;
    until_counts(&store, (0, 0, 0)).await?;
    let reply = store.ended("0").await?.reply.expect("an answer");
    assert_eq!(
        reply,
        format!(r#"{{"id":"0","outcome":"completed","result_bytes":{}}}"#, long.len())
    );
    let Some(Outcome::Completed { result, .. }) = wait(&store, "0", PATIENT).await? else {
        anyhow::bail!("it completed");
    };
    assert_eq!(
        result.map(|result| result.get().len()),
        Some(long.len()),
        "from where results are kept"
    );
    Ok(())
}

async fn of_a_job_that_is_done_again_and_again_the_last_answer_is_told(store: Store) -> anyhow::Result<()> {
    let backend = store.clone().into_backend();
    let one = |json: &str| Reply {
        id: "a".to_owned(),
        json: json.to_owned(),
    };
    for n in 0..30 {
        backend
            .reply(&[one(&format!(r#"{{"id":"a","outcome":"completed","result":{n}}}"#))])
            .await?;
    }
    let last = store.ended("a").await?.reply;
    assert_eq!(last.as_deref(), Some(r#"{"id":"a","outcome":"completed","result":29}"#));
    Ok(())
}

fn job(id: &str, name: &str, rest: &str) -> String {
    format!(r#"{{"id":"{id}","name":"{name}"{rest},"metadata":{{"kiln":{{"reply":true}}}}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_final_state_answers_on_a_key_that_any_client_can_pop() -> anyhow::Result<()> {
    let folder = folder_of(&[
        ("echo", ""),
        ("state", "[grants.state.counts]"),
        ("trap", "retry.attempts = 1"),
        ("retry", "retry = { attempts = 2, policy = \"fixed\", base = \"10ms\" }"),
        ("sleep", ""),
    ])?;
    let settings_of = redis_settings();
    let store = Store::open(&settings_of).await?;
    cancel(&store, &[default_queue()], &["cancelled".to_owned()]).await?;
    let old = r#","available_at":"2020-01-01T00:00:00Z","metadata":{"kiln":{"reply":true,"expires":"1h"}}"#;
    let jobs = [
        job("completed", "echo", r#","payload":[1.0]"#),
        job("writes", "state", r#","payload":"later counts done""#),
        job("trapped", "trap", ""),
        job("retried", "retry", ""),
        job("unknown", "nobody", ""),
        job("cancelled", "echo", ""),
        format!(r#"{{"id":"expired","name":"echo"{old}}}"#),
        r#"{"id":"malformed","metadata":{"kiln":{"reply":true}}}"#.to_owned(),
        r#"{"id":"unasked","name":"trap"}"#.to_owned(),
    ];
    store
        .push(&jobs.iter().map(|job| ready(job)).collect::<Vec<_>>())
        .await?;
    let service = ServiceSettings {
        burst: true,
        ..settings()
    };
    let (serving, _) = serve(service, &store, folder.path()).await?;
    assert_eq!(serving.await??, Drained::Clean);
    let mut client = redis::Client::open(&*settings_of.url)?
        .get_multiplexed_async_connection()
        .await?;
    for (id, expected) in [
        ("completed", r#""outcome":"completed","result":[1.0]}"#),
        ("writes", r#""outcome":"completed","result":[0,0]}"#),
        ("trapped", r#""outcome":"failed","kind":"trap","#),
        ("retried", r#""outcome":"failed","kind":"error","#),
        ("unknown", r#""outcome":"failed","kind":"unknown-job","#),
        (
            "cancelled",
            r#""outcome":"failed","kind":"cancelled","message":"an operator cancelled this job","attempt":0}"#,
        ),
        ("expired", r#""outcome":"failed","kind":"expired","#),
        ("malformed", r#""outcome":"failed","kind":"malformed","#),
    ] {
        let key = format!("{}:replies:{id}", settings_of.prefix);
        let ttl_ms: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut client).await?;
        assert!((1..=3_600_000).contains(&ttl_ms), "{id}: {ttl_ms}");
        let popped: Option<(String, String)> = redis::cmd("BLPOP").arg(&key).arg(1).query_async(&mut client).await?;
        let (_, reply) = popped.expect("an answer");
        assert!(reply.starts_with(&format!(r#"{{"id":"{id}",{expected}"#)), "{reply}");
        let left: i64 = redis::cmd("EXISTS").arg(&key).query_async(&mut client).await?;
        assert_eq!(left, 0, "{id} is told once");
    }
    assert_eq!(store.ended("unasked").await?.reply, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_can_be_told_jobs_are_settled_all_the_same() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", "")])?;
    let settings_of = redis_settings();
    let store = Store::open(&settings_of).await?;
    let mut client = redis::Client::open(&*settings_of.url)?
        .get_multiplexed_async_connection()
        .await?;
    let key = format!("{}:replies:a", settings_of.prefix);
    redis::cmd("SET")
        .arg(&key)
        .arg("no list")
        .exec_async(&mut client)
        .await?;
    store.push(&[ready(&job("a", "echo", ""))]).await?;
    let (serving, _) = serve(settings(), &store, folder.path()).await?;
    assert_eq!(serving.await??, Drained::Clean);
    assert_eq!(store.result("a").await?.as_deref(), Some("null"));
    Ok(())
}

/// Ends with its worker.
fn at_work(settings: &StoreSettings, folder: &std::path::Path) -> anyhow::Result<crate::process::Worker> {
    crate::process::Worker::start(settings, folder, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_waits_and_exits_by_the_outcome() -> anyhow::Result<()> {
    let folder = folder_of(&[
        ("echo", ""),
        ("trap", "retry.attempts = 1"),
        ("permanent", ""),
        ("sleep", ""),
    ])?;
    let redis = Server::start(&[])?;
    let settings_of = settings_at(&redis.url());
    let worker = at_work(&settings_of, folder.path())?;
    worker.until_said("worker started").await?;
    let kiln_with = |args: &[&str]| said(kiln().args(args), &settings_of);
    let (code, told, note) = kiln_with(&["push", "echo", "[1.0, 2]", "--id", "a", "--wait"])?;
    assert_eq!((code, &*told, &*note), (0, "[1.0, 2]\n", "pushed a\n"));
    let (code, told, _) = kiln_with(&["result", "a", "--json"])?;
    assert_eq!(
        (code, &*told),
        (0, "{\"id\":\"a\",\"outcome\":\"completed\",\"result\":[1.0, 2]}\n")
    );
    let (code, told, why) = kiln_with(&["push", "trap", "--id", "b", "--wait=50s"])?;
    assert_eq!((code, &*told), (12, ""));
    assert!(why.contains("\nkiln: b failed: trap: "), "{why}");
    let (code, told, _) = kiln_with(&["result", "b", "--json"])?;
    assert!(
        code == 12 && told.starts_with(r#"{"id":"b","outcome":"failed","kind":"trap","message":""#),
        "{told}"
    );
    let (code, told, why) = kiln_with(&["push", "echo", "7", "--id", "b", "--wait"])?;
    let known = "kiln: a job b has ended before, and its end is still told; wait for one with another --id\n";
    assert_eq!((code, &*told, &*why), (2, "", known));
    assert_eq!(kiln_with(&["push", "permanent", "--wait"])?.0, 10);
    assert_eq!(kiln_with(&["push", "nobody", "--wait"])?.0, 16);
    let (code, _, why) = kiln_with(&["push", "sleep", "--id", "c", "--wait=10ms"])?;
    assert_eq!((code, &*why), (8, "pushed c\nkiln: c has not ended in time\n"));
    let waiting = Command::new(kiln().get_program())
        .args([
            "result",
            "c",
            "--wait",
            "--store",
            &settings_of.url,
            "--prefix",
            &settings_of.prefix,
        ])
        .stderr(Stdio::piped())
        .spawn()?;
    assert_eq!(kiln_with(&["cancel", "c"])?.0, 0);
    let ended = waiting.wait_with_output()?;
    let why = String::from_utf8(ended.stderr)?;
    assert_eq!(
        (ended.status.code(), &*why),
        (Some(16), "kiln: c failed: cancelled: an operator cancelled this job\n")
    );
    let (code, _, why) = kiln_with(&["result", "none"])?;
    assert_eq!((code, &*why), (5, "kiln: nothing is known of a result of none\n"));
    for wrong in [
        &["push", "echo", "--wait=0s"][..],
        &["push", "echo", "--wait", "--meta", "kiln=1"],
        &["push", "--batch", "x", "--wait"],
    ] {
        assert_eq!(kiln_with(wrong)?.0, 2, "{wrong:?}");
    }
    let store = Store::open(&settings_of).await?;
    eventually("nothing left", async || {
        Ok(store.counts(&default_queue()).await?.is_empty().then_some(()))
    })
    .await?;
    drop(worker);
    Ok(())
}
