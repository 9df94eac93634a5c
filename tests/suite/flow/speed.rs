//! What follow-ups, chains, batches, limits and keys of unique jobs cost: jobs a second beside plain ones, measured by turns.
//!
//! Small here, so that it stays right. Figures are taken from a release: `KILN_FLOW_JOBS=40000 KILN_FLOW_RUNS=5 cargo test --release
//! --test suite flow::speed -- --nocapture`.

use std::time::{Duration, Instant};

use kiln::queue::{Push, Store};
use tokio::time::sleep;

use super::batches::any_batch;
use crate::process::Worker;
use crate::queue::ready;
use crate::service::folder_of;
use crate::support::{PATIENCE, default_queue, eventually, number_from, redis_settings, shared_redis};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// Keys among which jobs are spread.
const KEYS: usize = 100;

/// What is used of flow, and how many of so many jobs are pushed for it: the others follow.
const KINDS: [(&str, usize); 11] = [
    ("plain", 1),
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

fn unique(key: usize, mode: &str, more: &str) -> String {
    format!(r#","metadata":{{"kiln":{{"unique":{{"key":"{key}","mode":"{mode}"{more}}}}}}}"#)
}

/// How long a worker takes for so many jobs that are all there, or follow from what is.
async fn drains(kind: &str, one_in: usize, jobs: usize) -> anyhow::Result<Duration> {
    let (settings, batch) = (redis_settings(), any_batch());
    let store = Store::open(&settings).await?;
    let outbox = format!("{{{}:queues:default}}:outbox", settings.prefix);
    let folder = folder_of(&[
        ("echo", manifest(kind)),
        ("enqueue", "[grants.jobs]\nnames = [\"echo\"]"),
    ])?;
    let pushed: Vec<_> = (0..jobs / one_in).map(|n| job(kind, n, jobs, &batch)).collect();
    for page in pushed.chunks(1_000) {
        store.push(page).await?;
    }
    let _worker = Worker::start(&settings, folder.path(), &["--concurrency", "32"])?;
    let queue = default_queue();
    let (mut began, mut empty, patient) = (Instant::now(), None, Instant::now() + 10 * PATIENCE);
    loop {
        let now = Instant::now();
        anyhow::ensure!(now < patient, "{kind}: {:?} is left", store.counts(&queue).await?);
        let counts = store.counts(&queue).await?;
        if counts.ready == pushed.len() as u64 {
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
    let mut times = KINDS.map(|_| Vec::new());
    for _ in 0..runs {
        for ((kind, one_in), times) in KINDS.iter().zip(&mut times) {
            times.push(drains(kind, *one_in, jobs).await?.as_secs_f64());
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (plain, all) = (median(&mut times[0]), f64::from(u32::try_from(jobs)?));
    for ((kind, _), times) in KINDS.iter().zip(&mut times) {
        let time = median(times);
        println!("{kind:<14} {:>8.0} jobs/s  {:>5.2} of plain", all / time, plain / time);
    }
    Ok(())
}
