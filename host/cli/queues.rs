//! `kiln queues`: how much is where.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::store::StoreArgs;
use super::{EXIT_STORE, out, tell};
use crate::queue::{Counts, QueueError, QueueName, Store};
use crate::text;

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
    // Asked first: a store in trouble may not be able to tell the rest.
    let trouble = store.trouble().await?;
    match (look(&store).await, trouble) {
        (Ok((queues, failed)), trouble) => {
            print(&args, &queues, failed, trouble.as_deref())?;
            Ok(trouble.map_or(ExitCode::SUCCESS, |_| ExitCode::from(EXIT_STORE)))
        }
        (Err(_), Some(trouble)) => {
            tell(&format!("kiln: the store cannot be used: {trouble}"));
            Ok(ExitCode::from(EXIT_STORE))
        }
        (Err(err), None) => Err(err.into()),
    }
}

/// The queues with their counts, and how many entries the failed list has and has dropped.
type Seen = (Vec<(QueueName, Counts)>, (u64, u64));

async fn look(store: &Store) -> Result<Seen, QueueError> {
    let mut queues = Vec::new();
    for queue in store.queues().await? {
        let counts = store.counts(&queue).await?;
        queues.push((queue, counts));
    }
    Ok((queues, (store.failed_len().await?, store.failed_dropped().await?)))
}

fn print(
    args: &QueuesArgs,
    queues: &[(QueueName, Counts)],
    (failed, dropped): (u64, u64),
    trouble: Option<&str>,
) -> anyhow::Result<()> {
    let mut out = out();
    if args.json {
        let queues: serde_json::Map<_, _> = queues
            .iter()
            .map(|(queue, counts)| (queue.to_string(), json!(counts)))
            .collect();
        let all = json!({ "queues": queues, "failed": failed, "failed_dropped": dropped, "trouble": trouble });
        writeln!(out, "{all}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{:<24} {:>10} {:>10} {:>10}  hosts",
        "queue", "ready", "delayed", "in flight"
    )?;
    for (queue, counts) in queues {
        let Counts {
            ready,
            delayed,
            in_flight,
            ..
        } = counts;
        writeln!(
            out,
            "{:<24} {ready:>10} {delayed:>10} {in_flight:>10}  {}",
            text::name(queue.as_str()),
            hosts(counts)
        )?;
    }
    match dropped {
        0 => writeln!(out, "failed list: {failed}")?,
        _ => writeln!(
            out,
            "failed list: {failed} ({dropped} dropped by --failed-max or --failed-max-age)"
        )?,
    }
    if let Some(trouble) = trouble {
        writeln!(out, "the store cannot be used: {trouble}")?;
    }
    Ok(())
}

fn hosts(counts: &Counts) -> String {
    let hosts = counts.hosts.iter().map(|(name, host)| (text::name(name), host));
    let hosts = hosts.map(|(name, host)| match host.lease_left_ms {
        ..0 => format!("{name} (dead, held {})", host.in_flight),
        left_ms => format!("{name} ({}, lease for {} s)", host.in_flight, left_ms / 1000),
    });
    let hosts: Vec<_> = hosts.collect();
    if hosts.is_empty() {
        "none".to_owned()
    } else {
        hosts.join(", ")
    }
}
