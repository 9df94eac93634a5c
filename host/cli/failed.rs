//! `kiln failed`: the failed list.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;

use super::store::{StoreArgs, duration};
use super::{Missing, Usage, moment, out, plural, tell};
use crate::outcome::{Failure, FailureKind};
use crate::queue::{FailedEntry, Fate, QueueError, Store};
use crate::text::{self, MAX_LINE_BYTES};

/// Entries read from the list at once, at most. To take some out of the middle of a long list, Redis goes through half of it,
/// once a page; to take a thousand out keeps it for some hundredths of a second.
const PAGE: u64 = 2_000;

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
            let act = async |entries| store.retry_failed(entries).await;
            each_chosen(&store, chosen, ["job", "jobs"], "put back", act).await?;
        }
        Command::Delete { store, chosen } => {
            let store = store.open().await?;
            let act = async |entries| store.delete_failed(entries).await;
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
    let mut count = PAGE.min(limit as u64);
    while shown < limit {
        let page = store.failed(start, count).await?;
        if page.is_empty() {
            break;
        }
        // Not all that was read is shown.
        count = PAGE.min(2 * count);
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
        let Some(entry) = page.iter().find(|entry| self::id(entry) == Some(id)) else {
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

/// Does something to each chosen entry that was in the list at the start, a page at a time, and says for how many it could
/// be done.
async fn each_chosen(
    store: &Store,
    chosen: Chosen,
    [one, more]: [&str; 2],
    what: &str,
    act: impl AsyncFn(Vec<FailedEntry>) -> Result<Vec<Fate>, QueueError>,
) -> anyhow::Result<()> {
    let (ids, filter) = chosen.split();
    let now = Timestamp::now();
    let is_chosen = |entry: &FailedEntry| {
        if ids.is_empty() {
            filter.holds(entry, now)
        } else {
            id(entry).is_some_and(|id| ids.iter().any(|chosen| chosen == id))
        }
    };
    let mut left = store.failed_len().await?;
    let (mut start, mut done) = (0, 0);
    let mut missing = ids.clone();
    let mut before = None;
    while left > 0 {
        // With the one before them: where it is not, others have taken entries out, and what was not seen has moved up.
        let overlap = u64::from(before.is_some());
        let mut page = store.failed(start - overlap, PAGE.min(left) + overlap).await?;
        if before.is_some() && page.first().map(|entry| hash(entry.bytes())) != before {
            let back = PAGE.min(start);
            (start, left, before) = (start - back, left + back, None);
            continue;
        }
        if before.take().is_some() {
            page.remove(0);
            if page.is_empty() {
                // One that is large leaves no room for others.
                continue;
            }
        }
        if page.is_empty() {
            break;
        }
        left = left.saturating_sub(page.len() as u64);
        let hashes: Vec<_> = page.iter().map(|entry| hash(entry.bytes())).collect();
        let (mut picked, mut stays) = (Vec::new(), vec![true; page.len()]);
        let mut entries = Vec::new();
        for (at, entry) in page.into_iter().enumerate().filter(|(_, entry)| is_chosen(entry)) {
            picked.push((at, id(&entry).map(ToOwned::to_owned)));
            entries.push(entry);
        }
        let fates = if entries.is_empty() {
            Vec::new()
        } else {
            act(entries).await?
        };
        for ((at, id), fate) in picked.into_iter().zip(fates) {
            stays[at] = fate == Fate::Stays;
            if fate == Fate::Taken {
                done += 1;
                missing.retain(|missing| Some(missing) != id.as_ref());
            }
        }
        let kept = stays
            .iter()
            .zip(hashes)
            .filter_map(|(stays, hash)| stays.then_some(hash));
        for hash in kept {
            (start, before) = (start + 1, Some(hash));
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

fn id(entry: &FailedEntry) -> Option<&str> {
    entry.job().ok().map(|job| job.id.as_str())
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn kind(text: &str) -> Result<FailureKind, String> {
    let known = || FailureKind::ALL.map(FailureKind::as_str).join(", ");
    FailureKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| format!("no such kind; there are {}", known()))
}
