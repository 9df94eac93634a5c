//! `kiln stats`: what jobs came to over time, as a table and a chart.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::out;
use super::store::StoreArgs;
use crate::admin::stats::{PluginStats, QueueStats, Stats, since};
use crate::config::TimeRange;
use crate::text::{self, MAX_LINE_BYTES};

/// Show what the jobs of all workers came to: by queue, and by plugin
///
/// Each worker adds what its jobs came to to sums in the store, every 10 s. They are kept by the minute for 8 hours, by the hour for
/// 35 days, and by the day for 400 days. Below each queue and plugin, a bar for each step says how many jobs, or attempts, ended
/// in it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln stats\n  kiln stats --since 30m\n  kiln stats --since 720h --json")]
pub(super) struct StatsArgs {
    /// How far back, up to 400 days
    #[arg(long, default_value = "24h", value_parser = how_far, value_name = "DURATION")]
    since: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

const SINCE: TimeRange = TimeRange {
    least: Duration::from_mins(1),
    most: Duration::from_hours(400 * 24),
    why: "sums are made by the minute, and none is kept for longer",
};

fn how_far(text: &str) -> Result<Duration, String> {
    SINCE.parse(text)
}

pub(super) async fn stats(args: StatsArgs) -> anyhow::Result<ExitCode> {
    let stats = since(&args.store.open().await?, args.since).await?;
    let mut out = out();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&stats)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let columns = terminal_size::terminal_size().map_or(DEFAULT_COLUMNS, |(width, _)| usize::from(width.0));
    for line in lines(&stats, columns) {
        writeln!(out, "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The width of what is no terminal.
const DEFAULT_COLUMNS: usize = 80;

/// Least and most bars of a chart. No terminal shows more of them than a person can take in.
const LEAST_BARS: usize = 8;
const MOST_BARS: usize = 120;

fn lines(stats: &Stats, columns: usize) -> Vec<String> {
    let step = match stats.step_s {
        60 => "minute",
        3600 => "hour",
        _ => "day",
    };
    let mut lines = vec![format!("{} to {}, by the {step}", stats.from, stats.to)];
    if stats.queues.is_empty() && stats.plugins.is_empty() {
        lines.push("no job has ended".to_owned());
        return lines;
    }
    lines.push(String::new());
    lines.push(format!(
        "{:<24} {:>11} {:>9} {:>9} {:>9}",
        "queue", "done", "failed", "retried", "dropped"
    ));
    for (name, queue) in &stats.queues {
        let QueueStats {
            done,
            failed,
            retried,
            dropped,
            ..
        } = queue;
        lines.push(format!(
            "{:<24} {:>11} {:>9} {:>9} {:>9}",
            text::name(name),
            grouped(*done),
            grouped(*failed),
            grouped(*retried),
            grouped(*dropped)
        ));
        lines.push(chart(&queue.steps, step, columns));
    }
    lines.push(String::new());
    lines.push(format!(
        "{:<24} {:>11} {:>9} {:>12} {:>12}",
        "plugin", "completed", "failed", "cpu, mean", "time, mean"
    ));
    for (name, plugin) in &stats.plugins {
        lines.extend(of_plugin(name, plugin));
        lines.push(chart(&plugin.steps, step, columns));
    }
    lines
}

fn of_plugin(name: &str, plugin: &PluginStats) -> Vec<String> {
    let failed: u64 = plugin.failures.values().sum();
    let mean = |us: u64| shown_us(us / plugin.attempts().max(1));
    let mut lines = vec![format!(
        "{:<24} {:>11} {:>9} {:>12} {:>12}",
        text::name(name),
        grouped(plugin.completed),
        grouped(failed),
        mean(plugin.cpu_us),
        mean(plugin.ran_us)
    )];
    if failed > 0 {
        let kinds = plugin
            .failures
            .iter()
            .map(|(kind, count)| format!("{kind} {}", grouped(*count)));
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        lines.push(format!("  {}", text::line(&kinds, MAX_LINE_BYTES)));
    }
    lines
}

/// Bars for the steps, as many as the terminal has room for: each for as many steps as that takes.
fn chart(steps: &[u64], step: &str, columns: usize) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let room = columns.saturating_sub(28).clamp(LEAST_BARS, MOST_BARS);
    let width = steps.len().div_ceil(room).max(1);
    let sums: Vec<u64> = steps.rchunks(width).rev().map(|steps| steps.iter().sum()).collect();
    let most = sums.iter().copied().max().unwrap_or(0).max(1);
    let bar = |sum: &u64| {
        // Something is never shown as nothing.
        let height = (u128::from(*sum) * 8).div_ceil(u128::from(most));
        BARS[usize::try_from(height).unwrap_or(8).min(8)]
    };
    let bars: String = sums.iter().map(bar).collect();
    let per = if width == 1 {
        format!("one {step}")
    } else {
        format!("{width} {step}s")
    };
    format!("  {bars}  up to {} in {per}", grouped(most))
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy)
        .collect();
    groups.join(",")
}

#[expect(clippy::cast_precision_loss, reason = "shown with a digit behind the point")]
fn shown_us(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_fits_the_terminal_shows_all_there_is_and_no_job_as_nothing() {
        assert_eq!(chart(&[0, 1, 4, 8], "hour", 80), "  \u{20}▁▄█  up to 8 in one hour");
        let steps: Vec<u64> = (0..480).collect();
        for columns in [0, 40, 80, 400] {
            let shown = chart(&steps, "minute", columns);
            assert!(shown.chars().count() <= columns.max(60), "{columns}: {shown}");
            assert!(shown.contains('█') && shown.contains(" minutes"), "{shown}");
        }
        assert_eq!(chart(&[1, 1_000_000], "day", 80), "  ▁█  up to 1,000,000 in one day");
    }

    #[test]
    fn numbers_are_grouped_and_times_have_units_that_suit_them() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([7, 1_234, 2_500_000].map(shown_us), ["7 µs", "1.2 ms", "2.5 s"]);
    }
}
