//! `kiln queues`: how much is where.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::store::StoreArgs;
use super::{EXIT_STORE, out};
use crate::admin::lanes::waits_for;
use crate::admin::queues::{Figure, Figures, figures};
use crate::queue::{Counts, Search};
use crate::text::{self, MAX_LINE_BYTES};

/// Show the queues: ready, waiting, delayed, in flight, failed, and their hosts
#[derive(Debug, Args)]
pub(super) struct QueuesArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Look for queues among all keys in Redis
    ///
    /// Queues that Kiln serves or pushes to are known, and others are looked for among the first 10,000 keys of each server. If
    /// there are more keys than that, a queue that only other producers push to may be missing without this. Redis goes on
    /// serving meanwhile.
    #[arg(long)]
    scan: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Lanes named of a queue.
const MOST_LANES: usize = 5;

pub(super) async fn queues(args: QueuesArgs) -> anyhow::Result<ExitCode> {
    let search = if args.scan { Search::Whole } else { Search::Brief };
    let figures = figures(&args.store.open().await?, search).await?;
    if args.json {
        writeln!(out(), "{}", serde_json::to_string(&figures)?)?;
    } else {
        print(&figures)?;
    }
    Ok(if figures.is_well() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_STORE)
    })
}

fn print(figures: &Figures) -> anyhow::Result<()> {
    let mut out = out();
    writeln!(
        out,
        "{:<24} {:>10} {:>10} {:>10} {:>10}  hosts",
        "queue", "ready", "waiting", "delayed", "in flight"
    )?;
    for (queue, figure) in &figures.queues {
        let queue = text::name(queue);
        match figure {
            Figure::Counted(counts) => {
                let Counts {
                    ready,
                    waiting,
                    delayed,
                    in_flight,
                    ..
                } = counts;
                let hosts = hosts(counts);
                writeln!(
                    out,
                    "{queue:<24} {ready:>10} {waiting:>10} {delayed:>10} {in_flight:>10}  {hosts}"
                )?;
                if let Some(waiting) = waiting_for(counts) {
                    writeln!(out, "  waiting for {waiting}")?;
                }
                if let Some(pause) = &counts.paused {
                    writeln!(out, "  paused {pause}")?;
                }
            }
            Figure::Fault { error } => {
                let why = text::line(error, MAX_LINE_BYTES);
                writeln!(out, "{queue:<24} cannot be counted: {why}")?;
            }
        }
    }
    if !figures.all_queues {
        writeln!(
            out,
            "not all keys were looked at: a queue that only other producers push to may be missing; --scan looks at all"
        )?;
    }
    for (name, pause) in &figures.paused_jobs {
        writeln!(out, "job {}: paused {pause}", text::name(name))?;
    }
    let failed = figures.failed;
    match figures.failed_dropped {
        0 => writeln!(out, "failed list: {failed}")?,
        dropped => writeln!(
            out,
            "failed list: {failed} ({dropped} dropped by --failed-max or --failed-max-age)"
        )?,
    }
    for fault in &figures.faults {
        writeln!(out, "{}", text::line(fault, MAX_LINE_BYTES))?;
    }
    if let Some(trouble) = &figures.trouble {
        writeln!(out, "the store cannot be used: {trouble}")?;
    }
    Ok(())
}

/// What the jobs in lanes wait for, those first for which most do.
fn waiting_for(counts: &Counts) -> Option<String> {
    let mut lanes: Vec<_> = counts.lanes.iter().filter(|(_, jobs)| **jobs > 0).collect();
    lanes.sort_by_key(|(_, jobs)| std::cmp::Reverse(**jobs));
    let named = lanes.iter().take(MOST_LANES);
    let mut named: Vec<_> = named
        .map(|(lane, jobs)| format!("{} ({jobs})", text::name(&waits_for(lane))))
        .collect();
    let more: u64 = lanes.iter().skip(MOST_LANES).map(|(_, jobs)| **jobs).sum();
    if more > 0 {
        named.push(format!("others ({more})"));
    }
    (!named.is_empty()).then(|| named.join(", "))
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
