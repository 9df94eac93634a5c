//! What follow-ups, chains, batches, limits and keys of unique jobs cost: jobs a second beside plain ones, measured by turns.
//!
//! Small here, so that it stays right. Figures are taken from a release: `KILN_FLOW_JOBS=40000 KILN_FLOW_RUNS=5 cargo test --release
//! --test suite flow::speed -- --nocapture`. With `KILN_FLOW_BESIDE=PATH` another `kiln` does the same by turns with this one.

use std::process::Command;
use std::time::{Duration, Instant};

use kiln::queue::{Push, Store, StoreSettings};
use tempfile::TempDir;
use tokio::time::sleep;

use super::batches::any_batch;
use crate::process::Worker;
use crate::queue::ready;
use crate::servers::Server;
use crate::service::folder_of;
use crate::support::{
    PATIENCE, default_queue, eventually, kiln, number_from, redis_settings, settings_at, shared_redis,
};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// Keys among which jobs are spread.
const KEYS: usize = 100;

/// What is used of flow, and how many of so many jobs are pushed for it: the others follow.
const KINDS: [(&str, usize); 12] = [
    ("plain", 1),
    ("another's limit", 1),
    ("follow-ups", 2),
    ("chain of two", 2),
    ("batch", 1),
    ("limit", 1),
    ("limit by key", 1),
    ("fair", 1),
    ("drop", 1),
    ("latest", 1),
    ("debounce", 1),
    ("throttle", 1),
];

fn manifest(kind: &str) -> &'static str {
    match kind {
        "limit" => "[[limit]]\nconcurrency = 1000",
        "limit by key" => "[[limit]]\nkey = \"\"\nconcurrency = 1000",
        "fair" => "[[limit]]\nkey = \"\"\nfair = true",
        _ => "",
    }
}

fn job(kind: &str, n: usize, jobs: usize, batch: &str) -> Push {
    let kiln = match kind {
        "chain of two" => r#","metadata":{"kiln":{"then":[{"name":"echo"}]}}"#.to_owned(),
        "batch" => format!(r#","metadata":{{"kiln":{{"batch":{{"id":"{batch}","of":{jobs}}}}}}}"#),
        // Each has a key of its own, so that all of them run.
        "drop" | "latest" => unique(n, kind, ""),
        "debounce" => unique(n, kind, r#","wait":"1ms","max":"1ms""#),
        "throttle" => unique(n, kind, r#","for":"1s""#),
        _ => String::new(),
    };
    let (name, payload) = match kind {
        "follow-ups" => ("enqueue", r#"["echo","1",""]"#.to_owned()),
        _ => ("echo", (n % KEYS).to_string()),
    };
    ready(&format!(r#"{{"id":"{n}","name":"{name}","payload":{payload}{kiln}}}"#))
}

fn unique(key: usize, mode: &str, rest: &str) -> String {
    format!(r#","metadata":{{"kiln":{{"unique":{{"key":"{key}","mode":"{mode}"{rest}}}}}}}"#)
}

/// The plugins, of which one has a limit that concerns none of these jobs if that is what is measured.
fn folder(kind: &str) -> anyhow::Result<TempDir> {
    let limit = if kind == "another's limit" {
        "[[limit]]\nkey = \"\"\nconcurrency = 1"
    } else {
        ""
    };
    folder_of(&[
        ("echo", manifest(kind)),
        ("enqueue", "[grants.jobs]\nnames = [\"echo\"]"),
        ("ok", limit),
    ])
}

/// Pushes what so many jobs come from, and returns how many these are.
async fn push(store: &Store, (kind, one_in): (&str, usize), jobs: usize, batch: &str) -> anyhow::Result<usize> {
    let pushed: Vec<_> = (0..jobs / one_in).map(|n| job(kind, n, jobs, batch)).collect();
    for page in pushed.chunks(1_000) {
        store.push(page).await?;
    }
    Ok(pushed.len())
}

/// This `kiln`, or the one beside which it is measured.
fn binary(path: Option<&str>) -> Command {
    path.map_or_else(kiln, Command::new)
}

fn start(path: Option<&str>, settings: &StoreSettings, folder: &TempDir, more: &[&str]) -> anyhow::Result<Worker> {
    let extra = [&["--concurrency", "32"], more].concat();
    Ok(Worker::heard(Worker::spawn(
        binary(path),
        settings,
        folder.path(),
        &extra,
    )?))
}

/// What Redis does for each of so many jobs: commands, also those within scripts, and microseconds of processor time.
async fn counted(path: Option<&str>, kind: (&str, usize), jobs: usize) -> anyhow::Result<(f64, f64)> {
    let server = Server::start(&[])?;
    let settings = settings_at(&server.url());
    let (store, folder) = (Store::open(&settings).await?, folder(kind.0)?);
    push(&store, kind, jobs, &any_batch()).await?;
    let cpu_us = async || {
        let info: String = server.tell(&["INFO", "cpu"]).await?;
        let used = info
            .lines()
            .filter(|line| line.starts_with("used_cpu_sys:") || line.starts_with("used_cpu_user:"));
        let used = used.filter_map(|line| line.split_once(':')?.1.parse::<f64>().ok());
        anyhow::Ok(used.sum::<f64>() * 1e6)
    };
    let (commands, us) = (server.commands().await?, cpu_us().await?);
    let mut worker = start(path, &settings, &folder, &["--burst"])?;
    eventually("all have run", async || Ok(worker.process.try_wait()?)).await?;
    let (commands, us) = (server.commands().await? - commands, cpu_us().await? - us);
    let all = f64::from(u32::try_from(jobs)?);
    Ok((f64::from(u32::try_from(commands)?) / all, us / all))
}

/// How long a worker takes for so many jobs that are all there, or follow from what is.
async fn drains(path: Option<&str>, (kind, one_in): (&str, usize), jobs: usize) -> anyhow::Result<Duration> {
    let (settings, batch) = (redis_settings(), any_batch());
    let store = Store::open(&settings).await?;
    let outbox = format!("{{{}:queues:default}}:outbox", settings.prefix);
    let folder = folder(kind)?;
    let pushed = push(&store, (kind, one_in), jobs, &batch).await?;
    let _worker = start(path, &settings, &folder, &[])?;
    let queue = default_queue();
    let (mut began, mut empty, patient) = (Instant::now(), None, Instant::now() + 10 * PATIENCE);
    loop {
        let now = Instant::now();
        anyhow::ensure!(now < patient, "{kind}: {:?} is left", store.counts(&queue).await?);
        let counts = store.counts(&queue).await?;
        if counts.ready == pushed as u64 {
            began = now;
        }
        let is_empty = counts.is_empty() && shared_redis().tell::<u64>(&["HLEN", &outbox]).await? == 0;
        empty = empty.filter(|_| is_empty).or(is_empty.then_some(now));
        // What goes from an outbox to the queue may be seen in neither.
        if empty.is_some_and(|empty| now - empty > 10 * LOOK) {
            break;
        }
        sleep(LOOK).await;
    }
    assert_eq!(store.failed_len().await?, 0, "{kind}");
    if kind == "batch" {
        let ended = eventually("the batch", async || Ok(store.batch(&batch).await?)).await?;
        assert_eq!(ended.sizes.done, jobs as u64);
    }
    Ok(empty.expect("it was empty") - began)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_used_of_flow_all_jobs_end_and_it_is_told_how_fast() -> anyhow::Result<()> {
    let (jobs, runs) = (number_from("KILN_FLOW_JOBS", 200)?, number_from("KILN_FLOW_RUNS", 1)?);
    let beside = std::env::var("KILN_FLOW_BESIDE").ok();
    let binaries: Vec<_> = [None].into_iter().chain(beside.as_deref().map(Some)).collect();
    let mut times = vec![KINDS.map(|_| Vec::new()); binaries.len()];
    for _ in 0..runs {
        for (k, kind) in KINDS.into_iter().enumerate() {
            for (times, path) in times.iter_mut().zip(&binaries) {
                times[k].push(drains(*path, kind, jobs).await?.as_secs_f64());
            }
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let all = f64::from(u32::try_from(jobs)?);
    for (times, path) in times.iter_mut().zip(&binaries) {
        println!("{}", path.unwrap_or("this kiln"));
        let plain = median(&mut times[0]);
        for (kind, times) in KINDS.into_iter().zip(times) {
            let (time, (commands, us)) = (median(times), counted(*path, kind, jobs).await?);
            println!(
                "{:<15} {:>8.0} jobs/s  {:>5.2} of plain; Redis: {commands:>6.2} commands, {us:>6.1} us",
                kind.0,
                all / time,
                plain / time
            );
        }
    }
    Ok(())
}
