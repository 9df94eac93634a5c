//! Workers that run jobs which are unique by a key: each mode, kills, retries and revival.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln::job::Job;
use kiln::outcome::FailureKind;
use kiln::queue::{Store, StoreSettings};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt as _, copy, sink};
use tokio::sync::Semaphore;

use crate::process::Worker;
use crate::queue::ready;
use crate::servers::http::HttpServer;
use crate::service::{failures, folder_of, memory, serve, settings};
use crate::support::{default_queue, eventually, kiln, redis_settings};

/// A server that answers each request once it is let.
struct Gate {
    server: HttpServer,
    /// Requests whose clients wait.
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    answers: Arc<Semaphore>,
}

impl Gate {
    async fn start() -> anyhow::Result<Self> {
        let (open, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let answers = Arc::new(Semaphore::new(0));
        let shared = (Arc::clone(&open), Arc::clone(&most), Arc::clone(&answers));
        let server = HttpServer::start(move |_, mut connection| {
            let (open, most, answers) = shared.clone();
            async move {
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let mut nothing = sink();
                tokio::select! {
                    answer = answers.acquire() => answer?.forget(),
                    // The client is gone.
                    _ = copy(&mut connection, &mut nothing) => {}
                }
                open.fetch_sub(1, Ordering::SeqCst);
                Ok(connection
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .await?)
            }
        });
        let server = server.await?;
        Ok(Self {
            server,
            open,
            most,
            answers,
        })
    }

    fn folder(&self, more: &str) -> anyhow::Result<tempfile::TempDir> {
        let origin = format!("http://127.0.0.1:{}", self.server.port);
        let grant = format!("[[grants.http]]\norigin = \"{origin}\"\nprivate = true\n");
        folder_of(&[("fetch", &format!("{more}\n{grant}")), ("permanent", ""), ("retry", "")])
    }

    /// A job that runs until it is let end.
    fn job(&self, id: &str, unique: &Value) -> String {
        let payload = format!("127.0.0.1:{}", self.server.port);
        let metadata = json!({"kiln": {"unique": unique}});
        let mut job = json!({"name": "fetch", "payload": payload, "metadata": metadata});
        if !id.is_empty() {
            job["id"] = json!(id);
        }
        job.to_string()
    }

    async fn until_open(&self, many: usize) -> anyhow::Result<()> {
        eventually("requests", async || {
            Ok((self.open.load(Ordering::SeqCst) == many).then_some(()))
        })
        .await
    }

    fn answer(&self, many: usize) {
        self.answers.add_permits(many);
    }
}

pub(super) async fn push(store: &Store, jobs: &[String]) -> anyhow::Result<()> {
    Ok(store
        .push(&jobs.iter().map(|job| ready(job)).collect::<Vec<_>>())
        .await?)
}

async fn result(store: &Store, id: &str) -> anyhow::Result<String> {
    eventually(id, async || Ok(store.result(id).await?)).await
}

async fn until_empty(store: &Store) -> anyhow::Result<()> {
    eventually("nothing left to do", async || {
        Ok(store.counts(&default_queue()).await?.is_empty().then_some(()))
    })
    .await
}

/// Until so many wait in lanes, and nothing else does.
async fn until_waiting(store: &Store, many: u64) -> anyhow::Result<()> {
    eventually("jobs that wait", async || {
        let counts = store.counts(&default_queue()).await?;
        Ok(((counts.ready, counts.waiting) == (0, many)).then_some(()))
    })
    .await
}

async fn reply(store: &Store, id: &str) -> anyhow::Result<Value> {
    let reply = eventually(id, async || Ok(store.ended(id).await?.reply)).await?;
    Ok(serde_json::from_str(&reply)?)
}

fn with_reply(job: &str) -> String {
    let mut job: Value = serde_json::from_str(job).expect("JSON");
    job["metadata"]["kiln"]["reply"] = json!(true);
    job.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_a_key_runs_over_two_workers_and_those_dropped_are_told_of() -> anyhow::Result<()> {
    let (settings_of, gate) = (redis_settings(), Gate::start().await?);
    let (store, folder) = (Store::open(&settings_of).await?, gate.folder("")?);
    let workers = [
        Worker::start(&settings_of, folder.path(), &["--log-format", "json"])?,
        Worker::start(&settings_of, folder.path(), &["--log-format", "json"])?,
    ];
    let unique = json!({"key": "sync:42"});
    push(&store, &[gate.job("first", &unique)]).await?;
    gate.until_open(1).await?;
    let others: Vec<_> = (0..20).map(|n| gate.job(&format!("other-{n}"), &unique)).collect();
    push(&store, &others).await?;
    push(&store, &[with_reply(&gate.job("told", &unique)), gate.job("", &unique)]).await?;
    let told = reply(&store, "told").await?;
    assert_eq!(
        (&told["outcome"], &told["kind"]),
        (&json!("failed"), &json!("duplicate"))
    );
    assert_eq!(told["message"], "another job of its key runs in its place: first");
    until_waiting(&store, 0).await?;
    push(&store, &[gate.job("of-another-key", &json!({"key": "sync:43"}))]).await?;
    gate.until_open(2).await?;
    gate.answer(2);
    result(&store, "first").await?;
    result(&store, "of-another-key").await?;
    until_empty(&store).await?;
    assert_eq!(gate.most.load(Ordering::SeqCst), 2);
    // One that has no id gets one when it is admitted.
    push(&store, &[gate.job("", &unique)]).await?;
    gate.until_open(1).await?;
    gate.answer(1);
    until_empty(&store).await?;
    let lines: Vec<_> = workers
        .iter()
        .flat_map(|worker| worker.lines_with("job is duplicate"))
        .collect();
    assert_eq!(lines.len(), 22, "{lines:#?}");
    assert!(
        lines.iter().all(|line| line.contains(r#""duplicate_of":"first""#)),
        "{lines:#?}"
    );
    let said = kiln()
        .args([
            "job",
            "other-3",
            "--store",
            &settings_of.url,
            "--prefix",
            &settings_of.prefix,
        ])
        .output()?;
    let said = String::from_utf8(said.stdout)?;
    assert!(
        said.contains("another job of its key runs in its place: first"),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_while_it_holds_a_key_loses_neither_the_job_nor_the_key() -> anyhow::Result<()> {
    for unique in [
        json!({"key": "a"}),
        json!({"key": "a", "mode": "latest"}),
        json!({"key": "a", "mode": "debounce", "wait": "10ms", "max": "20ms"}),
        json!({"key": "a", "mode": "throttle", "for": "1h"}),
    ] {
        let (settings_of, gate) = (redis_settings(), Gate::start().await?);
        let (store, folder) = (Store::open(&settings_of).await?, gate.folder("")?);
        let worker = || Worker::start(&settings_of, folder.path(), &["--lease", "2s"]);
        let victim = worker()?;
        // Without an id of its own: it must not pass for its own duplicate.
        push(&store, &[gate.job("", &unique)]).await?;
        gate.until_open(1).await?;
        victim.signal("-KILL")?;
        gate.until_open(0).await?;
        let heir = worker()?;
        // It is taken over, waits a second as lost, and runs again.
        gate.until_open(1).await?;
        let drops = unique["mode"] != "latest" && unique["mode"] != "debounce";
        if drops {
            push(&store, &[gate.job("meanwhile", &unique)]).await?;
            heir.until_said("job is duplicate").await?;
        }
        gate.answer(1);
        until_empty(&store).await?;
        assert_eq!(store.failed_len().await?, 0, "{unique}");
        assert_eq!(
            heir.lines_with("job is duplicate").len(),
            usize::from(drops),
            "{unique}"
        );
        if unique["mode"] != "throttle" {
            push(&store, &[gate.job("next", &unique)]).await?;
            gate.until_open(1).await?;
            gate.answer(1);
            result(&store, "next").await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_waits_while_one_runs_and_runs_after_it() -> anyhow::Result<()> {
    for settings_of in [redis_settings(), memory()] {
        let gate = Gate::start().await?;
        let (store, folder) = (Store::open(&settings_of).await?, gate.folder("")?);
        let mut service = settings();
        service.burst = false;
        let (serving, stop) = serve(service, &store, folder.path()).await?;
        let unique = json!({"key": "a", "mode": "latest"});
        push(&store, &[gate.job("first", &unique)]).await?;
        gate.until_open(1).await?;
        for n in 0..10 {
            push(&store, &[with_reply(&gate.job(&format!("{n}"), &unique))]).await?;
            until_waiting(&store, 1).await?;
        }
        for n in 0..9 {
            let told = reply(&store, &n.to_string()).await?;
            assert_eq!(told["kind"], "duplicate", "{told}");
            assert_eq!(told["message"], "a newer job of its key came before it ran");
        }
        gate.answer(2);
        assert_eq!(reply(&store, "9").await?["outcome"], "completed");
        until_empty(&store).await?;
        assert_eq!(gate.most.load(Ordering::SeqCst), 1);
        stop.cancel();
        serving.await??;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_retried_keeps_its_key_and_one_that_failed_is_run_again_after_others() -> anyhow::Result<()> {
    for settings_of in [redis_settings(), memory()] {
        let gate = Gate::start().await?;
        let (store, folder) = (Store::open(&settings_of).await?, gate.folder("")?);
        let start = async || {
            let mut service = settings();
            service.burst = false;
            serve(service, &store, folder.path()).await
        };
        let (serving, stop) = start().await?;
        let job = |id: &str, name: &str, more: Value| {
            let mut kiln = json!({"unique": {"key": id.split('-').next()}, "reply": true});
            kiln.as_object_mut()
                .expect("an object")
                .extend(more.as_object().cloned().unwrap_or_default());
            json!({"id": id, "name": name, "metadata": {"kiln": kiln}}).to_string()
        };
        // It waits for its next attempt for long: others are dropped meanwhile.
        push(
            &store,
            &[job("a-1", "retry", json!({"retry": {"base": "1h", "max": "1h"}}))],
        )
        .await?;
        eventually("it waits for its next attempt", async || {
            Ok((store.counts(&default_queue()).await?.delayed == 1).then_some(()))
        })
        .await?;
        push(&store, &[job("a-2", "retry", json!({}))]).await?;
        let told = reply(&store, "a-2").await?;
        assert_eq!(told["message"], "another job of its key runs in its place: a-1");
        // It failed for good: the next one runs, and so does the one that an operator puts back.
        push(&store, &[job("b-1", "permanent", json!({}))]).await?;
        assert_eq!(reply(&store, "b-1").await?["kind"], "rejected");
        push(&store, &[job("b-2", "permanent", json!({}))]).await?;
        assert_eq!(reply(&store, "b-2").await?["kind"], "rejected");
        let unique = json!({"key": "c"});
        push(&store, &[gate.job("c-1", &unique)]).await?;
        gate.until_open(1).await?;
        push(
            &store,
            &[format!(
                r#"{{"id":"c-2","name":"nobody","metadata":{{"kiln":{{"unique":{unique}}}}}}}"#
            )],
        )
        .await?;
        eventually("it fails", async || Ok(failures(&store).await?.get("c-2").copied())).await?;
        let entries: Vec<_> = store.failed(0, 9).await?;
        assert_eq!(entries.len(), 3);
        store.retry_failed(entries).await?;
        eventually("both fail again", async || {
            let failed = failures(&store).await?;
            Ok((failed.len() == 3).then_some(failed))
        })
        .await?;
        gate.answer(1);
        result(&store, "c-1").await?;
        stop.cancel();
        serving.await??;
        let kinds = BTreeMap::from([
            ("b-1".to_owned(), FailureKind::Rejected),
            ("b-2".to_owned(), FailureKind::Rejected),
            ("c-2".to_owned(), FailureKind::UnknownJob),
        ]);
        assert_eq!(failures(&store).await?, kinds);
        for entry in store.failed(0, 9).await? {
            assert_eq!(entry.job().expect("a job").unique.as_deref(), Some("revived"));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revived_job_waits_until_the_one_that_runs_has_ended() -> anyhow::Result<()> {
    for settings_of in [redis_settings(), memory()] {
        let gate = Gate::start().await?;
        let (store, folder) = (Store::open(&settings_of).await?, gate.folder("")?);
        let mut service = settings();
        service.burst = false;
        let (serving, stop) = serve(service, &store, folder.path()).await?;
        let unique = json!({"key": "a"});
        push(&store, &[gate.job("runs", &unique)]).await?;
        gate.until_open(1).await?;
        // As an operator puts it back.
        let mut back = Job::decode(gate.job("back", &unique).as_bytes())?;
        back.unique = Some("revived".to_owned());
        push(&store, &[back.encode()]).await?;
        until_waiting(&store, 1).await?;
        gate.answer(1);
        result(&store, "runs").await?;
        gate.until_open(1).await?;
        gate.answer(1);
        result(&store, "back").await?;
        until_empty(&store).await?;
        assert_eq!(gate.most.load(Ordering::SeqCst), 1);
        stop.cancel();
        serving.await??;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_wish_to_be_unique_fails_the_job_and_a_dropped_one_counts_as_done_in_its_batch() -> anyhow::Result<()> {
    let (settings_of, gate) = (StoreSettings::new("memory:"), Gate::start().await?);
    let (store, folder) = (Store::open(&settings_of).await?, gate.folder("")?);
    let mut service = settings();
    service.burst = false;
    let (serving, stop) = serve(service, &store, folder.path()).await?;
    let unique = json!({"key": "a"});
    push(
        &store,
        &[
            gate.job("wrong", &json!({"key": "a", "mode": "once"})),
            gate.job("runs", &unique),
        ],
    )
    .await?;
    gate.until_open(1).await?;
    eventually("it fails", async || {
        Ok(failures(&store)
            .await?
            .get("wrong")
            .filter(|kind| **kind == FailureKind::Malformed)
            .map(drop))
    })
    .await?;
    let why = store.failed(0, 1).await?[0].failure().expect("Kiln's").message;
    assert_eq!(why, "metadata.kiln.unique: mode is drop, latest, debounce or throttle");
    let mut member: Value = serde_json::from_str(&gate.job("member", &unique))?;
    member["metadata"]["kiln"]["batch"] = json!({"id": "b", "of": 1, "then": {"name": "nobody"}});
    member["metadata"]["kiln"]["then"] = json!([{"name": "never"}]);
    push(&store, &[member.to_string()]).await?;
    eventually("the callback", async || {
        Ok(failures(&store).await?.get("batch:b:then").copied())
    })
    .await?;
    gate.answer(1);
    until_empty(&store).await?;
    assert_eq!(store.failed_len().await?, 2, "its chain ends with it");
    stop.cancel();
    serving.await??;
    Ok(())
}
