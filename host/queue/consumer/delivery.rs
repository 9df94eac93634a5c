//! A job in the hands of this host.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::held::HeldTags;
use crate::job::{DecodeError, Job, stamp};
use crate::outcome::{Commit, Lane};
use crate::queue::history::Record;
use crate::queue::limits::MAX_TAKEN_BYTES;
use crate::queue::moves::Arrived;
use crate::queue::queue_name::QueueName;
use crate::queue::unique::OfKey;
use crate::stop::StopToken;

/// One job that this host has fetched and must settle. Dropped unsettled, it goes back to the front of its queue, before
/// anything else is taken from there.
#[derive(Debug)]
#[must_use = "a delivery must be settled"]
pub struct Delivery {
    pub(super) tag: u64,
    pub(super) queue: QueueName,
    pub(super) job: Arrived,
    pub(super) lane: Option<Lane>,
    /// The lane of a group of which it may have places though it was not taken from there.
    pub(super) admitted: Option<Lane>,
    /// The job's id, if somebody is to be told once it has ended.
    pub(super) reply_to: Option<Box<str>>,
    /// What is to be kept of the attempt.
    pub(super) record: Option<Box<Record>>,
    /// What is noted in the outbox if it ends without having completed.
    pub(super) note: Option<Box<str>>,
    /// For how long no job of its lane starts once it is settled.
    pub(super) shuts: Option<Duration>,
    /// The key of a job that is unique by one, and was admitted.
    pub(super) of_key: Option<Box<OfKey>>,
    fetched: Instant,
    /// When it was fetched by the store's clock, in Unix microseconds; 0 unless it was ready, or waited for room.
    pub(super) fetched_us: u64,
    held: Arc<HeldTags>,
    pub(super) end: End,
    pub(super) stop: Arc<StopToken>,
}

/// What became of a delivery, as far as this host knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It is in the host's table.
    Held,
    /// The store has carried its settlement out.
    Settled,
    /// The store has refused its settlement, since the delivery was no longer in the host's table.
    Refused,
    /// The store refuses every settlement offered for it. It stays in the host's table, until another host takes that
    /// over.
    Aside,
}

impl Delivery {
    pub(super) fn new(
        tag: u64,
        queue: &QueueName,
        job: Arrived,
        fetched: Instant,
        held: &Arc<HeldTags>,
        stop: Arc<StopToken>,
    ) -> Self {
        Self {
            tag,
            queue: queue.clone(),
            job,
            lane: None,
            admitted: None,
            reply_to: None,
            record: None,
            note: None,
            shuts: None,
            of_key: None,
            fetched,
            fetched_us: 0,
            held: Arc::clone(held),
            end: End::Held,
            stop,
        }
    }

    /// Reads the job.
    ///
    /// # Errors
    /// When the bytes are no job, or are not all here.
    pub fn decode(&self) -> Result<Job, DecodeError> {
        if self.job.is_partial() {
            return Err(DecodeError::TooLarge { len: self.job.len });
        }
        let mut job = Job::decode(&self.job.bytes)?;
        job.found_on = Some(self.queue.to_string());
        Ok(job)
    }

    /// Its tag: no other delivery of this host has the same.
    #[must_use]
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// When it came into this host's hands.
    #[must_use]
    pub fn fetched(&self) -> Instant {
        self.fetched
    }

    /// Orders it among others by when they were fetched, whichever hosts they came to.
    #[must_use]
    pub fn stamp(&self) -> String {
        stamp(self.fetched_us, self.tag)
    }

    /// The queue it was taken from.
    #[must_use]
    pub fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// The lane it was taken from, if it was not ready.
    #[must_use]
    pub fn lane(&self) -> Option<&Lane> {
        self.lane.as_ref()
    }

    /// The lane of a group whose places it gives back when it is settled.
    pub(super) fn places(&self) -> Option<&Lane> {
        let of_group = |lane: &&Lane| lane.caps().is_some();
        self.admitted.as_ref().or_else(|| self.lane.as_ref().filter(of_group))
    }

    /// What stops the job: a host that shuts down, a lease that is about to end, or an operator who cancels the job.
    #[must_use]
    pub fn stop(&self) -> Arc<StopToken> {
        Arc::clone(&self.stop)
    }

    /// Marks the job as about to run. From now on [`Consumer::cancel`](super::Consumer::cancel) finds it by its id.
    pub fn starts(&self, job: &Job) {
        self.stop.set_job_id(&job.id);
    }

    /// Has whoever waits for the job with this id told once it has ended, whatever it comes to.
    pub fn reply_to(&mut self, id: &str) {
        self.reply_to = Some(id.into());
    }

    /// Has this kept of the attempt, beside its settlement: one line of JSON.
    pub fn record(&mut self, id: &str, json: String) {
        let id = id.to_owned();
        self.record = Some(Box::new(Record { id, json }));
    }

    /// Bytes of what is to be kept of the attempt.
    pub(super) fn record_bytes(&self) -> usize {
        self.record.as_ref().map_or(0, |record| record.json.len())
    }

    /// Has this stand in the outbox once the job has ended without having completed.
    pub fn note(&mut self, commit: &Commit) {
        self.note = Some(commit.to_text().into());
    }

    /// Has no job of its lane start for a while, if it came from one of limits across hosts. Begins with its settlement.
    pub fn shut_lane(&mut self, wait: Duration) {
        self.shuts = Some(wait);
    }

    /// Has others of its key know what becomes of the job, which is unique by one and was admitted.
    pub fn is_of(&mut self, key: OfKey) {
        self.of_key = Some(Box::new(key));
    }

    /// Frees the bytes once the job is decoded. The store has its own copy, should the job go back.
    pub fn drop_bytes(&mut self) {
        self.job = Arrived::from(Vec::new());
    }

    /// The job's bytes, as far as they have been fetched; empty once dropped.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.job.bytes
    }

    /// The SHA-1 of all the bytes, in hex digits, if the store computed it: for a job too large to be fetched.
    #[must_use]
    pub fn sha1(&self) -> Option<&str> {
        self.job.sha1.as_deref()
    }

    /// How many bytes were pushed.
    #[must_use]
    pub fn pushed_bytes(&self) -> usize {
        self.job.len
    }

    /// Whether there are more bytes to come, by [`Consumer::complete`](super::Consumer::complete), before the job can be decoded.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.job.is_partial() && self.job.len <= MAX_TAKEN_BYTES
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        // A delivery that is set aside stays registered while this process lives, so that its job does not go back and
        // run again.
        if self.end != End::Aside {
            self.held.release(self.tag, self.end == End::Held);
        }
    }
}
