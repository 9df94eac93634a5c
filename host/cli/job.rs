//! `kiln job`: what is known of one job.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::store::{StoreArgs, queue_name};
use super::{Missing, moment, out, plural};
use crate::admin::job::{Failed, Found, Life, Look, Part, Running, State, life};
use crate::admin::results::Outcome;
use crate::outcome::{AttemptRecord, Failure, RunningReport};
use crate::queue::QueueName;
use crate::text::{self, MAX_LINE_BYTES};

/// Show what is known of a job: where it is, its attempts, what it came to
///
/// Of attempts, those that failed are kept for a week, or what the worker's --history and --history-ttl say. A job that has ended is known by its result or answer, for as long as these are kept, and by its entry in the failed list. One
/// that has not is looked for: among those that workers hold first, then among the 20,000 that were pushed last; --all looks at
/// every one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kiln job 3f0c6a52-9d5e-4b1f-8c39-0f9d6a2b7e11")]
pub(super) struct JobArgs {
    /// The job's id
    id: String,
    /// Look in this queue only; repeat for more [default: all that are known]
    #[arg(long = "queue", value_parser = queue_name, value_name = "NAME")]
    queues: Vec<QueueName>,
    /// Look at every job and every failed entry there is
    #[arg(long)]
    all: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn job(args: JobArgs) -> anyhow::Result<ExitCode> {
    let look = Look {
        queues: (!args.queues.is_empty()).then_some(args.queues),
        all: args.all,
        without_failed: false,
        hosts: None,
    };
    let life = life(&args.store.open().await?, &args.id, &look).await?;
    if args.json {
        writeln!(out(), "{}", serde_json::to_string(&life)?)?;
    } else {
        let mut out = out();
        for line in lines(&life) {
            writeln!(out, "{line}")?;
        }
    }
    if life.is_unknown() {
        return Err(Missing(format!("nothing is known of a job {}", text::name(&args.id))).into());
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(life: &Life) -> Vec<String> {
    if life.is_unknown() {
        return not_looked_at(life).into_iter().collect();
    }
    let mut lines = vec![format!("{}  {}", text::name(&life.id), headline(life))];
    for found in &life.found {
        lines.extend(of_found(found));
    }
    lines.extend(life.running.iter().map(of_running));
    lines.extend(life.progress.iter().map(of_progress));
    if !life.cancelled.is_empty() {
        let queues: Vec<_> = life.cancelled.iter().map(|queue| text::name(queue)).collect();
        let what = if life.found.is_empty() {
            "was to end"
        } else {
            "ends when a worker comes to it"
        };
        lines.push(field("cancelled", &format!("in {}: it {what}", queues.join(", "))));
    }
    if let Some(outcome) = &life.outcome {
        lines.push(of_outcome(outcome));
    }
    lines.extend(life.failed.iter().flat_map(of_failed));
    lines.extend(of_attempts(&life.attempts));
    lines.extend(not_looked_at(life));
    lines
}

fn headline(life: &Life) -> &'static str {
    match life.state {
        State::InFlight => "in flight",
        State::Ready => "ready",
        State::Waiting => "waiting",
        State::Delayed => "delayed",
        State::Completed => "completed",
        State::Failed => "failed",
        State::Unknown => "not found",
    }
}

fn of_found(found: &Found) -> Vec<String> {
    let queue = text::name(&found.queue);
    let place = match &found.part {
        Part::InFlight { host } => format!("in queue {queue}, held by {}", text::name(host)),
        Part::Ready { before: 0 } => format!("in queue {queue}, the next"),
        Part::Ready { before } => format!("in queue {queue}, after {before} others"),
        Part::Waiting { lane, before } => format!("in queue {queue}, lane {}, after {before} others", text::name(lane)),
        Part::Delayed => format!("in queue {queue}, until its time"),
    };
    let mut lines = vec![field("where", &place)];
    if let Some(name) = &found.name {
        lines.push(field("name", &text::name(name)));
    }
    if let Some(made) = &found.created_at {
        lines.push(field("created", &moment(made)));
    }
    if let Some(due) = found.due_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()) {
        lines.push(field("due", &format!("{due:.0}")));
    }
    if let Some(attempts) = found.attempts {
        let of = found
            .max_attempts
            .map_or_else(String::new, |most| format!(" of {most}"));
        lines.push(field("attempts", &format!("{attempts}{of} so far")));
    }
    if let Some(error) = &found.error {
        lines.push(field("last error", &text::message(error, MAX_LINE_BYTES)));
    }
    lines
}

fn of_running(running: &Running) -> String {
    let (host, since) = (text::name(&running.host), at(running.since_ms));
    field("runs", &format!("on {host}, since {since}"))
}

fn of_progress(report: &RunningReport) -> String {
    let percent = report
        .percent
        .map_or_else(|| "-".to_owned(), |percent| format!("{percent}%"));
    let note = text::line(&report.note, MAX_LINE_BYTES);
    let told = at(report.at_ms);
    field("progress", format!("{percent} {note}").trim_end())
        + &format!(" (attempt {}, told at {told})", report.attempt)
}

/// A line for each attempt that is kept, and what its handler said below it.
fn of_attempts(attempts: &[AttemptRecord]) -> Vec<String> {
    let mut lines = Vec::new();
    if !attempts.is_empty() {
        lines.push("  attempts that are kept:".to_owned());
    }
    for attempt in attempts {
        lines.push(format!("    {}", of_attempt(attempt)));
        if attempt.failure.is_some() {
            lines.push(format!("      {}", text::message(&attempt.message, MAX_LINE_BYTES)));
        }
    }
    if attempts.iter().any(|attempt| attempt.said.is_some()) {
        lines.push("  kiln logs prints what its handler said".to_owned());
    }
    lines
}

fn of_attempt(attempt: &AttemptRecord) -> String {
    let end = attempt.failure.map_or("completed", |kind| kind.as_str());
    let host = text::name(&attempt.host);
    let Some(started_ms) = attempt.started_ms else {
        return format!("{}  {end} without being run, by {host}", at(attempt.ended_ms));
    };
    let took_ms = attempt.ended_ms.saturating_sub(started_ms);
    let waited_ms = attempt
        .due_ms
        .map_or(0, |due_ms| started_ms.saturating_sub(due_ms))
        .max(0);
    let mut line = format!(
        "#{} {}  {end} in {took_ms} ms, cpu {} ms, {} KiB, on {host} by {} {}",
        attempt.attempt,
        at(started_ms),
        attempt.cpu_us / 1_000,
        attempt.peak_memory_bytes / 1_024,
        text::name(&attempt.plugin),
        text::name(&attempt.digest),
    );
    if let Some(version) = &attempt.version {
        let _ = write!(line, " ({})", text::name(version));
    }
    if waited_ms > 0 {
        let _ = write!(line, ", {waited_ms} ms after it was due");
    }
    if let Some(again_in_ms) = attempt.again_in_ms {
        let _ = write!(line, ", again in {again_in_ms} ms");
    }
    line
}

/// A time, to the millisecond.
pub(super) fn at(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| "-".to_owned(), |time| format!("{time:.3}"))
}

fn of_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed {
            result: Some(result), ..
        } => field("result", result.get()),
        Outcome::Completed { result_bytes, .. } => {
            let bytes = result_bytes.unwrap_or(0);
            field("result", &format!("{bytes} bytes, not kept"))
        }
        Outcome::Failed { kind, message } => {
            field("answer", &format!("{kind}: {}", text::message(message, MAX_LINE_BYTES)))
        }
    }
}

fn of_failed(failed: &Failed) -> Vec<String> {
    let summary = &failed.summary;
    let at = summary.failed_at.as_deref().map_or_else(|| "-".to_owned(), moment);
    let kind = summary.kind.map_or("-", |kind| kind.as_str());
    let why = text::message(&summary.message, MAX_LINE_BYTES);
    let attempts = plural(failed.attempts.into(), "attempt", "attempts");
    let mut lines = vec![
        field("name", &text::name(&summary.name)),
        field("failed", &format!("{at}, after {attempts}")),
        field("why", &format!("{kind}: {why}")),
    ];
    if let Some(failure) = failed.failure.as_ref().filter(|failure| failure.attempt > 0) {
        lines.push(field("handler", &handler(failure)));
    }
    lines.push(format!(
        "  kiln failed show {} prints the entry",
        text::name(&summary.id)
    ));
    lines
}

fn handler(failure: &Failure) -> String {
    let digest = failure.digest.get(..12).unwrap_or(&failure.digest);
    format!(
        "{} {}, attempt {}, {} ms",
        text::name(&failure.handler),
        text::name(digest),
        failure.attempt,
        failure.duration_ms
    )
}

/// What was left out, where nothing was found that has not ended.
fn not_looked_at(life: &Life) -> Option<String> {
    let searched = life.searched;
    let cut = life.found.is_empty() && (!searched.all_jobs || (life.failed.is_none() && !searched.all_failed));
    let told = || {
        format!(
            "  only the {} jobs and {} failed entries that came last were looked at; --all looks at every one",
            searched.jobs, searched.failed
        )
    };
    cut.then(told)
}

fn field(name: &str, value: &str) -> String {
    format!("  {name:<11} {value}")
}
