//! What every test needs: a store of its own, and a way to wait for what will happen.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, bail};
use kiln::queue::{QueueName, StoreSettings};

/// How long something may take that happens within a second on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A redis-server on a free port, without a disk.
pub(crate) struct RedisServer {
    port: u16,
    /// The server ends when this is closed, however the test run ends.
    _alive: ChildStdin,
}

impl RedisServer {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let script = format!(
            "redis-server --port {port} --bind 127.0.0.1 --save '' --appendonly no --dir /tmp & server=$!; read _; kill $server"
        );
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("sh")?;
        let alive = child.stdin.take().context("stdin")?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout")?).lines();
        let mut said = Vec::new();
        for line in &mut lines {
            said.push(line?);
            if said
                .last()
                .is_some_and(|line| line.contains("Ready to accept connections"))
            {
                // Read on, or the server would block once the pipe is full.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { port, _alive: alive });
            }
        }
        bail!(
            "redis-server did not start; is it installed? it said: {}",
            said.join("\n")
        )
    }

    /// Settings for a store under a prefix of its own.
    pub(crate) fn settings(&self) -> StoreSettings {
        StoreSettings {
            prefix: format!("test-{:016x}", fastrand::u64(..)),
            ..StoreSettings::new(&self.url())
        }
    }

    /// Tells the server something past Kiln.
    pub(crate) async fn tell<T: redis::FromRedisValue>(&self, words: &[&str]) -> anyhow::Result<T> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        Ok(redis::cmd(words[0])
            .arg(&words[1..])
            .query_async(&mut connection)
            .await?)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// The redis-server that this test run's tests share.
pub(crate) fn shared_redis() -> &'static RedisServer {
    static SERVER: OnceLock<RedisServer> = OnceLock::new();
    SERVER.get_or_init(|| RedisServer::start().expect("a redis-server"))
}

/// Settings for a store on the shared server.
pub(crate) fn redis_settings() -> StoreSettings {
    shared_redis().settings()
}

/// The queue that tests use.
pub(crate) fn default_queue() -> QueueName {
    QueueName::new("default").expect("a name")
}

/// Asks again and again until the answer is there.
pub(crate) async fn eventually<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let mut again = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        loop {
            again.tick().await;
            if let Some(answer) = ask().await? {
                return anyhow::Ok(answer);
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .with_context(|| format!("waited in vain: {what}"))?
}

/// The folder with the built handlers.
pub(crate) fn plugins() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/plugins");
    assert!(
        folder.join("markdown.wasm").is_file(),
        "the handlers are not built; run: cargo xtask plugins"
    );
    folder
}

/// The `kiln` binary.
pub(crate) fn kiln() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KILN_")) {
        command.env_remove(name);
    }
    command
}
