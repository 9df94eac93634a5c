//! What every test needs: a store of its own, and a way to wait for what will happen.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;
use kiln::queue::{QueueName, StoreSettings};

use crate::servers::Server;

/// How long something may take that happens within a second on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The redis-server that this test run's tests share.
pub(crate) fn shared_redis() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[]).expect("a redis-server"))
}

/// Settings for a store on the shared server.
pub(crate) fn redis_settings() -> StoreSettings {
    settings_at(&shared_redis().url())
}

/// Settings for a store there, under a prefix of its own.
pub(crate) fn settings_at(url: &str) -> StoreSettings {
    StoreSettings {
        prefix: format!("test-{:016x}", fastrand::u64(..)),
        ..StoreSettings::new(url)
    }
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

/// Where the built handlers are kept compiled: some take seconds, and what has not changed since the last run need not be.
pub(crate) fn compiled() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compiled")
}

/// The `kiln` binary.
pub(crate) fn kiln() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KILN_")) {
        command.env_remove(name);
    }
    command
}

/// A number from the environment, by which a test is made as large as one wants it once.
pub(crate) fn number_from(name: &str, otherwise: usize) -> anyhow::Result<usize> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(otherwise),
    }
}
