//! Keys of all four modes while a master dies: every job that was pushed ends, the newest runs where it is to, and no key stays
//! taken.

use std::time::Duration;

use anyhow::ensure;
use kiln::queue::Store;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use super::workers::push;
use crate::failover::until_replicated;
use crate::process::Worker;
use crate::queue::until_counts;
use crate::servers::http::HttpServer;
use crate::servers::{Passwords, Sentinels};
use crate::service::folder_of;
use crate::support::{eventually, settings_at};

/// How long a job takes.
const TAKES: Duration = Duration::from_millis(20);

/// A key of one mode, and the server that its jobs ask.
struct Key {
    unique: Value,
    server: HttpServer,
}

impl Key {
    async fn new(unique: Value) -> anyhow::Result<Self> {
        let server = HttpServer::start(async |_, mut connection| {
            sleep(TAKES).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            Ok(connection.write_all(answer).await?)
        });
        let server = server.await?;
        Ok(Self { unique, server })
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
