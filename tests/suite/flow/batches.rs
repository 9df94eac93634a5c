//! Batches: what comes when all of their jobs have ended comes once, whatever ends them and however often they are told.

use std::collections::BTreeMap;

use kiln::job::Job;
use kiln::outcome::{BatchMark, Commit, Settlement};
use kiln::queue::{Consumer, Place, Store};
use serde_json::{Value, json};

use super::{follows, ids, other_queue, until_outbox_is_empty};
use crate::process::Worker;
use crate::queue::{LONG, fetch, join, push_numbered, ready};
use crate::service::folder_of;
use crate::support::{eventually, kiln, number_from, redis_settings};

on_every_store! {
    a_batch_calls_back_once_when_all_have_completed
    a_failed_job_completes_a_batch_and_its_revival_fulfils_it
    a_batch_that_grows_waits_for_those_that_were_added
}

fn mark(batch: &str, member: &str, failed: bool, of: u64) -> BatchMark {
    let callback = |which: &str| Some(follows(&format!("batch:{batch}:{which}"), "other", None));
    BatchMark {
        id: batch.to_owned(),
        of,
        member: member.to_owned(),
        failed,
        adds: Vec::new(),
        then: callback("then"),
        complete: callback("complete"),
        late: None,
    }
}

fn commit(mark: BatchMark) -> Commit {
    Commit {
        batches: vec![mark],
        ..Commit::default()
    }
}

fn ack(mark: BatchMark) -> Settlement {
    Settlement::Ack { result: None }.with(commit(mark))
}

/// A batch that no other test has.
pub(super) fn any_batch() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// How often each callback is there.
async fn called(store: &Store, batch: &str) -> anyhow::Result<BTreeMap<String, usize>> {
    let found = ids(store, &other_queue(), Place::Ready).await?;
    let short = |id: String| id.strip_prefix(&format!("batch:{batch}:")).unwrap_or(&id).to_owned();
    Ok(found.into_iter().map(|(id, times)| (short(id), times)).collect())
}

fn times(which: &[(&str, usize)]) -> BTreeMap<String, usize> {
    which
        .iter()
        .map(|(which, times)| ((*which).to_owned(), *times))
        .collect()
}

/// Has a host take one more job, and settle it so.
async fn settle_one(
    store: &Store,
    consumer: &Consumer,
    settlement: Settlement,
    note: Option<BatchMark>,
) -> anyhow::Result<()> {
    push_numbered(store, 1).await?;
    let mut delivery = fetch(consumer, 1).await?.remove(0);
    if let Some(note) = note {
        delivery.note(&commit(note));
    }
    consumer.settle(delivery, settlement).await;
    Ok(())
}

async fn a_batch_calls_back_once_when_all_have_completed(store: Store) -> anyhow::Result<()> {
    let (batch, consumer) = (any_batch(), join(&store, LONG).await?);
    // The last twice, as after a crash.
    for member in ["a", "b", "b", "c", "c"] {
        settle_one(&store, &consumer, ack(mark(&batch, member, false, 3)), None).await?;
    }
    consumer.finish().await?;
    until_outbox_is_empty(&consumer).await?;
    assert_eq!(called(&store, &batch).await?, times(&[("complete", 1), ("then", 1)]));
    let known = store.batch(&batch).await?.expect("a batch");
    assert_eq!(
        (known.announced, known.sizes.total, known.sizes.done, known.sizes.failed),
        (3, 3, 3, 0)
    );
    assert!(known.then && known.complete);
    assert!(store.batch("nothing").await?.is_none());
    Ok(())
}

async fn a_failed_job_completes_a_batch_and_its_revival_fulfils_it(store: Store) -> anyhow::Result<()> {
    let (batch, consumer) = (any_batch(), join(&store, LONG).await?);
    let fail = Settlement::Fail {
        entry: r#"{"id":"b","name":"b"}"#.to_owned(),
    };
    settle_one(&store, &consumer, ack(mark(&batch, "a", false, 2)), None).await?;
    settle_one(&store, &consumer, fail, Some(mark(&batch, "b", true, 2))).await?;
    consumer.finish().await?;
    until_outbox_is_empty(&consumer).await?;
    assert_eq!(called(&store, &batch).await?, times(&[("complete", 1)]));
    assert_eq!(store.failed_len().await?, 1);
    let consumer = join(&store, LONG).await?;
    settle_one(&store, &consumer, ack(mark(&batch, "b", false, 2)), None).await?;
    consumer.finish().await?;
    until_outbox_is_empty(&consumer).await?;
    assert_eq!(called(&store, &batch).await?, times(&[("complete", 1), ("then", 1)]));
    Ok(())
}

async fn a_batch_that_grows_waits_for_those_that_were_added(store: Store) -> anyhow::Result<()> {
    let (batch, consumer) = (any_batch(), join(&store, LONG).await?);
    let growing = BatchMark {
        adds: vec!["b".to_owned(), "c".to_owned()],
        ..mark(&batch, "a", false, 1)
    };
    let have_ended = async |jobs| {
        eventually("so many have ended", async || {
            consumer.empty_outboxes().await?;
            Ok(store.batch(&batch).await?.filter(|known| known.sizes.done == jobs))
        })
        .await
    };
    settle_one(&store, &consumer, ack(growing), None).await?;
    // What is added is pushed only once the batch knows of it.
    have_ended(1).await?;
    settle_one(&store, &consumer, ack(mark(&batch, "b", false, 1)), None).await?;
    have_ended(2).await?;
    assert_eq!(called(&store, &batch).await?, times(&[]));
    settle_one(&store, &consumer, ack(mark(&batch, "c", false, 1)), None).await?;
    consumer.finish().await?;
    until_outbox_is_empty(&consumer).await?;
    assert_eq!(called(&store, &batch).await?, times(&[("complete", 1), ("then", 1)]));
    Ok(())
}

/// The metadata of a job of a batch whose callbacks go to the queue `other`.
fn of_batch(batch: &str, of: u64, more: &str) -> String {
    format!(
        r#"{{"kiln":{{"batch":{{"id":"{batch}","of":{of},"then":{{"name":"after","queue":"other"}},
            "complete":{{"name":"after","queue":"other","payload":"own"}}{more}}}}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_jobs_that_complete_and_fail_ends_while_workers_are_killed() -> anyhow::Result<()> {
    let jobs = number_from("KILN_BATCH_JOBS", 2_000)? / 20 * 20;
    let folder = folder_of(&[("echo", ""), ("trap", "retry = { attempts = 1 }")])?;
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let batch = any_batch();
    let metadata = of_batch(&batch, jobs as u64, "");
    let members = (0..jobs).map(|n| {
        let name = if n % 10 == 0 { "trap" } else { "echo" };
        ready(&format!(r#"{{"id":"{n}","name":"{name}","metadata":{metadata}}}"#))
    });
    for page in members.collect::<Vec<_>>().chunks(1_000) {
        store.push(page).await?;
    }
    let args = ["--lease", "1s", "--concurrency", "4"];
    for round in 1..=5 {
        let mut worker = Worker::start(&settings, folder.path(), &args)?;
        eventually("some more have ended", async || {
            let ended = store
                .batch(&batch)
                .await?
                .map_or(0, |known| known.sizes.done + known.sizes.failed);
            Ok((ended >= round * jobs as u64 / 20).then_some(()))
        })
        .await?;
        worker.process.kill()?;
        worker.process.wait()?;
    }
    let worker = Worker::start(&settings, folder.path(), &args)?;
    let ended = eventually("the batch has ended", async || {
        Ok(store.batch(&batch).await?.filter(|known| known.complete))
    })
    .await?;
    assert_eq!(
        (ended.sizes.total, ended.sizes.done, ended.sizes.failed),
        (jobs as u64, jobs as u64 / 10 * 9, jobs as u64 / 10)
    );
    eventually("the callback", async || {
        Ok((called(&store, &batch).await? == times(&[("complete", 1)])).then_some(()))
    })
    .await?;
    drop(worker);
    // Those that failed are mended, and done again.
    let mended = folder_of(&[("echo", "jobs = [\"echo\", \"trap\"]")])?;
    let _worker = Worker::start(&settings, mended.path(), &args)?;
    let output = kiln()
        .args([
            "failed",
            "retry",
            "--all",
            "--store",
            &settings.url,
            "--prefix",
            &settings.prefix,
        ])
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    eventually("the other callback", async || {
        Ok((called(&store, &batch).await? == times(&[("complete", 1), ("then", 1)])).then_some(()))
    })
    .await?;
    let shown = kiln()
        .args([
            "batch",
            &batch,
            "--json",
            "--store",
            &settings.url,
            "--prefix",
            &settings.prefix,
        ])
        .output()?;
    let shown: Value = serde_json::from_slice(&shown.stdout)?;
    assert_eq!(
        (&shown["total"], &shown["done"], &shown["failed"], &shown["open"]),
        (&json!(jobs), &json!(jobs), &json!(0), &json!(0))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_is_told_how_its_batch_ended_and_a_late_one_comes_only_if_it_has_not() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", "jobs = [\"echo\", \"late\"]")])?;
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let late = r#","late":{"name":"late","reply":true},"within":"1s""#;
    let job = |batch: &str, id: &str, of| {
        let metadata = of_batch(batch, of, late);
        ready(&format!(r#"{{"id":"{id}","name":"echo","metadata":{metadata}}}"#))
    };
    let (whole, open) = (any_batch(), any_batch());
    store.push(&[job(&whole, "a", 1), job(&open, "b", 2)]).await?;
    let _worker = Worker::start(&settings, folder.path(), &[])?;
    let told = async |batch: &str| {
        let id = format!("batch:{batch}:late");
        eventually("what became of the late callback", async || {
            Ok(store.ended(&id).await?.reply)
        })
        .await
    };
    let (dropped, ran): (Value, Value) = (
        serde_json::from_str(&told(&whole).await?)?,
        serde_json::from_str(&told(&open).await?)?,
    );
    assert_eq!(
        (&dropped["outcome"], &dropped["kind"]),
        (&json!("failed"), &json!("expired")),
        "{dropped}"
    );
    assert_eq!(ran["outcome"], json!("completed"), "{ran}");
    assert_eq!(
        ran["result"],
        json!({"batch": open, "total": 2, "done": 1, "failed": 0})
    );
    let backend = store.clone().into_backend();
    let callbacks = backend.peek(&other_queue(), Place::Ready, 0, 10).await?;
    let payload = |seen: &kiln::queue::Peeked| {
        let job = Job::decode(&seen.job.bytes).expect("a job");
        (job.id, serde_json::from_str::<Value>(job.payload.get()).expect("json"))
    };
    let payloads: BTreeMap<_, _> = callbacks.iter().map(payload).collect();
    assert_eq!(payloads.len(), 2, "{payloads:?}");
    assert_eq!(
        payloads[&format!("batch:{whole}:then")],
        json!({"batch": whole, "total": 1, "done": 1, "failed": 0})
    );
    assert_eq!(payloads[&format!("batch:{whole}:complete")], json!("own"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_brings_its_follow_ups_into_its_batch() -> anyhow::Result<()> {
    let grant = "[grants.jobs]\nnames = [\"echo\"]\n";
    let folder = folder_of(&[("enqueue", grant), ("echo", "")])?;
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let batch = any_batch();
    let metadata = of_batch(&batch, 1, "");
    let children = r#"["echo","1","{'batch':true}","echo","2","{'batch':true,'delay':'500ms'}","echo","3",""]"#;
    let job = format!(r#"{{"id":"a","name":"enqueue","payload":{children},"metadata":{metadata}}}"#);
    store.push(&[ready(&job)]).await?;
    let _worker = Worker::start(&settings, folder.path(), &[])?;
    eventually("the callbacks", async || {
        Ok((called(&store, &batch).await? == times(&[("complete", 1), ("then", 1)])).then_some(()))
    })
    .await?;
    let known = store.batch(&batch).await?.expect("a batch");
    assert_eq!((known.announced, known.sizes.total, known.sizes.done), (1, 3, 3));
    Ok(())
}
