//! Keys of all four modes while masters die and slots move: every job that was pushed ends, the newest runs where it is to, and no
//! key stays taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::ensure;
use kiln::queue::{Store, StoreSettings};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use super::workers::push;
use crate::failover::until_replicated;
use crate::process::Worker;
use crate::queue::until_counts;
use crate::servers::http::HttpServer;
use crate::servers::{Cluster, Passwords, Sentinels};
use crate::service::folder_of;
use crate::support::{eventually, settings_at};

/// How long a job takes.
const TAKES: Duration = Duration::from_millis(20);

/// A key of one mode, and a server that tells how many jobs of it ran at once.
struct Key {
    unique: Value,
    server: HttpServer,
    most: Arc<AtomicUsize>,
}

impl Key {
    async fn new(unique: Value) -> anyhow::Result<Self> {
        let (open, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let shared = (open, Arc::clone(&most));
        let server = HttpServer::start(move |_, mut connection| {
            let (open, most) = shared.clone();
            async move {
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(TAKES).await;
                open.fetch_sub(1, Ordering::SeqCst);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                Ok(connection.write_all(answer).await?)
            }
        });
        let server = server.await?;
        Ok(Self { unique, server, most })
    }

    fn mode(&self) -> &str {
        self.unique["mode"].as_str().expect("a mode")
    }

    fn id(&self, n: usize) -> String {
        format!("{}-{n}", self.mode())
    }

    fn job(&self, n: usize) -> String {
        let metadata = json!({"kiln": {"unique": self.unique, "reply": true}});
        let payload = format!("127.0.0.1:{}", self.server.port);
        json!({"id": self.id(n), "name": "fetch", "payload": payload, "metadata": metadata}).to_string()
    }

    /// Whether a job has run; if not, it must have been one too many.
    async fn has_run(&self, store: &Store, n: usize) -> anyhow::Result<bool> {
        let id = self.id(n);
        let reply = eventually(&id, async || {
            Ok(store.ended(&id).await.ok().and_then(|ended| ended.reply))
        });
        let reply: Value = serde_json::from_str(&reply.await?)?;
        let runs = reply["outcome"] == "completed";
        ensure!(runs || reply["kind"] == "duplicate", "{id} came to {reply}");
        Ok(runs)
    }

    /// Asks what became of jobs with these numbers, all that there were.
    async fn judge(&self, store: &Store, jobs: usize) -> anyhow::Result<()> {
        let mut ran = Vec::new();
        for n in 0..jobs {
            if self.has_run(store, n).await? {
                ran.push(n);
            }
        }
        let last = ran.last().copied();
        match self.mode() {
            "latest" | "debounce" => assert_eq!(last, Some(jobs - 1), "{}: {ran:?}", self.mode()),
            _ => assert!(last.is_some(), "{}: none has run", self.mode()),
        }
        // Nothing holds the key now.
        let mut n = jobs;
        eventually("one that runs", async || {
            n += 1;
            push(store, &[self.job(n)]).await?;
            Ok(self.has_run(store, n).await?.then_some(()))
        })
        .await?;
        let first = n == jobs + 1;
        assert!(
            first || self.mode() == "throttle",
            "{}: the key was still taken",
            self.mode()
        );
        Ok(())
    }
}

async fn keys() -> anyhow::Result<Vec<Key>> {
    let mut keys = Vec::new();
    for unique in [
        json!({"key": "drop", "mode": "drop"}),
        json!({"key": "latest", "mode": "latest"}),
        json!({"key": "debounce", "mode": "debounce", "wait": "50ms", "max": "500ms"}),
        json!({"key": "throttle", "mode": "throttle", "for": "1s"}),
    ] {
        keys.push(Key::new(unique).await?);
    }
    Ok(keys)
}

fn folder(keys: &[Key]) -> anyhow::Result<tempfile::TempDir> {
    let grant = |key: &Key| {
        let port = key.server.port;
        format!("[[grants.http]]\norigin = \"http://127.0.0.1:{port}\"\nprivate = true\n")
    };
    folder_of(&[("fetch", &keys.iter().map(grant).collect::<String>())])
}

/// Pushes a job of each key for each number, trying again while the store is away.
async fn push_all(store: &Store, keys: &[Key], numbers: std::ops::Range<usize>) -> anyhow::Result<()> {
    for n in numbers {
        let jobs: Vec<_> = keys.iter().map(|key| key.job(n)).collect();
        eventually("a push", async || Ok(push(store, &jobs).await.ok())).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_sentinels_every_job_of_a_key_ends_and_none_keeps_it_though_the_master_dies() -> anyhow::Result<()> {
    const JOBS: usize = 120;
    let mut sentinels = Sentinels::start(Passwords::default()).await?;
    let settings = settings_at(&sentinels.url());
    let (store, keys) = (Store::open(&settings).await?, keys().await?);
    let folder = folder(&keys)?;
    let start = || Worker::start(&settings, folder.path(), &["--lease", "2s", "--concurrency", "8"]);
    let _workers = [start()?, start()?];
    push_all(&store, &keys, 0..JOBS / 2).await?;
    let master = sentinels.master_port().await?;
    until_replicated(sentinels.node(master)?).await?;
    assert_eq!(sentinels.kill_master().await?, master);
    let pushed = push_all(&store, &keys, JOBS / 2..JOBS);
    let (pushed, over) = tokio::join!(pushed, sentinels.until_failed_over(master));
    pushed?;
    over?;
    for key in &keys {
        key.judge(&store, JOBS).await?;
    }
    until_counts(&store, (0, 0, 0)).await?;
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_a_key_runs_at_a_time_and_the_newest_last_while_slots_move() -> anyhow::Result<()> {
    const JOBS: usize = 200;
    let cluster = Cluster::start(&[]).await?;
    for tagged in [false, true] {
        let plain = settings_at(&cluster.url());
        let prefix = if tagged {
            format!("{{{}}}", plain.prefix)
        } else {
            plain.prefix.clone()
        };
        let settings = StoreSettings { prefix, ..plain };
        let (store, keys) = (Store::open(&settings).await?, keys().await?);
        let folder = folder(&keys)?;
        let start = || Worker::start(&settings, folder.path(), &["--concurrency", "8"]);
        let _workers = [start()?, start()?];
        let ready = format!("{}:queues:default", settings.prefix);
        let moving = async {
            for _ in 0..4 {
                cluster.move_slot_of(&ready).await?;
            }
            anyhow::Ok(())
        };
        tokio::try_join!(push_all(&store, &keys, 0..JOBS), moving)?;
        for key in &keys {
            key.judge(&store, JOBS).await?;
            let most = key.most.load(Ordering::SeqCst);
            assert!(
                most == 1 || key.mode() == "throttle",
                "{}: {most} ran at once",
                key.mode()
            );
        }
        until_counts(&store, (0, 0, 0)).await?;
        assert_eq!(store.failed_len().await?, 0);
    }
    Ok(())
}
