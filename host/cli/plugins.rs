//! `kiln plugins`: what every worker serves with, and how that goes.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

use bytesize::ByteSize;
use clap::{Args, Subcommand};

use super::store::StoreArgs;
use super::{moment, out, plural};
use crate::admin::plugins as admin;
use crate::plugins::{PluginReport, VersionReport};
use crate::text::{self, MAX_LINE_BYTES};

/// Show the plugins of every running worker: versions, attempts, failures, faults
///
/// Workers tell the store every 5 s. An unchanged file that does not load, a version set aside and the last error of each
/// stand below its line.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct PluginsArgs {
    #[command(subcommand)]
    command: Option<PluginsCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum PluginsCommand {
    /// Serve with a plugin again that --quarantine has set aside, on every worker
    Release(ReleaseArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only the plugin of this name
    name: Option<String>,
    /// Print one JSON object: host → plugins
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
struct ReleaseArgs {
    /// The plugin's name
    name: String,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn plugins(args: PluginsArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(PluginsCommand::Release(args)) => release(args).await,
        None => list(args.list).await,
    }
}

async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let hosts = admin::hosts(&args.store.open().await?, args.name.as_deref()).await?;
    let mut out = out();
    if args.json {
        let told: BTreeMap<_, _> = hosts.iter().map(|(host, report)| (host, &**report)).collect();
        writeln!(out, "{}", serde_json::to_string(&told)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if hosts.is_empty() {
        writeln!(out, "no worker is running")?;
    }
    for (host, report) in &hosts {
        writeln!(
            out,
            "worker {} since {}, seen {}",
            text::name(host),
            moment(&report.since),
            moment(&report.at)
        )?;
        writeln!(out, "  {HEADINGS}")?;
        for plugin in &report.plugins {
            for line in lines(plugin) {
                writeln!(out, "  {line}")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

const HEADINGS: &str = "plugin               digest        version          size      load  loaded since           \
                        in flight   attempts     failed";

fn lines(plugin: &PluginReport) -> Vec<String> {
    let (name, facts) = (
        text::name(&plugin.name),
        plugin.serving.as_ref().map(|version| &version.facts),
    );
    let mut lines = vec![match &plugin.serving {
        Some(version) => line(&name, version),
        None => format!("{name:<20} -"),
    }];
    let mut note = |text: String| lines.push(format!("{:<20} {}", "", text::message(&text, MAX_LINE_BYTES)));
    if let Some(facts) = facts {
        if facts.jobs != [&*plugin.name] {
            note(format!("handles {}", facts.jobs.join(", ")));
        }
        let schedules = facts
            .schedules
            .iter()
            .filter_map(|schedule| schedule.get("id")?.as_str());
        let schedules: Vec<_> = schedules.collect();
        if !schedules.is_empty() {
            note(format!("schedules {}", schedules.join(", ")));
        }
    }
    if let Some(version) = &plugin.serving {
        if let Some(why) = &version.aside {
            let instead = version.instead.as_ref();
            let instead = instead.map_or_else(
                || "its jobs wait".to_owned(),
                |digest| format!("{digest} serves instead"),
            );
            note(format!("SET ASIDE: {why}; {instead}"));
        }
        if let Some(last) = &version.last_error {
            note(format!("last error {}: {}", moment(&last.at), last.error));
        }
    }
    if let Some(fault) = &plugin.fault {
        note(format!("FILE DOES NOT LOAD: {fault}"));
    }
    if plugin.faults > 1 {
        note(format!("{} versions of the file did not load", plugin.faults));
    }
    lines
}

fn line(name: &str, version: &VersionReport) -> String {
    let kinds: Vec<_> = version
        .failures
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    let failed: u64 = version.failures.values().sum();
    let kinds = if kinds.is_empty() {
        String::new()
    } else {
        format!(" ({})", kinds.join(", "))
    };
    format!(
        "{name:<20} {:<13} {:<12} {:>9} {:>6} ms  {:<22} {:>9} {:>10} {failed:>10}{kinds}",
        text::name(&version.facts.digest),
        text::name(version.facts.version.as_deref().unwrap_or("-")),
        ByteSize(version.facts.bytes).to_string(),
        version.load_ms,
        since(version.since_ms),
        version.in_flight,
        version.attempts,
    )
}

/// When a version came, to the second.
fn since(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| "-".to_owned(), |time| format!("{time:.0}"))
}

async fn release(args: ReleaseArgs) -> anyhow::Result<ExitCode> {
    let asked = admin::release(&args.store.open().await?, &args.name).await?;
    writeln!(
        out(),
        "{} asked to serve with {} again; that happens within 5 s",
        plural(asked, "worker is", "workers are"),
        args.name
    )?;
    Ok(ExitCode::SUCCESS)
}
