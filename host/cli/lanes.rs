//! `kiln lanes`: what waits for limits across hosts.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::out;
use super::store::{StoreArgs, queue_name};
use crate::admin::lanes::{LaneFigure, MAX_LANES_READ, lanes};
use crate::queue::QueueName;
use crate::text;

/// Show the lanes in which jobs wait for limits across hosts
///
/// A lane holds the jobs that count against the same limits of a plugin (`[[limit]]` in its manifest), and is named by them:
/// `/customer=acme|*`. Shows how many jobs wait in each, how many run under each of its limits, and when it has its turn.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln lanes
  kiln lanes mails --plugin send-email --top 100
  kiln lanes --json")]
pub(super) struct LanesArgs {
    /// The queues [default: all]
    #[arg(value_parser = queue_name, value_name = "QUEUE")]
    queues: Vec<QueueName>,
    /// Only the lanes of this plugin, named by its file's stem
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// Show so many, those first in which the most jobs wait
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Print one JSON object with all of them
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn show(args: LanesArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open().await?;
    let found = lanes(&store, &args.queues, args.plugin.as_deref(), MAX_LANES_READ).await?;
    let mut out = out();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = store.now().await?;
    writeln!(
        out,
        "{:>10}  {:<16} {:<16} {:<12} lane, with the jobs that run",
        "waiting", "queue", "plugin", "turn"
    )?;
    for figure in found.lanes.iter().take(args.top) {
        let LaneFigure { queue, plugin, seen } = figure;
        let (queue, plugin, turn) = (
            text::name(queue),
            text::name(plugin),
            turn(seen.turn_ms, now.as_millisecond()),
        );
        let caps = seen
            .running
            .iter()
            .map(|(cap, jobs)| format!("{} ({jobs})", text::name(cap)));
        let caps = caps.collect::<Vec<_>>().join(" ");
        writeln!(out, "{:>10}  {queue:<16} {plugin:<16} {turn:<12} {caps}", seen.jobs)?;
    }
    let left = found.lanes.len().saturating_sub(args.top);
    let more = if found.all { "" } else { " or more" };
    if left > 0 || !found.all {
        writeln!(out, "{left}{more} further lanes; --top shows more")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// When a lane has its turn.
fn turn(at_ms: Option<i64>, now_ms: i64) -> String {
    match at_ms {
        None => "limit is met".to_owned(),
        Some(at_ms) if at_ms <= now_ms => "now".to_owned(),
        Some(at_ms) => format!("in {} s", (at_ms - now_ms + 999) / 1_000),
    }
}
