//! The failed list: reading it, and putting back or deleting what an operator chose.
//!
//! All functions here read the list a page at a time, and hold no more than one page. Others may change the list
//! meanwhile: no entry is lost, worked on twice or passed over.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::AdminError;
pub use super::filter::Filter;
use crate::outcome::FailureKind;
use crate::queue::{FailedEntry, Fate, QueueError, QueueName, Store};

/// Most entries read and worked on at once. In the middle of a list of 300,000, Redis finds as many in about 2 ms.
pub const PAGE_ENTRIES: u64 = 64;

/// Most attempts at one page, while others take entries out of it at the same time.
const MAX_LOOKS: u32 = 1_000;

/// Entries that a purge deletes at once: Redis frees as many in about a millisecond.
const PURGE_ENTRIES: u64 = 1_000;

/// What an operator wants worked on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The jobs with these ids.
    Ids(BTreeSet<String>),
    /// The entries that a filter holds for.
    Matching(Filter),
}

/// A page of the list.
#[derive(Debug)]
pub struct Page {
    /// Those of its entries that the filter holds for, the oldest first.
    pub entries: Vec<FailedEntry>,
    /// The place at which the next page begins; none: this is the end of the list.
    pub next: Option<u64>,
}

/// A failed entry in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The job's id.
    pub id: String,
    /// The job's name.
    pub name: String,
    /// The queue it names.
    pub queue: Option<String>,
    /// When it failed, as the entry's writer put it: usually RFC 3339.
    pub failed_at: Option<String>,
    /// How it failed, where Kiln wrote the entry.
    pub kind: Option<FailureKind>,
    /// Why it failed; empty where the entry does not say.
    pub message: String,
}

/// How far work on the list has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Entries looked at.
    pub seen: u64,
    /// Entries there were at the start.
    pub of: u64,
    /// Entries put back, moved or deleted.
    pub done: u64,
}

/// What work on the list came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worked {
    /// Entries put back, moved or deleted.
    pub done: u64,
    /// The chosen ids without an entry that could be worked on.
    pub missing: BTreeSet<String>,
    /// Whether the caller broke it off before the end of the list.
    pub broken_off: bool,
}

/// What is told to who asks for another act.
pub(crate) const NO_ACT: &str = "what is to be done is retry, move or delete";

/// What is done to chosen entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "act", content = "to")]
pub enum Act {
    /// Their jobs go back into their queues, with their attempts reset.
    Retry,
    /// They are deleted.
    Delete,
    /// Their jobs go into this queue, which is theirs from then on, with their attempts reset.
    Move(QueueName),
}

impl Act {
    /// The act of this name. `to` is the queue that a move needs.
    ///
    /// # Errors
    /// In one line, when there is no such act, or when the queue is missing, not needed, or no name for one.
    pub fn named(name: &str, to: Option<&str>) -> Result<Self, String> {
        let act = match (name, to) {
            ("move", Some(to)) => return QueueName::new(to).map(Self::Move),
            ("move", None) => return Err("to move jobs, say to which queue: to".to_owned()),
            ("retry", _) => Self::Retry,
            ("delete", _) => Self::Delete,
            _ => return Err(NO_ACT.to_owned()),
        };
        if to.is_some() {
            return Err(format!("to is for a move, and not for: {name}"));
        }
        Ok(act)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Delete => "delete",
            Self::Move(_) => "move",
        }
    }

    /// The queue that jobs are moved to.
    #[must_use]
    pub fn to(&self) -> Option<&QueueName> {
        match self {
            Self::Move(to) => Some(to),
            Self::Retry | Self::Delete => None,
        }
    }

    async fn on(&self, store: &Store, entries: Vec<FailedEntry>) -> Result<Vec<Fate>, QueueError> {
        match self {
            Self::Retry => store.retry_failed(entries).await,
            Self::Delete => store.delete_failed(entries).await,
            Self::Move(to) => store.move_failed(entries, to).await,
        }
    }
}

/// How long others have the store to themselves after each step: no time, where an operator waits for the end.
const QUICK: Duration = Duration::ZERO;

/// The same, for work beside everything else that Redis does.
const GENTLE: Duration = Duration::from_millis(2);

impl Choice {
    fn holds(&self, entry: &FailedEntry, now: Timestamp) -> bool {
        match self {
            Self::Ids(ids) => id(entry).is_some_and(|id| ids.contains(id)),
            Self::Matching(filter) => filter.holds(entry, now),
        }
    }

    fn ids(&self) -> BTreeSet<String> {
        match self {
            Self::Ids(ids) => ids.clone(),
            Self::Matching(_) => BTreeSet::new(),
        }
    }
}

impl Summary {
    /// What an entry says in short; none if it holds no job.
    #[must_use]
    pub fn of(entry: &FailedEntry) -> Option<Self> {
        let job = entry.job().ok()?;
        let failure = entry.failure();
        Some(Self {
            id: job.id.clone(),
            name: job.name.clone(),
            queue: job.queue.clone(),
            failed_at: job.times.failed_at.clone(),
            kind: failure.as_ref().map(|failure| failure.kind),
            message: failure
                .map(|failure| failure.message)
                .or_else(|| job.error.clone())
                .unwrap_or_default(),
        })
    }
}

/// Reads up to `count` entries from the place `start`, at most [`PAGE_ENTRIES`] and a few MiB, and keeps those that the
/// filter holds for.
///
/// # Errors
/// When the store fails.
pub async fn page(store: &Store, filter: &Filter, start: u64, count: u64) -> Result<Page, AdminError> {
    let now = store.now().await?;
    let mut entries = store.failed(start, count.clamp(1, PAGE_ENTRIES)).await?;
    let next = (!entries.is_empty()).then(|| start + entries.len() as u64);
    entries.retain(|entry| filter.holds(entry, now));
    Ok(Page { entries, next })
}

/// The oldest entry of the job with this id.
///
/// # Errors
/// When there is none, or when the store fails.
pub async fn find(store: &Store, id: &str) -> Result<FailedEntry, AdminError> {
    let mut start = 0;
    loop {
        let page = store.failed(start, PAGE_ENTRIES).await?;
        if page.is_empty() {
            return Err(AdminError::NoEntry(id.to_owned()));
        }
        start += page.len() as u64;
        if let Some(entry) = page.into_iter().find(|entry| self::id(entry) == Some(id)) {
            return Ok(entry);
        }
    }
}

/// Puts the jobs of the chosen entries back into their queues, with their attempts reset. Only entries that were in the
/// list at the start are looked at, whoever else works on it. `progress` is called after every page, and may break off.
///
/// # Errors
/// When the store fails: what `progress` was told of is done then, and perhaps a page more.
pub async fn retry(
    store: &Store,
    choice: &Choice,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Worked, AdminError> {
    work(store, choice, Some(&Act::Retry), QUICK, |told, _| progress(told)).await
}

/// Deletes the chosen entries, in the same way.
///
/// # Errors
/// When the store fails: what `progress` was told of is done then, and perhaps a page more.
pub async fn delete(
    store: &Store,
    choice: &Choice,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Worked, AdminError> {
    work(store, choice, Some(&Act::Delete), QUICK, |told, _| progress(told)).await
}

/// Puts the jobs of the chosen entries into another queue, which is theirs from then on, in the same way.
///
/// # Errors
/// When the store fails: what `progress` was told of is done then, and perhaps a page more.
pub async fn move_to(
    store: &Store,
    choice: &Choice,
    to: &QueueName,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Worked, AdminError> {
    let act = Act::Move(to.clone());
    work(store, choice, Some(&act), QUICK, |told, _| progress(told)).await
}

/// Counts the chosen entries, in the same way, and leaves them where they are: as `done` of what is told and returned.
///
/// # Errors
/// When the store fails.
pub async fn count(
    store: &Store,
    choice: &Choice,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Worked, AdminError> {
    work(store, choice, None, QUICK, |told, _| progress(told)).await
}

/// Does one of these, with pauses between the steps. `progress` is also told the marks of the entries that a step
/// took out.
///
/// # Errors
/// When the store fails: what `progress` was told of is done then, and perhaps a step more.
pub async fn work_gently(
    store: &Store,
    choice: &Choice,
    act: &Act,
    progress: impl FnMut(Progress, &[u64]) -> ControlFlow<()>,
) -> Result<Worked, AdminError> {
    work(store, choice, Some(act), GENTLE, progress).await
}

/// Does one of these to one entry that was just read, and returns what became of it.
///
/// # Errors
/// When the store fails.
pub async fn work_on(store: &Store, entry: FailedEntry, act: &Act) -> Result<Fate, AdminError> {
    let fates = act.on(store, vec![entry]).await;
    let joined = store.join_failed().await;
    let fate = fates?.first().copied().unwrap_or(Fate::Gone);
    joined?;
    Ok(fate)
}

/// Deletes as many of the oldest entries as there are at the start.
///
/// # Errors
/// When the store fails: what `progress` was told of is done then, and perhaps a step more.
pub async fn purge(store: &Store, mut progress: impl FnMut(Progress) -> ControlFlow<()>) -> Result<Worked, AdminError> {
    let of = store.failed_len().await?;
    let mut worked = Worked::default();
    while worked.done < of {
        let count = PURGE_ENTRIES.min(of - worked.done);
        let purged = store.purge_failed(count).await?;
        worked.done += purged;
        let told = Progress {
            seen: worked.done,
            of,
            done: worked.done,
        };
        let go_on = progress(told).is_continue();
        if purged < count {
            break;
        }
        if !go_on && worked.done < of {
            worked.broken_off = true;
            break;
        }
    }
    Ok(worked)
}

async fn work(
    store: &Store,
    choice: &Choice,
    act: Option<&Act>,
    pause: Duration,
    progress: impl FnMut(Progress, &[u64]) -> ControlFlow<()>,
) -> Result<Worked, AdminError> {
    let worked = work_through(store, choice, act, pause, progress).await;
    if act.is_none() {
        return Ok(worked?);
    }
    // Whether or not the work succeeded.
    let joined = store.join_failed().await;
    let worked = worked?;
    joined?;
    Ok(worked)
}

/// Without an act, the entries are only counted. From the newest entry to the oldest: entries only ever move to the front, whatever others take out, so this order
/// passes over none.
async fn work_through(
    store: &Store,
    choice: &Choice,
    act: Option<&Act>,
    pause: Duration,
    mut progress: impl FnMut(Progress, &[u64]) -> ControlFlow<()>,
) -> Result<Worked, QueueError> {
    let now = store.now().await?;
    let of = store.failed_len().await?;
    let mut worked = Worked {
        missing: choice.ids(),
        ..Worked::default()
    };
    let (mut end, mut looks) = (of, 0);
    while end > 0 {
        let page = store.failed_before(end, PAGE_ENTRIES).await?;
        let Some(start) = page.first().map(FailedEntry::place) else {
            break;
        };
        let chosen: Vec<_> = page.into_iter().filter(|entry| choice.holds(entry, now)).collect();
        let known: Vec<_> = chosen
            .iter()
            .map(|entry| (id(entry).map(ToOwned::to_owned), entry.mark()))
            .collect();
        let fates = match act {
            Some(act) => act.on(store, chosen).await?,
            None => vec![Fate::Stays; chosen.len()],
        };
        let (mut marks, mut gone) = (Vec::new(), false);
        for ((id, mark), fate) in known.into_iter().zip(fates) {
            gone |= fate == Fate::Gone;
            if fate == Fate::Taken || act.is_none() {
                marks.push(mark);
                id.map(|id| worked.missing.remove(&id));
            }
        }
        let taken = marks.len() as u64;
        worked.done += taken;
        if gone {
            // The entry may only have moved while others worked on the list. Then it is still before the end of this
            // page.
            looks += 1;
            end -= taken;
        } else {
            (end, looks) = (start, 0);
        }
        if looks > MAX_LOOKS {
            return Err(QueueError::Busy);
        }
        let told = Progress {
            seen: of - end,
            of,
            done: worked.done,
        };
        if progress(told, &marks).is_break() && end > 0 {
            worked.broken_off = true;
            break;
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(worked)
}

fn id(entry: &FailedEntry) -> Option<&str> {
    entry.job().ok().map(|job| job.id.as_str())
}
