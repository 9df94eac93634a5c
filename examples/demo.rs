//! The main job without a Redis: a worker on a store in memory, a few jobs of each kind, and what became of each.
//!
//! `cargo xtask demo` builds the handlers and runs it; with `--ui` it goes on, and shows the same in the dashboard. It is also
//! how a program embeds Kiln.

use std::io::IsTerminal as _;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kiln::config::{PluginSettings, SandboxSettings};
use kiln::events::Events;
use kiln::job::Job;
use kiln::observe::{Log, Vitals};
use kiln::plugins::{Plugins, Watching};
use kiln::queue::{Push, QUEUE_DEFAULT, QueueName, Store, StoreSettings};
use kiln::sandbox::Sandbox;
use kiln::service::{self, ServiceSettings};
use kiln::web::{Dashboard, DashboardSettings, Listener, Local};
use tokio_util::sync::CancellationToken;

/// Most characters of a result or an error that the table shows.
const WIDTH: usize = 76;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::args()
        .nth(1)
        .map(PathBuf::from)
        .context("usage: demo PLUGIN_FOLDER [--ui]")?;
    let has_dashboard = std::env::args().any(|arg| arg == "--ui");
    tracing_subscriber::fmt()
        .with_env_filter("warn,kiln=debug,guest=info")
        .with_target(false)
        .with_ansi(std::io::stdout().is_terminal())
        .without_time()
        .init();

    let concurrency = NonZeroU32::new(8).context("not zero")?;
    let sandbox = Arc::new(Sandbox::new(&SandboxSettings::new(concurrency))?);
    let events = Events::default();
    events.subscribe(&Arc::new(Log));
    let plugins = Plugins::open(sandbox, &folder, PluginSettings::default(), events).await?;
    let store = Store::open(&StoreSettings::new("memory:")).await?;
    let queue = QueueName::new(QUEUE_DEFAULT).map_err(anyhow::Error::msg)?;

    let jobs: Vec<&str> = include_str!("demo.ndjson").lines().collect();
    let push = |job: &&str| Push {
        queue: queue.clone(),
        job: (*job).to_owned(),
        due_ms: None,
    };
    store.push(&jobs.iter().map(push).collect::<Vec<_>>()).await?;

    let (vitals, stop) = (Arc::<Vitals>::default(), CancellationToken::new());
    let settings = ServiceSettings {
        burst: !has_dashboard,
        watching: Watching::default(),
        vitals: Arc::clone(&vitals),
        ..ServiceSettings::new(queue.clone(), concurrency)
    };
    let running = tokio::spawn(service::run(settings, store.clone(), plugins, stop.clone()));
    if !has_dashboard {
        running.await??;
        return tell(&store, &jobs).await;
    }
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await?;
    let address = listener.address()?;
    let dashboard = Dashboard::new(DashboardSettings::default(), store.clone(), Some(Local::new(vitals)));
    let serving = tokio::spawn(dashboard.serve(listener, stop.clone()));
    until_done(&store, &queue).await?;
    tell(&store, &jobs).await?;
    println!("\nThe same in a browser, until Ctrl-C: http://{address}/");
    tokio::signal::ctrl_c().await?;
    stop.cancel();
    serving.await?;
    running.await??;
    Ok(())
}

/// Returns once no job is left to run.
async fn until_done(store: &Store, queue: &QueueName) -> anyhow::Result<()> {
    while !store.counts(queue).await?.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Prints what became of each job.
async fn tell(store: &Store, jobs: &[&str]) -> anyhow::Result<()> {
    println!("\nWhat became of {} jobs:\n", jobs.len());
    let failed = store.failed(0, jobs.len() as u64).await?;
    for line in jobs {
        let job = Job::decode(line.as_bytes())?;
        let entry = failed
            .iter()
            .find(|entry| entry.job().is_ok_and(|failed| failed.id == job.id));
        let (fate, what) = match entry.and_then(kiln::queue::FailedEntry::failure) {
            Some(failure) => (format!("failed: {}", failure.kind), failure.message),
            None => ("completed".to_owned(), store.result(&job.id).await?.unwrap_or_default()),
        };
        println!("{:<20} {fate:<20} {}", job.id, shortened(&what));
    }
    Ok(())
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
