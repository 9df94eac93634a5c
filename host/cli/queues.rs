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
            let well = trouble.is_none() && queues.iter().all(|(_, counts)| counts.is_ok());
            Ok(if well {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(EXIT_STORE)
            })
        }
        (Err(_), Some(trouble)) => {
            tell(&format!("kiln: the store cannot be used: {trouble}"));
            Ok(ExitCode::from(EXIT_STORE))
        }
        (Err(err), None) => Err(err.into()),
    }
}

/// What is in a queue, or why that cannot be told: one whose keys are of the wrong type hides no other.
type Counted = (QueueName, Result<Counts, String>);

/// The queues, and how many entries the failed list has and has dropped.
type Seen = (Vec<Counted>, (u64, u64));

async fn look(store: &Store) -> Result<Seen, QueueError> {
    let mut queues = Vec::new();
    for queue in store.queues().await? {
        let counts = match store.counts(&queue).await {
            Err(err) if err.is_outage() => return Err(err),
            counts => counts.map_err(|err| text::line(&err.to_string(), text::MAX_LINE_BYTES).into_owned()),
        };
        queues.push((queue, counts));
    }
    Ok((queues, (store.failed_len().await?, store.failed_dropped().await?)))
}

fn print(
    args: &QueuesArgs,
    queues: &[Counted],
    (failed, dropped): (u64, u64),
    trouble: Option<&str>,
) -> anyhow::Result<()> {
    let mut out = out();
    if args.json {
        let queues: serde_json::Map<_, _> = queues
            .iter()
            .map(|(queue, counts)| match counts {
                Ok(counts) => (queue.to_string(), json!(counts)),
                Err(why) => (queue.to_string(), json!({ "error": why })),
            })
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
        let counts = match counts {
            Ok(counts) => counts,
            Err(why) => {
                writeln!(out, "{:<24} cannot be counted: {why}", text::name(queue.as_str()))?;
                continue;
            }
        };
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
