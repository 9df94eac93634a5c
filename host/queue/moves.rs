//! The arguments and answers of moves.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::queue_name::QueueName;
use crate::outcome::{Commit, Lane, Settlement};

/// How much a fetch is to bring.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// At most so many jobs.
    pub jobs: usize,
    /// The lanes to take from before anything that is ready.
    pub lanes: &'a [LaneWish],
    /// Length of the longest job to take, in bytes; none: any. A longer ready job moves to the lane of large jobs. A
    /// longer job in a lane stays there, and blocks those behind it.
    pub longest: Option<usize>,
    /// Most bytes in all, not counting the first job.
    pub bytes: usize,
    /// Length of the largest job met on the queue lately, as a guess for the next.
    pub largest: usize,
}

/// How much of a lane a fetch is to bring.
#[derive(Debug, Clone)]
pub struct LaneWish {
    /// Which.
    pub lane: Lane,
    /// At most so many jobs of it.
    pub jobs: usize,
}

/// How far to search for queues that nobody recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// Only as many keys as take a moment.
    Brief,
    /// All keys of the store, however many those are.
    Whole,
}

/// The queues of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Their names, in order.
    pub queues: Vec<QueueName>,
    /// Whether the list is complete: the search reached every key of the store.
    pub all: bool,
}

/// Names an entry of an outbox, so that its writes are made only once, however often they are sent.
#[derive(Debug, Clone, Copy)]
pub struct Once<'a> {
    /// The queue whose outbox it is.
    pub queue: &'a QueueName,
    /// Its name there.
    pub entry: &'a [u8],
}

/// Some entries of an outbox, each with its name.
#[derive(Debug, Default)]
pub struct OutboxPage {
    /// Where the next page begins; 0: this was the last.
    pub next: u64,
    /// Name and text, both as they stand there.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
}

/// An entry of an outbox that was written.
#[derive(Debug)]
pub struct Written {
    /// Its name.
    pub name: Vec<u8>,
    /// What it said.
    pub commit: Commit,
}

impl fmt::Display for Once<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.queue, String::from_utf8_lossy(self.entry))
    }
}

/// Which entries of the failed list are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those from this place on.
    From(u64),
    /// Those before this place, the nearest to it.
    Before(u64),
}

/// What a host sends with every move: its name, the queue, and how long its lease is to last.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The host's identity.
    pub host: &'a str,
    /// The queue that it serves.
    pub queue: &'a QueueName,
    /// The length of its leases.
    pub lease: Duration,
}

impl Claim<'_> {
    /// The length of the lease in milliseconds.
    pub(super) fn lease_ms(&self) -> u64 {
        millis(self.lease)
    }
}

/// What a fetch or an adoption moved into a host's table.
#[derive(Debug, Default)]
pub struct Taken {
    /// In the order of their tags: first those from lanes, lane by lane.
    pub jobs: Vec<Arrived>,
    /// What was taken from each lane that was asked for. Empty if that is unknown, because this is a repeated fetch.
    pub lanes: Vec<LaneTaken>,
}

/// What a fetch took from a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneTaken {
    /// Jobs taken.
    pub taken: usize,
    /// Jobs still in the lane.
    pub left: usize,
}

/// What the store answers when a lease is renewed.
#[derive(Debug, Clone, Copy)]
pub struct Renewed {
    /// The lease was still good.
    pub kept: bool,
    /// When the store renewed it, by the store's clock.
    pub at: Timestamp,
}

/// A delivery whose settlement is offered to the store.
#[derive(Debug)]
pub struct Offer<'a> {
    /// The tag of the delivery.
    pub tag: u64,
    /// What is to become of it.
    pub settlement: &'a Settlement,
    /// Whether the host is sure to hold the delivery: by its own clock the lease has been good ever since, and this was
    /// not offered before. If the store finds otherwise, it may refuse all deliveries that are acknowledged together
    /// with this one.
    pub sure: bool,
    /// Set once the job has been written to a destination in another slot. Stays set when the delivery is offered
    /// again, so that nothing is written twice.
    pub written: &'a mut bool,
}

/// The bytes of a job, as far as they have been read.
#[derive(Debug)]
pub struct Arrived {
    /// The first of them, or all.
    pub bytes: Vec<u8>,
    /// The length of the whole job.
    pub len: usize,
    /// The SHA-1 of the whole job, for one too large to be fetched whole.
    pub sha1: Option<String>,
}

impl Arrived {
    pub(super) fn is_partial(&self) -> bool {
        self.bytes.len() < self.len
    }
}

impl From<Vec<u8>> for Arrived {
    fn from(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        Self { bytes, len, sha1: None }
    }
}

/// An entry that is to be taken out of the failed list.
#[derive(Debug)]
pub struct Pick {
    /// Where in the list it was found.
    pub place: u64,
    /// The entry as it was read.
    pub entry: Arrived,
    /// The queue that its job goes to, and the job.
    pub job: Option<(QueueName, Vec<u8>)>,
}

/// A length of time in whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
