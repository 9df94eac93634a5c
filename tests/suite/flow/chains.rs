//! Chains: each job gets the result of the one before it, and one that fails takes the rest along into the failed list.

use std::collections::BTreeMap;

use kiln::job::Job;
use kiln::outcome::FailureKind;
use kiln::queue::{Place, Store};
use serde_json::Value;

use super::{ids, other_queue};
use crate::guests::hostile_component;
use crate::process::Worker;
use crate::queue::{ready, until_counts};
use crate::service::{failures, folder_of};
use crate::support::{default_queue, eventually, kiln, redis_settings};

/// The only job in the queue `other`, once there is one.
async fn arrived(store: &Store) -> anyhow::Result<Job> {
    let backend = store.clone().into_backend();
    eventually("a job", async || {
        let seen = backend.peek(&other_queue(), Place::Ready, 0, 10).await?;
        Ok(seen.first().map(|seen| Job::decode(&seen.job.bytes).expect("a job")))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_job_of_a_chain_gets_what_the_one_before_it_came_to() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", "jobs = [\"echo\", \"second\", \"third\"]")])?;
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let pushed = kiln()
        .args([
            "push",
            "echo",
            r#"{"n":1.0}"#,
            "--id",
            "first",
            "--store",
            &settings.url,
            "--prefix",
            &settings.prefix,
        ])
        .args(["--then", "second", "--then", r#"third={"own":2.50}"#])
        .args([
            "--then",
            r#"{"name":"fourth","queue":"other","max_attempts":5,"metadata":{"who":"me"}}"#,
        ])
        .output()?;
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    let mut worker = Worker::start(&settings, folder.path(), &[])?;
    let last = arrived(&store).await?;
    assert_eq!((&*last.name, last.max_attempts), ("fourth", 5));
    assert_eq!(
        last.payload.get(),
        r#"{"own":2.50}"#,
        "echo returns its payload as it came"
    );
    let metadata = last.metadata.as_ref().map(|metadata| metadata.get().to_owned());
    assert_eq!(
        metadata.as_deref(),
        Some(r#"{"who":"me"}"#),
        "nothing is left of the chain"
    );
    let results: BTreeMap<_, _> = [("first", store.result("first").await?)].into();
    assert_eq!(results["first"].as_deref(), Some(r#"{"n":1.0}"#));
    assert_eq!(ids(&store, &other_queue(), Place::Ready).await?.len(), 1);
    until_counts(&store, (0, 0, 0)).await?;
    worker.signal("-TERM")?;
    assert!(worker.process.wait()?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_whose_job_fails_goes_on_from_the_failed_list() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", ""), ("trap", "retry = { attempts = 1 }")])?;
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let job = r#"{"id":"a","name":"echo","payload":[1],"metadata":{"kiln":{"then":[
        {"name":"trap","payload":{}},{"name":"after","queue":"other"}]}}}"#;
    store.push(&[ready(job)]).await?;
    let mut worker = Worker::start(&settings, folder.path(), &[])?;
    eventually("a failed job", async || {
        Ok((store.failed_len().await? == 1).then_some(()))
    })
    .await?;
    let entry = store.failed(0, 1).await?.remove(0);
    let failed = entry.job().expect("a job");
    let metadata: Value = serde_json::from_str(failed.metadata.as_ref().map_or("", |metadata| metadata.get()))?;
    let rest = serde_json::json!({"kiln": {"result": [1], "then": [{"name": "after", "queue": "other"}]}});
    assert_eq!(metadata, rest, "what is left of the chain, and what the job was given");
    assert_eq!(ids(&store, &other_queue(), Place::Ready).await?.len(), 0);
    worker.signal("-TERM")?;
    worker.process.wait()?;
    // The handler is mended.
    let mended = folder_of(&[("echo", "jobs = [\"echo\", \"trap\"]")])?;
    let _worker = Worker::start(&settings, mended.path(), &[])?;
    retry_all(&settings)?;
    assert_eq!(arrived(&store).await?.payload.get(), "{}");
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}

fn retry_all(settings: &kiln::queue::StoreSettings) -> anyhow::Result<()> {
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
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_cannot_go_on_fails_and_is_not_cut() -> anyhow::Result<()> {
    // Returns a number of 300,000 digits.
    let long = r#"
        (memory (export "memory") 8)
        (func (export "kiln:job/handler@0.1.0#handle") (type $handle)
          (memory.fill (i32.const 65536) (i32.const 49) (i32.const 300000))
          (i32.store8 (i32.const 24) (i32.const 1))
          (i32.store (i32.const 28) (i32.const 65536))
          (i32.store (i32.const 32) (i32.const 300000))
          (i32.const 16))"#;
    let folder = folder_of(&[("echo", "")])?;
    std::fs::write(folder.path().join("long.wasm"), hostile_component(long)?)?;
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let chained = |id: &str, payload: &str, then: &str| {
        ready(&format!(
            r#"{{"id":"{id}","name":"echo","payload":{payload},"metadata":{{"kiln":{{"then":{then}}}}}}}"#
        ))
    };
    store
        .push(&[
            chained("no-list", "1", "5"),
            chained("no-name", "1", r#"[{"payload":1}]"#),
            chained("typo", "1", r#"[{"name":"a","qeue":"b"}]"#),
            chained("nested", "1", r#"[{"name":"a","then":[{"name":"b"}]}]"#),
            ready(
                &chained("long", "1", r#"[{"name":"after","queue":"other"}]"#)
                    .job
                    .replace("echo", "long"),
            ),
        ])
        .await?;
    let _worker = Worker::start(&settings, folder.path(), &[])?;
    eventually("failed jobs", async || {
        Ok((store.failed_len().await? == 5).then_some(()))
    })
    .await?;
    let kinds = failures(&store).await?;
    for id in ["no-list", "no-name", "typo", "nested"] {
        assert_eq!(kinds[id], FailureKind::Malformed, "{id}");
    }
    assert_eq!(kinds["long"], FailureKind::Rejected);
    // What is kept of its attempts says so, too.
    for (id, kind) in [("long", "rejected"), ("typo", "malformed")] {
        let kept = eventually("what is kept of it", async || {
            let attempts = store.past(&default_queue(), id).await?.attempts;
            Ok((!attempts.is_empty()).then_some(attempts))
        })
        .await?;
        assert!(kept.contains(&format!("\"failure\":\"{kind}\"")), "{kept}");
    }
    let told: Vec<_> = store
        .failed(0, 10)
        .await?
        .iter()
        .map(|entry| entry.failure().expect("why").message)
        .collect();
    assert!(
        told.iter()
            .any(|why| why == "metadata.kiln.then: job 1 of it: a job's name has 1 to 1024 bytes"),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|why| why.starts_with("its result of 293.0 KiB cannot be handed on")),
        "{told:?}"
    );
    Ok(())
}
