//! The failed list: what operators read, put back and delete.

use std::time::Duration;

use jiff::Timestamp;

use super::{Backend, QUEUE_DEFAULT, QueueError, QueueName, Store};
use crate::job::{DecodeError, Job, unwrap_malformed};
use crate::outcome::Failure;

/// Failed entries looked at, and dropped, in one step.
const RETAIN_BATCH: u64 = 16;

/// What an operator wants kept of the failed list. By default all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// The most entries; beyond them the oldest go.
    pub max: Option<u64>,
    /// How long ago an entry may have failed.
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
    bytes: Vec<u8>,
    job: Result<Job, DecodeError>,
}

impl FailedEntry {
    /// Reads an entry, whoever wrote it.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        let job = Job::decode_any(&bytes);
        Self { bytes, job }
    }

    /// The entry as it stands in the list.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The job, unless somebody put into the list what is none.
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

    /// Whether it failed longer ago than that. One that does not say when it failed never did.
    fn is_older_than(&self, age: Duration, now: Timestamp) -> bool {
        let failed_at = self.job.as_ref().ok().and_then(|job| job.times.failed_at.as_deref());
        let failed_at = failed_at.and_then(|at| at.parse::<Timestamp>().ok());
        failed_at.is_some_and(|at| now.duration_since(at).try_into().is_ok_and(|past: Duration| past > age))
    }

    /// The queue the job came from, and the bytes to put back into it: the job with all its attempts before it again,
    /// or what a wrapper of malformed bytes holds. None: there is no job to put back, or no queue of that name.
    #[must_use]
    pub fn revived(self, now: Timestamp) -> Option<(QueueName, Vec<u8>)> {
        let mut job = self.job.ok()?;
        job.found_on = job.failure().and_then(|failure| failure.queue);
        let queue = QueueName::new(job.home().unwrap_or(QUEUE_DEFAULT)).ok()?;
        if let Some(original) = unwrap_malformed(&job) {
            return Some((queue, original));
        }
        job.reset(now);
        Some((queue, job.encode().into_bytes()))
    }
}

impl Store {
    /// How many entries the failed list has.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn failed_len(&self) -> Result<u64, QueueError> {
        either!(self, store => store.failed_len())
    }

    /// Up to `count` entries from position `start`, the oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn failed(&self, start: u64, count: u64) -> Result<Vec<FailedEntry>, QueueError> {
        let entries: Vec<Vec<u8>> = either!(self, store => store.failed(start, count))?;
        Ok(entries.into_iter().map(FailedEntry::new).collect())
    }

    /// Deletes an entry. False: somebody else did.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete_failed(&self, entry: FailedEntry) -> Result<bool, QueueError> {
        either!(self, store => store.delete_failed(&entry.bytes))
    }

    /// Deletes the oldest entries, `count` of them, and returns how many there were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn purge_failed(&self, count: u64) -> Result<u64, QueueError> {
        either!(self, store => store.purge_failed(count))
    }

    /// How many entries were ever dropped by [`Self::retain_failed`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn failed_dropped(&self) -> Result<u64, QueueError> {
        either!(self, store => store.failed_dropped())
    }

    /// Drops the oldest entries beyond what `retention` keeps, some at a time, and returns how many. None that another
    /// has not yet been looked at is dropped, whoever else changes the list meanwhile.
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
        let outlived = |entry: &FailedEntry| retention.max_age.is_some_and(|age| entry.is_older_than(age, now));
        let drops = entries
            .iter()
            .zip(0..)
            .take_while(|(entry, place)| *place < surplus || outlived(entry))
            .count();
        let Some(last) = drops.checked_sub(1).map(|last| &entries[last]) else {
            return Ok(0);
        };
        either!(self, store => store.retain_failed(drops as u64, &last.bytes))
    }

    /// Puts an entry's job back into its queue with all its attempts before it. False: the entry was gone, or holds no
    /// job that could be put back.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn retry_failed(&self, entry: FailedEntry) -> Result<bool, QueueError> {
        let bytes = entry.bytes.clone();
        let Some((queue, job)) = entry.revived(Timestamp::now()) else {
            return Ok(false);
        };
        either!(self, store => store.revive(&queue, &bytes, job))
    }
}
