//! `kiln schedules`: what the workers push by the clock.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::store::StoreArgs;
use super::{out, plural};
use crate::admin::schedules::{self as admin, Listed};
use crate::text::{self, MAX_LINE_BYTES};

/// Show the schedules of the running workers: when each fired last, and fires next
///
/// A schedule stands in the manifest of its plugin, as [[schedule]]. Workers tell the store of theirs every 5 s. Times are by the
/// clock of the schedule's time zone.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  kiln schedules\n  kiln schedules run report/nightly"
)]
pub(super) struct SchedulesArgs {
    #[command(subcommand)]
    command: Option<SchedulesCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum SchedulesCommand {
    /// Push the job of a schedule now, beside its instants
    Run(RunArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Print one JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The schedule: PLUGIN/ID, or its id alone if no other plugin has one of that id
    #[arg(value_name = "ID")]
    id: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn schedules(args: SchedulesArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(SchedulesCommand::Run(args)) => run(args).await,
        None => list(args.list).await,
    }
}

async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let listed = admin::list(&args.store.open().await?).await?;
    let mut out = out();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&listed)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if listed.is_empty() {
        writeln!(out, "no running worker has a schedule")?;
    }
    for schedule in &listed {
        for line in lines(schedule) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(schedule: &Listed) -> Vec<String> {
    let Listed {
        name,
        job,
        queue,
        when,
        zone,
        ..
    } = schedule;
    let workers = plural(schedule.hosts.len() as u64, "worker", "workers");
    let head = format!("{name}: {when} ({zone}), job {job} on queue {queue}, by {workers}");
    let mut lines = vec![
        text::line(&head, MAX_LINE_BYTES).into_owned(),
        format!("  last  {}", schedule.last.as_deref().unwrap_or("-")),
    ];
    if schedule.next.is_empty() {
        lines.push("  next  -".to_owned());
    }
    let next = schedule.next.iter().enumerate();
    lines.extend(next.map(|(n, time)| format!("  {:<4}  {time}", if n == 0 { "next" } else { "" })));
    lines
}

async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let pushed = admin::run(&args.store.open().await?, &args.id).await?;
    if args.json {
        writeln!(out(), "{}", serde_json::to_string(&pushed)?)?;
    } else {
        writeln!(
            out(),
            "{} pushed to queue {} as {}",
            text::name(&pushed.job),
            pushed.queue,
            pushed.id
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
