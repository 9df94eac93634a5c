//! What a host says with a move, and what it hears.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::queue_name::QueueName;
use crate::outcome::{Lane, Settlement};

/// How much a fetch is to bring.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// At most so many jobs.
    pub jobs: usize,
    /// The lanes to take from before anything that is ready.
    pub lanes: &'a [LaneWish],
    /// No job that is longer than so many bytes; none: any. A ready one that is longer goes to the lane of large jobs, one in a
    /// lane stays there and keeps those behind it.
    pub longest: Option<usize>,
    /// Beyond the first job, at most so many bytes.
    pub bytes: usize,
    /// The length of the largest job lately met on the queue: the next may be as large.
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

/// How far is looked for queues that nobody has taken note of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// Among as many keys as are looked at in a moment.
    Brief,
    /// Among all keys of the store, however many those are.
    Whole,
}

/// The queues of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Their names, in order.
    pub queues: Vec<QueueName>,
    /// Whether these are all: the store has no more keys than were looked at.
    pub all: bool,
}

/// Which entry of an outbox is written: once, however often that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Once<'a> {
    /// The queue whose outbox it is.
    pub queue: &'a QueueName,
    /// Its name there.
    pub entry: &'a str,
}

impl fmt::Display for Once<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.queue, self.entry)
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

/// What a host says of itself with every move: who it is, which queue it means, how long its lease is to last.
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
    /// In the order of their tags: those from lanes first, one lane's after the other's.
    pub jobs: Vec<Arrived>,
    /// What was taken from each lane that was asked for. Nothing where it cannot be told: the same was asked for before.
    pub lanes: Vec<LaneTaken>,
}

/// What a fetch took from a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneTaken {
    /// So many jobs.
    pub taken: usize,
    /// It still holds so many.
    pub left: usize,
}

/// What the store answers when a lease is renewed.
#[derive(Debug, Clone, Copy)]
pub struct Renewed {
    /// The lease was still good.
    pub kept: bool,
    /// When that was, by the store's clock.
    pub at: Timestamp,
}

/// A delivery whose settlement is offered to the store.
#[derive(Debug)]
pub struct Offer<'a> {
    /// The tag of the delivery.
    pub tag: u64,
    /// What is to become of it.
    pub settlement: &'a Settlement,
    /// By the host's own clock its lease has been good ever since it took the delivery, and this was not offered before. If
    /// the store finds otherwise, it may refuse more than it has to: all that are acknowledged together with this one.
    pub sure: bool,
    /// Set once the destination holds the job where that takes a step of its own. It stays set when the same delivery is
    /// offered again, so that nothing is written twice.
    pub written: &'a mut bool,
}

/// The bytes of a job, as far as they have come.
#[derive(Debug)]
pub struct Arrived {
    /// The first of them, or all.
    pub bytes: Vec<u8>,
    /// How many there are.
    pub len: usize,
    /// The SHA-1 of all of them, of a job too large to be brought.
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
