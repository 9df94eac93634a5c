//! `kiln failed`: the failed list.

mod trial;

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::store::{StoreArgs, duration, queue_name};
use super::worker::Signals;
use super::{EXIT_SIGNAL, Missing, Usage, moment, out, plural, tell};
use crate::admin::AdminError;
use crate::admin::failed::{self, Choice, PAGE_ENTRIES, Progress, Summary, Worked};
use crate::outcome::{Failure, FailureKind};
use crate::queue::{FailedEntry, QueueName, Store};
use crate::text::{self, MAX_LINE_BYTES};

/// The failed list: what is in it, and what to do about it
#[derive(Debug, Args)]
pub(super) struct FailedArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List entries, the oldest first
    List {
        #[command(flatten)]
        filter: Filter,
        /// Entries shown at most
        #[arg(long, default_value = "100", value_name = "N")]
        limit: usize,
        /// Print the entries as they stand in the list, one a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Show one entry whole
    Show {
        /// The job's id
        id: String,
        /// Print the entry as it stands in the list
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Put jobs back into their queues, with all their attempts before them again
    ///
    /// Broken off or cut off, the same command goes on where it was: what is done is no longer in the list.
    Retry {
        #[command(flatten)]
        chosen: Chosen,
        /// Only tell how many there are
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Put jobs into another queue, with all their attempts before them again
    ///
    /// From then on they are that queue's. Broken off or cut off, the same command goes on where it was.
    Move {
        /// The queue
        #[arg(long, value_parser = queue_name, value_name = "QUEUE")]
        to: QueueName,
        #[command(flatten)]
        chosen: Chosen,
        /// Only tell how many there are
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Delete entries
    Delete {
        #[command(flatten)]
        chosen: Chosen,
        /// Only tell how many there are
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Try a job once on another component, and settle nothing
    ///
    /// The job stays in the failed list, whatever comes of it. Its requests are shown and not sent. It reads the buckets of the
    /// plugin with the component's name as they are; what it would write is shown and not written. The exit code tells the
    /// outcome, as that of kiln run does.
    #[command(after_help = "Example:\n  kiln failed try 7f3a2b10 --with build/resize.wasm")]
    Try(Box<trial::TryArgs>),
    /// Delete every entry there is
    Purge {
        /// Really: without it, only tells how many there are
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
}

#[derive(Debug, Args)]
struct Filter {
    /// Only jobs of this name
    #[arg(long)]
    name: Option<String>,
    /// Only failures of this kind: rejected, error, trap, timeout, memory, denied, unknown-job, malformed, unloadable, lost, internal, cancelled, expired
    #[arg(long, value_parser = kind)]
    kind: Option<FailureKind>,
    /// Only what failed at least this long ago
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    older_than: Option<Duration>,
}

#[derive(Debug, Args)]
#[group(id = "chosen", required = true, multiple = true, args = ["ids", "all", "name", "kind", "older_than"])]
struct Chosen {
    /// The jobs' ids
    #[arg(conflicts_with_all = ["name", "kind", "older_than", "all"])]
    ids: Vec<String>,
    /// Every entry
    #[arg(long, conflicts_with_all = ["name", "kind", "older_than"])]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

impl From<Filter> for failed::Filter {
    fn from(filter: Filter) -> Self {
        let ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Self {
            name: filter.name,
            kind: filter.kind,
            older_than_ms: filter.older_than.map(ms),
            ..Self::default()
        }
    }
}

impl From<Chosen> for Choice {
    fn from(chosen: Chosen) -> Self {
        if chosen.ids.is_empty() {
            Self::Matching(chosen.filter.into())
        } else {
            Self::Ids(chosen.ids.into_iter().collect())
        }
    }
}

pub(super) async fn failed(args: FailedArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List {
            store,
            filter,
            limit,
            json,
        } => list(&store.open().await?, &filter.into(), limit, json).await?,
        Command::Show { store, id, json } => show(&store.open().await?, &id, json).await?,
        Command::Retry { store, chosen, dry_run }
        | Command::Move {
            store, chosen, dry_run, ..
        } if dry_run => {
            let jobs = ["job", "jobs"];
            return count(&store.open().await?, &chosen.into(), jobs, "would be put back").await;
        }
        Command::Delete { store, chosen, dry_run } if dry_run => {
            let entries = ["entry", "entries"];
            return count(&store.open().await?, &chosen.into(), entries, "would be deleted").await;
        }
        Command::Retry { store, chosen, .. } => {
            let (store, work) = (store.open().await?, Work::new(["job", "jobs"], "put back")?);
            let retried = failed::retry(&store, &chosen.into(), |progress| work.told(progress)).await;
            return work.ended(retried);
        }
        Command::Move { store, chosen, to, .. } => {
            let (store, work) = (store.open().await?, Work::new(["job", "jobs"], "moved")?);
            let moved = failed::move_to(&store, &chosen.into(), &to, |progress| work.told(progress)).await;
            return work.ended(moved);
        }
        Command::Delete { store, chosen, .. } => {
            let (store, work) = (store.open().await?, Work::new(["entry", "entries"], "deleted")?);
            let deleted = failed::delete(&store, &chosen.into(), |progress| work.told(progress)).await;
            return work.ended(deleted);
        }
        Command::Try(args) => return trial::try_on(*args).await,
        Command::Purge { store, yes } => return purge(&store.open().await?, yes).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(store: &Store, filter: &failed::Filter, limit: usize, json: bool) -> anyhow::Result<()> {
    let mut out = out();
    let (mut shown, mut next) = (0, Some(0));
    let mut count = PAGE_ENTRIES.min(limit as u64);
    while let Some(start) = next.filter(|_| shown < limit) {
        let page = failed::page(store, filter, start, count).await?;
        next = page.next;
        // The filter may hide much of a page, so the next page is larger.
        count = PAGE_ENTRIES.min(2 * count);
        for entry in page.entries.iter().take(limit - shown) {
            shown += 1;
            if json {
                out.write_all(entry.bytes())?;
                writeln!(out)?;
            } else {
                writeln!(out, "{}", line(entry))?;
            }
        }
    }
    if shown == limit && !json {
        tell(&format!("the first {limit}; --limit shows more"));
    }
    Ok(())
}

/// `when  kind  name  id  why`.
fn line(entry: &FailedEntry) -> String {
    let Some(entry) = Summary::of(entry) else {
        let why = entry.job().err().map(ToString::to_string);
        return format!("an entry that is {}", why.unwrap_or_default());
    };
    let failed_at = entry.failed_at.as_deref().map_or_else(|| "-".to_owned(), moment);
    let kind = entry.kind.map_or("-", FailureKind::as_str);
    let (name, id, why) = (
        text::name(&entry.name),
        text::name(&entry.id),
        text::message(&entry.message, MAX_LINE_BYTES),
    );
    format!("{failed_at:<20} {kind:<11} {name:<16} {id}  {why}")
}

async fn show(store: &Store, id: &str, json: bool) -> anyhow::Result<()> {
    let entry = failed::find(store, id).await?;
    let mut out = out();
    if json {
        out.write_all(entry.bytes())?;
        writeln!(out)?;
        return Ok(());
    }
    let value: &RawValue = serde_json::from_slice(entry.bytes())?;
    writeln!(out, "{}", pretty(value, entry.failure())?)?;
    if let Some(failure) = entry.failure() {
        for (what, text) in [
            ("backtrace", failure.backtrace),
            ("stdout", failure.stdout),
            ("stderr", failure.stderr),
        ] {
            if let Some(said) = text {
                writeln!(out, "\n{what}:\n{}", indented(&said))?;
            }
        }
    }
    Ok(())
}

/// The entry's keys, one a line, with each value as it is in the entry: a JSON tree would round its numbers.
fn pretty(entry: &RawValue, failure: Option<Failure>) -> anyhow::Result<String> {
    let keys: std::collections::BTreeMap<String, &RawValue> = serde_json::from_str(entry.get())?;
    let order = [
        "id",
        "name",
        "queue",
        "error",
        "attempts",
        "max_attempts",
        "failed_at",
        "created_at",
        "payload",
    ];
    let rest = keys
        .keys()
        .map(String::as_str)
        .filter(|key| !order.contains(key) && *key != "failure");
    let lines = order.into_iter().chain(rest);
    let known = lines.filter_map(|key| {
        keys.get(key)
            .map(|value| format!("{:<14}{}", text::name(key), value.get()))
    });
    let mut shown = known.collect::<Vec<_>>().join("\n");
    if let Some(failure) = failure {
        let digest = text::name(failure.digest.get(..12).unwrap_or(&failure.digest));
        let (message, handler) = (
            text::message(&failure.message, MAX_LINE_BYTES),
            text::name(&failure.handler),
        );
        let _ = write!(
            shown,
            "\nkind          {}\nmessage       {message}\nhandler       {handler} {digest}\nattempt       {}\nduration      {} ms",
            failure.kind, failure.attempt, failure.duration_ms
        );
    }
    Ok(shown)
}

/// Indents a guest's text, so that it cannot pass for a line of ours.
fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("  {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Tells how many entries are meant, and does nothing to them.
async fn count(
    store: &Store,
    choice: &Choice,
    what: [&'static str; 2],
    would: &'static str,
) -> anyhow::Result<ExitCode> {
    let work = Work::new(what, would)?;
    let counted = failed::count(store, choice, |progress| work.told(progress)).await;
    work.ended(counted)
}

async fn purge(store: &Store, yes: bool) -> anyhow::Result<ExitCode> {
    if !yes {
        let len = plural(store.failed_len().await?, "entry", "entries");
        return Err(Usage(format!("the failed list has {len}; to delete all, add --yes")).into());
    }
    let work = Work::new(["entry", "entries"], "deleted")?;
    let purged = failed::purge(store, |progress| work.told(progress)).await;
    work.ended(purged)
}

/// Work on the list: a terminal shows how far it is, and a signal breaks it off.
struct Work {
    bar: ProgressBar,
    stop: CancellationToken,
    what: [&'static str; 2],
    done: &'static str,
}

impl Work {
    fn new(what: [&'static str; 2], done: &'static str) -> anyhow::Result<Self> {
        let style = ProgressStyle::with_template("{bar:40} {percent}% {msg} {eta} left")?;
        let stop = CancellationToken::new();
        tokio::spawn(stop_on_signal(stop.clone(), Signals::new()?));
        Ok(Self {
            bar: ProgressBar::no_length().with_style(style),
            stop,
            what,
            done,
        })
    }

    fn told(&self, progress: Progress) -> ControlFlow<()> {
        self.bar.set_length(progress.of);
        self.bar.set_position(progress.seen);
        self.bar.set_message(self.count(progress.done));
        if self.stop.is_cancelled() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn ended(self, worked: Result<Worked, AdminError>) -> anyhow::Result<ExitCode> {
        let so_far = self.bar.message();
        self.bar.finish_and_clear();
        let worked = worked.map_err(|err| {
            let told = format!("{err}; before that, {so_far}, and perhaps some more");
            let err = anyhow::Error::new(err);
            if so_far.is_empty() { err } else { err.context(told) }
        })?;
        writeln!(out(), "{}", self.count(worked.done))?;
        if worked.broken_off {
            tell("kiln: stopped by a signal; the rest is as it was");
            return Ok(ExitCode::from(EXIT_SIGNAL));
        }
        if worked.missing.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let missing = worked.missing.into_iter().collect::<Vec<_>>().join(", ");
        Err(Missing(format!("no failed job that could be worked on with id {missing}")).into())
    }

    fn count(&self, done: u64) -> String {
        let [one, more] = self.what;
        format!("{} {}", plural(done, one, more), self.done)
    }
}

/// The first signal ends the work after the page under way, the second ends the process at once.
pub(super) async fn stop_on_signal(stop: CancellationToken, mut signals: Signals) {
    signals.next().await;
    stop.cancel();
    signals.next().await;
    std::process::exit(EXIT_SIGNAL.into());
}

fn kind(text: &str) -> Result<FailureKind, String> {
    text.parse()
}
