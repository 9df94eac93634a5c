//! The failed list: what operators read, put back and delete.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use jiff::Timestamp;

use super::cancels::cancellable;
use super::error::QueueError;
use super::moves::{Arrived, Pick, Reach};
use super::queue_name::QueueName;
use super::store::Store;
use crate::config::QUEUE_DEFAULT;
use crate::job::{DecodeError, Job, Original, unwrap_malformed};
use crate::outcome::Failure;

/// Failed entries examined, and dropped, in one step.
const RETAIN_BATCH: u64 = 16;

/// What an operator wants kept of the failed list. By default all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// The most entries to keep; beyond that the oldest are dropped.
    pub max: Option<u64>,
    /// The longest time since its failure for which an entry is kept.
    pub max_age: Option<Duration>,
}

impl Retention {
    /// Whether everything is kept.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        *self == Self::default()
    }
}

/// One entry of the failed list, as Kiln or dg-queue wrote it.
#[derive(Debug)]
pub struct FailedEntry {
    /// Where in the list it was found.
    place: u64,
    entry: Arrived,
    job: Result<Job, DecodeError>,
}

/// What became of an entry that was to be taken out of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was taken out.
    Taken,
    /// It is gone: somebody else took it out, or moved it far from where it was read.
    Gone,
    /// It is still there: it holds no job that could be put back.
    Stays,
}

impl FailedEntry {
    /// Reads an entry, whoever wrote it.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self::found(0, bytes.into())
    }

    fn found(place: u64, entry: Arrived) -> Self {
        let job = if entry.is_partial() {
            Err(DecodeError::TooLarge { len: entry.len })
        } else {
            Job::decode_any(&entry.bytes)
        };
        Self { place, entry, job }
    }

    /// Where in the list it was found: how many were before it.
    #[must_use]
    pub fn place(&self) -> u64 {
        self.place
    }

    /// The entry's bytes; of an entry too large to be read whole, the beginning.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.entry.bytes
    }

    /// Tells this entry from others as well as its bytes do. The same in this process alone.
    #[must_use]
    pub fn mark(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.entry.len, &self.entry.bytes).hash(&mut hasher);
        hasher.finish()
    }

    /// Length of the entry in bytes, however much of it was read.
    #[must_use]
    pub fn length(&self) -> usize {
        self.entry.len
    }

    /// The job, if the entry holds one.
    ///
    /// # Errors
    /// When the entry is no job.
    pub fn job(&self) -> Result<&Job, &DecodeError> {
        self.job.as_ref()
    }

    /// What Kiln noted about the failure; none where another program wrote the entry.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.job.as_ref().ok()?.failure()
    }

    /// Whether the entry failed at least `age` ago. False if it does not say when.
    #[must_use]
    pub fn failed_ago(&self, age: Duration, now: Timestamp) -> bool {
        let failed_at = self.job.as_ref().ok().and_then(|job| job.times.failed_at.as_deref());
        let failed_at = failed_at.and_then(|at| at.parse::<Timestamp>().ok());
        failed_at.is_some_and(|at| {
            now.duration_since(at)
                .try_into()
                .is_ok_and(|past: Duration| past >= age)
        })
    }

    /// The queue that the job came from, and the bytes to put back into it: the job with its attempts reset, or the
    /// bytes that a malformed entry wraps. None: the entry holds no job, or its queue has no valid name.
    #[must_use]
    pub fn revived(self, now: Timestamp) -> Option<(QueueName, Vec<u8>)> {
        self.revived_into(None, now)
    }

    /// The same, with another queue as the job's. Malformed bytes go there as they are.
    fn revived_into(self, to: Option<&QueueName>, now: Timestamp) -> Option<(QueueName, Vec<u8>)> {
        let mut job = self.job.ok()?;
        let queue = match to {
            Some(to) => to.clone(),
            None => home(&job)?,
        };
        match unwrap_malformed(&job) {
            Some(Original::Whole(bytes)) => Some((queue, bytes)),
            Some(Original::Cut) => None,
            None => {
                if to.is_some() {
                    job.queue = Some(queue.to_string());
                }
                job.reset(now);
                Some((queue, job.encode().into_bytes()))
            }
        }
    }
}

/// The queue that a failed job came from; none if it has no valid name.
fn home(job: &Job) -> Option<QueueName> {
    let found_on = job.failure().and_then(|failure| failure.queue);
    let named = found_on.as_deref().or(job.queue.as_deref());
    QueueName::new(named.unwrap_or(QUEUE_DEFAULT)).ok()
}

impl Store {
    /// How many entries the failed list has.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn failed_len(&self) -> Result<u64, QueueError> {
        self.backend().failed_len().await
    }

    /// Up to `count` entries from position `start`, the oldest first: at least one if there is any, and otherwise no
    /// more than fit into one message.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn failed(&self, start: u64, count: u64) -> Result<Vec<FailedEntry>, QueueError> {
        self.read(Reach::From(start), count).await
    }

    /// The last `count` entries before position `end`, or before the end of the list, in their order: at least one if
    /// there is any, and otherwise no more than fit into one message.
    ///
    /// Entries only ever move towards the front, whatever others take out. So a reader that starts at the end misses
    /// none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn failed_before(&self, end: u64, count: u64) -> Result<Vec<FailedEntry>, QueueError> {
        self.read(Reach::Before(end), count).await
    }

    async fn read(&self, reach: Reach, count: u64) -> Result<Vec<FailedEntry>, QueueError> {
        let (start, entries) = self.backend().failed(reach, count).await?;
        let found = (start..).zip(entries);
        Ok(found.map(|(place, entry)| FailedEntry::found(place, entry)).collect())
    }

    /// Deletes entries that were read together, and returns the fate of each.
    ///
    /// # Errors
    /// When the store fails; some may be deleted then.
    pub async fn delete_failed(&self, entries: Vec<FailedEntry>) -> Result<Vec<Fate>, QueueError> {
        let pick = |entry: FailedEntry| Pick {
            place: entry.place,
            entry: entry.entry,
            job: None,
        };
        self.take_failed(entries.into_iter().map(|entry| Ok(pick(entry))).collect())
            .await
    }

    /// Puts the jobs of entries that were read together back into their queues, with their attempts reset, and returns
    /// the fate of each.
    ///
    /// # Errors
    /// When the store fails; some may be put back then.
    pub async fn retry_failed(&self, entries: Vec<FailedEntry>) -> Result<Vec<Fate>, QueueError> {
        self.revive_failed(entries, None).await
    }

    /// Puts them into another queue, which is theirs from then on.
    ///
    /// # Errors
    /// When the store fails; some may be there then.
    pub async fn move_failed(&self, entries: Vec<FailedEntry>, to: &QueueName) -> Result<Vec<Fate>, QueueError> {
        self.revive_failed(entries, Some(to)).await
    }

    async fn revive_failed(&self, entries: Vec<FailedEntry>, to: Option<&QueueName>) -> Result<Vec<Fate>, QueueError> {
        let now = Timestamp::now();
        self.uncancel_revived(&entries, to).await?;
        let picks = entries.into_iter().map(|entry| {
            let (place, bytes, len) = (entry.place, entry.entry.bytes.clone(), entry.entry.len);
            let job = Some(entry.revived_into(to, now).ok_or(Fate::Stays)?);
            let entry = Arrived { bytes, len, sha1: None };
            Ok(Pick { place, entry, job })
        });
        self.take_failed(picks.collect()).await
    }

    /// Takes the marks of cancelled jobs away, before these are put back: who puts a job back wants it to run.
    async fn uncancel_revived(&self, entries: &[FailedEntry], to: Option<&QueueName>) -> Result<(), QueueError> {
        let mut ids = BTreeMap::<_, Vec<String>>::new();
        for job in entries.iter().filter_map(|entry| entry.job().ok()) {
            let queue = to.cloned().or_else(|| home(job));
            if let (Some(queue), Ok(id)) = (queue, cancellable(&job.id)) {
                ids.entry(queue).or_default().push(id);
            }
        }
        for (queue, ids) in ids {
            self.uncancel(&queue, &ids).await?;
        }
        Ok(())
    }

    async fn take_failed(&self, picks: Vec<Result<Pick, Fate>>) -> Result<Vec<Fate>, QueueError> {
        let mut fates: Vec<_> = picks.iter().map(|pick| pick.as_ref().err().copied()).collect();
        let picks: Vec<Pick> = picks.into_iter().flatten().collect();
        if !picks.is_empty() {
            let taken = self.backend().take_failed(&picks).await?;
            let undecided = fates.iter_mut().filter(|fate| fate.is_none());
            for (fate, taken) in undecided.zip(taken) {
                *fate = Some(if taken { Fate::Taken } else { Fate::Gone });
            }
        }
        Ok(fates.into_iter().map(|fate| fate.unwrap_or(Fate::Gone)).collect())
    }

    /// Ends work on the list; call this after the last entry was put back or deleted. Meanwhile a long list is in two
    /// parts, and a program that does not know this sees only one of them.
    ///
    /// # Errors
    /// When the store fails. The next caller then joins the parts.
    pub async fn join_failed(&self) -> Result<(), QueueError> {
        self.backend().join_failed().await
    }

    /// Deletes the oldest entries, `count` of them, and returns how many there were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn purge_failed(&self, count: u64) -> Result<u64, QueueError> {
        self.backend().purge_failed(count).await
    }

    /// How many entries were ever dropped by [`Self::retain_failed`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn failed_dropped(&self) -> Result<u64, QueueError> {
        self.backend().failed_dropped().await
    }

    /// Drops the oldest entries beyond what `retention` keeps, some at a time, and returns how many. Deletes nothing
    /// that this process has not read, whoever else changes the list meanwhile.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn retain_failed(&self, retention: &Retention, now: Timestamp) -> Result<u64, QueueError> {
        let surplus = match retention.max {
            Some(max) => self.failed_len().await?.saturating_sub(max),
            None => 0,
        };
        if surplus == 0 && retention.max_age.is_none() {
            return Ok(0);
        }
        let entries = self.failed(0, RETAIN_BATCH).await?;
        let outlived = |entry: &FailedEntry| retention.max_age.is_some_and(|age| entry.failed_ago(age, now));
        let drops = entries
            .iter()
            .zip(0..)
            .take_while(|(entry, place)| *place < surplus || outlived(entry))
            .count();
        let Some(last) = drops.checked_sub(1).map(|last| &entries[last]) else {
            return Ok(0);
        };
        self.backend().retain_failed(drops as u64, &last.entry).await
    }
}
