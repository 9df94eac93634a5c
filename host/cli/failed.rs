//! `kiln failed`: the failed list.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;

use super::store::{StoreArgs, duration};
use super::{Missing, Usage, moment, out, plural, tell};
use crate::outcome::{Failure, FailureKind};
use crate::queue::{FailedEntry, QueueError, Store};
use crate::text::{self, MAX_LINE_BYTES};

/// Entries read from the list at once.
const PAGE: u64 = 500;

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
    Retry {
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Delete entries
    Delete {
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        store: StoreArgs,
    },
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
    /// Only failures of this kind: rejected, error, trap, timeout, memory, denied, unknown-job, malformed, unloadable, lost, internal
    #[arg(long, value_parser = kind)]
    kind: Option<FailureKind>,
    /// Only what failed at least this long ago
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    older_than: Option<Duration>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true, id = "chosen")]
struct Chosen {
    /// The jobs' ids
    #[arg(group = "chosen", conflicts_with_all = ["name", "kind", "older_than", "all"])]
    ids: Vec<String>,
    /// Every entry
    #[arg(long, group = "chosen", conflicts_with_all = ["name", "kind", "older_than"])]
    all: bool,
    /// Jobs of this name
    #[arg(long, group = "chosen")]
    name: Option<String>,
    /// Failures of this kind: rejected, error, trap, timeout, memory, denied, unknown-job, malformed, unloadable, lost, internal
    #[arg(long, group = "chosen", value_parser = kind)]
    kind: Option<FailureKind>,
    /// What failed at least this long ago
    #[arg(long, group = "chosen", value_parser = duration, value_name = "DURATION")]
    older_than: Option<Duration>,
}

impl Filter {
    fn holds(&self, entry: &FailedEntry, now: Timestamp) -> bool {
        let Ok(job) = entry.job() else {
            return self.name.is_none() && self.kind.is_none() && self.older_than.is_none();
        };
        self.name.as_ref().is_none_or(|name| *name == job.name)
            && self
                .kind
                .is_none_or(|kind| entry.failure().is_some_and(|failure| failure.kind == kind))
            && self.older_than.is_none_or(|age| {
                let failed_at = job
                    .times
                    .failed_at
                    .as_deref()
                    .and_then(|text| text.parse::<Timestamp>().ok());
                let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
                failed_at.is_some_and(|failed_at| now.duration_since(failed_at) >= age)
            })
    }
}

impl Chosen {
    fn split(self) -> (Vec<String>, Filter) {
        (
            self.ids,
            Filter {
                name: self.name,
                kind: self.kind,
                older_than: self.older_than,
            },
        )
    }
}

pub(super) async fn failed(args: FailedArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List {
            store,
            filter,
            limit,
            json,
        } => list(&store.open().await?, &filter, limit, json).await?,
        Command::Show { store, id, json } => show(&store.open().await?, &id, json).await?,
        Command::Retry { store, chosen } => {
            let store = store.open().await?;
            let act = async |entry| store.retry_failed(entry).await;
            each_chosen(&store, chosen, ["job", "jobs"], "put back", act).await?;
        }
        Command::Delete { store, chosen } => {
            let store = store.open().await?;
            let act = async |entry| store.delete_failed(entry).await;
            each_chosen(&store, chosen, ["entry", "entries"], "deleted", act).await?;
        }
        Command::Purge { store, yes } => purge(&store.open().await?, yes).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(store: &Store, filter: &Filter, limit: usize, json: bool) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let mut out = out();
    let (mut start, mut shown) = (0, 0);
    while shown < limit {
        let page = store.failed(start, PAGE).await?;
        if page.is_empty() {
            break;
        }
        start += page.len() as u64;
        for entry in page.iter().filter(|entry| filter.holds(entry, now)).take(limit - shown) {
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
    let job = match entry.job() {
        Ok(job) => job,
        Err(err) => return format!("an entry that is {err}"),
    };
    let failed_at = job.times.failed_at.as_deref().map_or_else(|| "-".to_owned(), moment);
    let failure = entry.failure();
    let kind = failure.as_ref().map_or("-", |failure| failure.kind.as_str());
    let why = failure
        .map(|failure| failure.message)
        .or_else(|| job.error.clone())
        .unwrap_or_default();
    let (name, id, why) = (
        text::name(&job.name),
        text::name(&job.id),
        text::message(&why, MAX_LINE_BYTES),
    );
    format!("{failed_at:<20} {kind:<11} {name:<16} {id}  {why}")
}

async fn show(store: &Store, id: &str, json: bool) -> anyhow::Result<()> {
    let mut start = 0;
    loop {
        let page = store.failed(start, PAGE).await?;
        if page.is_empty() {
            return Err(Missing(format!("no failed job with id {id}")).into());
        }
        start += page.len() as u64;
        let Some(entry) = page.iter().find(|entry| has_id(entry, id)) else {
            continue;
        };
        let mut out = out();
        if json {
            out.write_all(entry.bytes())?;
            writeln!(out)?;
        } else {
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
        }
        return Ok(());
    }
}

/// The entry's keys a line each, each value as it stands there: a JSON tree would round its numbers.
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

/// Text of a guest, which no line of ours looks like.
fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("  {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Does something to each chosen entry that was in the list at the start, and says for how many it could be done.
async fn each_chosen(
    store: &Store,
    chosen: Chosen,
    [one, more]: [&str; 2],
    what: &str,
    act: impl AsyncFn(FailedEntry) -> Result<bool, QueueError>,
) -> anyhow::Result<()> {
    let (ids, filter) = chosen.split();
    let now = Timestamp::now();
    let mut left = store.failed_len().await?;
    let (mut start, mut done) = (0, 0);
    let mut missing = ids.clone();
    while left > 0 {
        let page = store.failed(start, PAGE.min(left)).await?;
        if page.is_empty() {
            break;
        }
        left -= page.len() as u64;
        for entry in page {
            let id = entry.job().ok().map(|job| job.id.clone());
            let wanted = if ids.is_empty() {
                filter.holds(&entry, now)
            } else {
                id.as_ref().is_some_and(|id| ids.contains(id))
            };
            // What is not taken out stays before what comes next.
            if wanted && act(entry).await? {
                done += 1;
                missing.retain(|missing| Some(missing) != id.as_ref());
            } else {
                start += 1;
            }
        }
    }
    writeln!(out(), "{} {what}", plural(done, one, more))?;
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Missing(format!(
            "no failed job that could be worked on with id {}",
            missing.join(", ")
        ))
        .into())
    }
}

async fn purge(store: &Store, yes: bool) -> anyhow::Result<()> {
    let len = store.failed_len().await?;
    if !yes {
        return Err(Usage(format!(
            "the failed list has {}; to delete all, add --yes",
            plural(len, "entry", "entries")
        ))
        .into());
    }
    let purged = store.purge_failed(len).await?;
    writeln!(out(), "{} deleted", plural(purged, "entry", "entries"))?;
    Ok(())
}

fn has_id(entry: &FailedEntry, id: &str) -> bool {
    entry.job().is_ok_and(|job| job.id == id)
}

fn kind(text: &str) -> Result<FailureKind, String> {
    let known = || FailureKind::ALL.map(FailureKind::as_str).join(", ");
    FailureKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| format!("no such kind; there are {}", known()))
}
