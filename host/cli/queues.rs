//! `kiln queues`: how much is where.

use std::io::{Write as _, stdout};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::store::StoreArgs;
use crate::queue::Counts;

/// Show the queues: ready, delayed, in flight, failed, and the hosts that serve them
#[derive(Debug, Args)]
pub(super) struct QueuesArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn queues(args: QueuesArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open().await?;
    let mut queues = Vec::new();
    for queue in store.queues().await? {
        let counts = store.counts(&queue).await?;
        queues.push((queue, counts));
    }
    let failed = store.failed_len().await?;
    let mut out = stdout().lock();
    if args.json {
        let queues: serde_json::Map<_, _> = queues
            .iter()
            .map(|(queue, counts)| (queue.to_string(), json!(counts)))
            .collect();
        writeln!(out, "{}", json!({ "queues": queues, "failed": failed }))?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        out,
        "{:<24} {:>10} {:>10} {:>10}  hosts",
        "queue", "ready", "delayed", "in flight"
    )?;
    for (queue, counts) in &queues {
        let Counts {
            ready,
            delayed,
            in_flight,
            ..
        } = counts;
        writeln!(
            out,
            "{:<24} {ready:>10} {delayed:>10} {in_flight:>10}  {}",
            queue.as_str(),
            hosts(counts)
        )?;
    }
    writeln!(out, "failed list: {failed}")?;
    Ok(ExitCode::SUCCESS)
}

fn hosts(counts: &Counts) -> String {
    let hosts = counts.hosts.iter().map(|(host, left_ms)| {
        if *left_ms < 0 {
            format!("{host} (dead)")
        } else {
            host.clone()
        }
    });
    let hosts: Vec<_> = hosts.collect();
    if hosts.is_empty() {
        "none".to_owned()
    } else {
        hosts.join(", ")
    }
}
