//! `kiln cancel`: ending jobs for good before they have ended by themselves.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::failed::stop_on_signal;
use super::store::{StoreArgs, duration, queue_name};
use super::worker::Signals;
use super::{EXIT_SIGNAL, out, plural, tell};
use crate::admin::AdminError;
use crate::admin::cancel::{self, Filter, Looked, Marked};
use crate::queue::{CANCELLED_FOR, QueueError, QueueName, Store, cancellable};
use crate::text;

/// Cancel jobs, wherever they are
///
/// A job that runs is interrupted, and its HTTP calls end; one that waits, is delayed or comes back from a worker that died ends
/// once a worker comes to it, without running. Each leaves a failed entry of kind cancelled. Every worker hears of it within
/// 100 ms. A job that is done by then stays done. What is written is a mark with the id, whether there is such a job or not. It
/// lasts for 24 hours, or until that long after its job falls due: another job of the same id is cancelled, too.
///
/// By --name and --older-than, it cancels the jobs that there are at the moment, up to 10,000 of a queue in 24 hours.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln cancel 3f0c6a52-9d5e-4b1f-8c39-0f9d6a2b7e11
  kiln cancel --name send-email --older-than 1h --dry-run
  kiln cancel --undo 3f0c6a52-9d5e-4b1f-8c39-0f9d6a2b7e11")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[group(id = "which", required = true, multiple = true, args = ["ids", "name", "older_than", "all"])]
pub(super) struct CancelArgs {
    /// The jobs' ids
    #[arg(value_parser = cancellable, conflicts_with_all = ["name", "older_than", "all"], value_name = "ID")]
    ids: Vec<String>,
    /// The jobs of this name
    #[arg(long)]
    name: Option<String>,
    /// Only jobs created at least this long ago
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    older_than: Option<Duration>,
    /// Only count the jobs that would be cancelled
    #[arg(long, conflicts_with_all = ["ids", "undo"])]
    dry_run: bool,
    /// Cancel them no longer. Jobs that a worker has come to already are in the failed list
    #[arg(long, conflicts_with_all = ["name", "older_than"])]
    undo: bool,
    /// With --undo: every job that is cancelled
    #[arg(long, requires = "undo", conflicts_with_all = ["name", "older_than"])]
    all: bool,
    /// Only in this queue; repeat for more [default: every queue that Kiln serves or pushes to]
    #[arg(long, value_parser = queue_name, value_name = "QUEUE")]
    queue: Vec<QueueName>,
    /// Print JSON: an array with what was done about each id, else one object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn cancel(args: CancelArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open().await?;
    let queues = if args.queue.is_empty() {
        cancel::all_queues(&store).await?
    } else {
        args.queue.clone()
    };
    if args.undo && args.all {
        let undone = cancel::undo_all(&store, &queues).await?;
        if args.json {
            writeln!(out(), "{}", json!({ "undone": undone }))?;
        } else {
            writeln!(
                out(),
                "{} no longer",
                plural(undone, "job is cancelled", "jobs are cancelled")
            )?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.ids.is_empty() {
        return matching(&store, &queues, args).await;
    }
    let marked = if args.undo {
        cancel::undo(&store, &queues, &args.ids).await?
    } else {
        let marked = cancel::cancel(&store, &queues, &args.ids).await;
        marked.map_err(|err| not_all(err, &queues, args.ids.len()))?
    };
    if args.json {
        writeln!(out(), "{}", serde_json::to_string(&marked)?)?;
    } else {
        show(&marked, args.undo)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says how far it came where there is no room for all.
fn not_all(err: AdminError, queues: &[QueueName], ids: usize) -> anyhow::Error {
    let told = match &err {
        AdminError::Store(QueueError::MarksFull { queue, marked }) => {
            let others = queues.iter().map(QueueName::as_str);
            let others: Vec<_> = others.take_while(|other| *other != queue.as_str()).collect();
            let before = if others.is_empty() {
                String::new()
            } else {
                format!(", all of them in {}", others.join(", "))
            };
            format!(
                "{err}; {marked} of {} were marked there before{before}",
                plural(ids as u64, "id", "ids")
            )
        }
        _ => return err.into(),
    };
    anyhow::Error::new(err).context(told)
}

fn show(marked: &[Marked], undo: bool) -> anyhow::Result<()> {
    let (mut out, hours) = (out(), CANCELLED_FOR.as_secs() / 3_600);
    for Marked {
        id,
        was_cancelled,
        has_completed,
        ..
    } in marked
    {
        let id = text::name(id);
        match (undo, was_cancelled) {
            // Whether there is such a job, nobody has looked.
            (false, false) => writeln!(out, "{id} marked: any job of this id ends, for {hours} hours at least")?,
            (false, true) => writeln!(
                out,
                "{id} marked again: any job of this id ends, for {hours} hours at least"
            )?,
            (true, true) => writeln!(out, "{id} is cancelled no longer")?,
            (true, false) => writeln!(out, "{id} was not cancelled")?,
        }
        if *has_completed {
            tell(&format!("note: {id} has completed before"));
        }
    }
    Ok(())
}

async fn matching(store: &Store, queues: &[QueueName], args: CancelArgs) -> anyhow::Result<ExitCode> {
    let filter = Filter {
        name: args.name,
        older_than_ms: args
            .older_than
            .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    };
    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template("{bar:40} {percent}% {msg}")?);
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone(), Signals::new()?));
    let done = if args.dry_run {
        "would be cancelled"
    } else {
        "cancelled"
    };
    let count = |looked: &Looked| format!("{} {done}", plural(looked.matching, "job", "jobs"));
    let progress = |looked: Looked| {
        bar.set_length(looked.of);
        bar.set_position(looked.seen);
        bar.set_message(count(&looked));
        if stop.is_cancelled() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let looked = cancel::cancel_matching(store, queues, &filter, args.dry_run, progress).await;
    let so_far = bar.message();
    bar.finish_and_clear();
    let looked = looked.map_err(|err| {
        let told = format!("{err}; before that, {so_far}");
        let err = anyhow::Error::new(err);
        if so_far.is_empty() { err } else { err.context(told) }
    })?;
    if args.json {
        writeln!(out(), "{}", serde_json::to_string(&looked)?)?;
    } else {
        writeln!(out(), "{} of {}", count(&looked), plural(looked.seen, "job", "jobs"))?;
    }
    if looked.untold > 0 {
        let untold = plural(looked.untold, "job was", "jobs were");
        tell(&format!(
            "note: {untold} left out, without an id or a time of creation, or too large to be looked through"
        ));
    }
    if looked.broken_off {
        tell("kiln: stopped by a signal; the rest is as it was");
        return Ok(ExitCode::from(EXIT_SIGNAL));
    }
    Ok(ExitCode::SUCCESS)
}
