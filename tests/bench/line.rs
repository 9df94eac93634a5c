//! The whole line of many jobs in one process: pushed, fetched, run, settled. For counting what wall time is too coarse to
//! show: `cargo xtask count` runs it under callgrind with two numbers of jobs, and tells what one job more takes.
//!
//! `cargo bench --bench line -- JOBS [STORE]`; the store is one in memory, or that of a redis:// URL.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use kiln::config::{PluginSettings, SandboxSettings};
use kiln::events::Events;
use kiln::job::Job;
use kiln::plugins::{Plugins, Watching};
use kiln::queue::{Push, QueueName, Store, StoreSettings};
use kiln::sandbox::Sandbox;
use kiln::service::{self, ServiceSettings};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

/// Attempts at once: so many slots of the pool that their addresses fit where callgrind lets them be.
const CONCURRENCY: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// Bytes of each payload.
const PAYLOAD_BYTES: usize = 400;

fn main() -> anyhow::Result<()> {
    // Cargo adds one of its own that says that this is a benchmark.
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let jobs = args.next().map_or(Ok(1_000), |jobs| jobs.parse()).context("JOBS")?;
    let url = args.next().unwrap_or_else(|| "memory:".to_owned());
    // As many threads as a host of two cores has, wherever it is counted.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(run(jobs, &url))
}

async fn run(jobs: u64, url: &str) -> anyhow::Result<()> {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let settings = SandboxSettings {
        // Callgrind's processor is another than the machine's: what is compiled for the one is of no use to the other.
        cache_dir: Some(target.join("line-cache")),
        ..SandboxSettings::new(CONCURRENCY)
    };
    let folder = tempfile::tempdir()?;
    let hello = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/plugins/hello.wasm");
    std::fs::copy(hello, folder.path().join("hello.wasm")).context("cargo xtask plugins builds the handlers")?;
    let patience = PluginSettings {
        patience: std::time::Duration::from_hours(1),
        ..PluginSettings::default()
    };
    let plugins = Plugins::open(
        Arc::new(Sandbox::new(&settings)?),
        folder.path(),
        patience,
        Events::default(),
    )
    .await?;
    let store = Store::open(&StoreSettings {
        prefix: format!("line-{:016x}", fastrand::u64(..)),
        ..StoreSettings::new(url)
    })
    .await?;
    let queue = QueueName::new("default").map_err(anyhow::Error::msg)?;
    let payload = format!(r#"{{"to":"{}"}}"#, "x".repeat(PAYLOAD_BYTES - 9));
    for _ in 0..jobs {
        let job = Job::new("hello", queue.as_str(), RawValue::from_string(payload.clone())?);
        let push = Push {
            queue: queue.clone(),
            job: job.encode(),
            due_ms: None,
        };
        store.push(&[push]).await?;
    }
    let service = ServiceSettings {
        burst: true,
        watching: Watching::default(),
        ..ServiceSettings::new(queue, CONCURRENCY)
    };
    service::run(service, store.clone(), plugins, CancellationToken::new()).await?;
    let failed = store.failed_len().await?;
    anyhow::ensure!(failed == 0, "{failed} jobs failed");
    Ok(())
}
