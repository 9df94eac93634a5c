//! An index of the failed list, in the memory of the process that shows it.
//!
//! The list stays the truth, and nothing is written for the index. It is made once, the newest entries first, in steps of
//! about a millisecond of Redis' time, and then follows the list: usually one entry is read to see that nothing but new
//! entries came (`follow`). Answers come from memory, and say how old the index is.
//!
//! Memory: about 250 bytes an entry, at most [`MAX_BYTES`]. Of a longer list the index holds the newest entries.

mod follow;
mod rows;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::RwLock;
use serde::Serialize;
use tokio::sync::Mutex;

use self::follow::Follower;
use self::rows::Rows;
use super::AdminError;
use super::facts::Cause;
use super::failed::Filter;
use crate::queue::{FailedEntry, Store};

/// Most memory that the index takes, in bytes, as far as it is counted: entries and their texts.
pub const MAX_BYTES: usize = 128 * 1024 * 1024;

/// Most causes that are kept apart.
pub const MAX_CAUSES: usize = 10_000;

/// Most denials of one plugin that are told: the latest.
pub const MAX_DENIALS: usize = 10;

/// Parts of the time that a group's histogram has.
pub const PARTS: usize = 24;

/// The index of one store's failed list.
#[derive(Debug)]
pub struct FailedIndex {
    store: Store,
    rows: RwLock<Rows>,
    /// One look at the list at a time.
    follower: Mutex<Follower>,
    /// When it was looked at first.
    begun: OnceLock<Instant>,
    overall: parking_lot::Mutex<Option<Known>>,
}

/// What the whole list looks like.
#[derive(Debug, Clone, Default)]
pub struct Overall {
    /// Its causes, the most frequent first.
    pub groups: Arc<Vec<Group>>,
    /// How many entries of each kind failed in each part of the time that was asked for.
    pub kinds: BTreeMap<&'static str, [u32; PARTS]>,
}

/// That at one moment.
#[derive(Debug)]
struct Known {
    at: Instant,
    changes: u64,
    span: Duration,
    overall: Overall,
}

/// How long it is kept while the list stays as it is: the parts of the time move on.
const OVERALL_KEPT: Duration = Duration::from_secs(10);

/// An entry as the index has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Indexed {
    /// Its number in the index, for a reader to go on after it.
    #[serde(skip)]
    pub number: i64,
    /// Names the entry, whatever the job's id is: sixteen hexadecimal digits.
    pub entry: String,
    /// The job's id; of one with hidden characters or many bytes, what can be shown.
    pub id: String,
    /// Whether that is the id as it is.
    #[serde(skip)]
    pub id_is_whole: bool,
    /// Whether the entry holds a job.
    #[serde(skip)]
    pub is_job: bool,
    /// The job's name.
    pub name: String,
    /// The queue it came from; empty where the entry does not say.
    pub queue: String,
    /// When it failed, in milliseconds since the Unix epoch.
    pub failed_at_ms: Option<i64>,
    /// Why, in one line.
    pub message: String,
    /// How; none where another program wrote the entry.
    pub kind: Option<crate::outcome::FailureKind>,
    /// The plugin whose handler ran; the job's name where none did.
    pub plugin: String,
    /// The first twelve digits of its digest; empty where none ran.
    pub digest: String,
    /// What names its cause.
    pub cause: String,
    /// Length of the entry.
    pub bytes: u64,
}

/// The entries of one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What they have in common.
    pub cause: Cause,
    /// What names the cause.
    pub id: String,
    /// How many they are.
    pub count: u64,
    /// When the oldest and the newest of them failed, in milliseconds since the Unix epoch, as far as they say.
    pub times_ms: Option<(i64, i64)>,
    /// The newest of them.
    pub newest: Indexed,
    /// How many failed in each part of the time that was asked for.
    pub parts: [u32; PARTS],
}

impl Group {
    /// How many failed in the time that was asked for.
    #[must_use]
    pub fn recent(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(*part)).sum()
    }

    /// Whether it holds causes that are not kept apart, because there are too many.
    #[must_use]
    pub fn is_together(&self) -> bool {
        self.cause == Cause::others()
    }
}

/// A page of what a filter holds for, the newest first.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The entries.
    pub entries: Vec<Indexed>,
    /// How many the filter holds for in all.
    pub matching: u64,
    /// Where the next page begins; none: this is the last.
    pub next: Option<i64>,
}

/// How much of the list the index has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Entries of the list when it was last looked at.
    pub len: u64,
    /// Entries in the index: the newest.
    pub indexed: u64,
    /// Whether the index is still being made.
    pub building: bool,
    /// How long ago the list was last looked at; none: never.
    pub age_ms: Option<u64>,
}

/// What the values of the filter's conditions may be: each with the number of its entries.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// Kinds.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Plugins.
    pub plugins: BTreeMap<String, u64>,
    /// Queues.
    pub queues: BTreeMap<String, u64>,
}

impl FailedIndex {
    /// An empty index. Nothing is read before [`Self::follow`] is called.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            rows: RwLock::default(),
            follower: Mutex::default(),
            begun: OnceLock::new(),
            overall: parking_lot::Mutex::default(),
        }
    }

    /// Looks at the list, and reads what is new or missing for up to `time`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn follow(&self, time: Duration) -> Result<(), AdminError> {
        self.begun.get_or_init(Instant::now);
        let mut follower = self.follower.lock().await;
        Ok(follower.look(&self.store, &self.rows, Instant::now() + time).await?)
    }

    /// Takes entries out that this process has just taken out of the list.
    pub fn forget(&self, marks: &std::collections::HashSet<u64>) {
        self.rows.write().forget(marks);
    }

    /// For how long it has been in the making.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.begun.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// How much of the list is in the index.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        self.rows.read().coverage()
    }

    /// Up to `count` entries that a filter holds for, the newest first, from those before the number `before` on.
    #[must_use]
    pub fn find(&self, filter: &Filter, before: Option<i64>, count: usize) -> Found {
        self.rows.read().find(&filter.view(now_ms()), before, count)
    }

    /// How many entries a filter holds for.
    #[must_use]
    pub fn count(&self, filter: &Filter) -> u64 {
        self.rows.read().count(&filter.view(now_ms()))
    }

    /// The causes of the entries that a filter holds for, the most frequent first. Their histograms are of the time `span`
    /// until now.
    #[must_use]
    pub fn groups(&self, filter: &Filter, span: Duration) -> Arc<Vec<Group>> {
        if filter.view(0).is_all() {
            return self.overall(span, Duration::ZERO).groups;
        }
        Arc::new(self.rows.read().groups(&filter.view(now_ms()), now_ms(), span))
    }

    /// What [`Self::find`] and [`Self::groups`] answer, in one pass.
    #[must_use]
    pub fn look(&self, filter: &Filter, before: Option<i64>, count: usize, span: Duration) -> (Found, Arc<Vec<Group>>) {
        if filter.view(0).is_all() {
            let found = self.find(filter, before, count);
            return (found, self.overall(span, Duration::ZERO).groups);
        }
        let rows = self.rows.read();
        let (found, groups) = rows.look(&filter.view(now_ms()), (before, count), (now_ms(), span));
        (found, Arc::new(groups))
    }

    /// What the whole list looks like: its causes, and the histograms of the time `span` until now. May be older than the last
    /// change, by `late`.
    #[must_use]
    pub fn overall(&self, span: Duration, late: Duration) -> Overall {
        let mut known = self.overall.lock();
        let rows = self.rows.read();
        let is_right = |known: &&Known| {
            let age = known.at.elapsed();
            known.span == span && (age < late || known.changes == rows.changes && age < OVERALL_KEPT)
        };
        if let Some(known) = known.as_ref().filter(is_right) {
            return known.overall.clone();
        }
        let groups = rows.groups(&Filter::default().view(now_ms()), now_ms(), span);
        let overall = Overall {
            kinds: kinds(&groups),
            groups: Arc::new(groups),
        };
        *known = Some(Known {
            at: Instant::now(),
            changes: rows.changes,
            span,
            overall: overall.clone(),
        });
        overall
    }

    /// What plugins were denied, by their names: the messages, and how many entries have each.
    #[must_use]
    pub fn denials(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        self.rows.read().denials()
    }

    /// What can be filtered by.
    #[must_use]
    pub fn choices(&self) -> Choices {
        self.rows.read().choices()
    }

    /// The newest failed entry of the job with this id, read from the list.
    ///
    /// # Errors
    /// When there is none, or when the store fails.
    pub async fn entry(&self, id: &str) -> Result<FailedEntry, AdminError> {
        let is_it = |entry: &FailedEntry| entry.job().is_ok_and(|job| job.id == id);
        let found = self.found(|rows| rows.place(id), is_it).await?;
        found.ok_or_else(|| AdminError::NoEntry(id.to_owned()))
    }

    /// The entry that [`Indexed::entry`] names, read from the list.
    ///
    /// # Errors
    /// When there is none, or when the store fails.
    pub async fn entry_named(&self, name: &str) -> Result<FailedEntry, AdminError> {
        let none = || AdminError::NoEntry(name.to_owned());
        let mark = u64::from_str_radix(name, 16).map_err(|_| none())?;
        let is_it = |entry: &FailedEntry| entry.mark() == mark;
        self.found(|rows| rows.place_of_mark(mark), is_it)
            .await?
            .ok_or_else(none)
    }

    async fn found(
        &self,
        place: impl Fn(&Rows) -> Option<u64>,
        is_it: impl Fn(&FailedEntry) -> bool,
    ) -> Result<Option<FailedEntry>, AdminError> {
        // What others took out since the last look moves the entries behind it: then the list is looked at first.
        for _ in 0..2 {
            let place = place(&self.rows.read());
            let found = match place {
                Some(place) => self.store.failed(place, 1).await?.pop(),
                None => None,
            };
            if found.as_ref().is_some_and(&is_it) {
                return Ok(found);
            }
            // What is still being read may be long: a look at its beginning is enough.
            let time = if self.coverage().building {
                BRIEF_LOOK_TIME
            } else {
                LOOK_TIME
            };
            self.follow(time).await?;
        }
        Ok(None)
    }
}

/// Time for a look at the list while somebody waits for one entry.
const LOOK_TIME: Duration = Duration::from_secs(2);
const BRIEF_LOOK_TIME: Duration = Duration::from_millis(50);

/// How many of the groups' entries failed in each part of the time, by kind.
fn kinds(groups: &[Group]) -> BTreeMap<&'static str, [u32; PARTS]> {
    let mut kinds = BTreeMap::new();
    for group in groups.iter().filter(|group| group.parts.iter().any(|part| *part > 0)) {
        let kind = group.cause.kind.map_or("other", crate::outcome::FailureKind::as_str);
        let sums = kinds.entry(kind).or_insert([0; PARTS]);
        for (sum, more) in sums.iter_mut().zip(group.parts) {
            *sum += more;
        }
    }
    kinds
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// The part of the last `span` before `now_ms` that a time falls into; none if it is longer ago, or to come.
fn part(now_ms: i64, span: Duration, at_ms: i64) -> Option<usize> {
    let span = i64::try_from(span.as_millis()).ok().filter(|span| *span > 0)?;
    let since = span.checked_sub(now_ms.checked_sub(at_ms)?)?;
    // Clocks differ: what failed a moment in the future failed now.
    let part = usize::try_from(since).ok()? * PARTS / usize::try_from(span).ok()?;
    Some(part.min(PARTS - 1))
}

#[cfg(test)]
mod tests;
