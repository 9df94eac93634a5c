//! The arguments and answers of moves.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::firing::Occurrence;
use super::limits::{MAX_LIMITED_JOBS, MAX_LIMITED_LANES};
use super::push::Push;
use super::queue_name::QueueName;
use super::unique::OfKey;
use crate::config::Cap;
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

/// How much a fetch from a group of lanes is to bring.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// The group.
    pub group: &'a Lane,
    /// The limits that its lanes wait for. What they do not name is not limited.
    pub caps: &'a [Cap],
    /// At most so many jobs.
    pub jobs: usize,
    /// Length of the longest job to take, in bytes; none: any. A lane whose first job is longer is passed over.
    pub longest: Option<usize>,
    /// Most bytes in all, not counting the first job.
    pub bytes: usize,
}

/// What a fetch from a group of lanes moved into a host's table.
#[derive(Debug, Default)]
pub struct Served {
    /// The jobs, and the lane of each within the group; none if that is unknown, because this is a repeated fetch.
    pub jobs: Vec<(Arrived, Option<Lane>)>,
    /// Lanes that hold jobs still.
    pub left: usize,
    /// The queue is paused: nothing was taken.
    pub paused: bool,
    /// The version of the marks of cancelled jobs, at the moment of the fetch; none: no job was ever cancelled.
    pub cancels: Option<u64>,
}

/// What was decided about a delivery that was ready and that limits across hosts concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// It starts, and has a place of each of its limits.
    Starts,
    /// It waits in its lane.
    Waits,
    /// It was no longer in the host's table, perhaps since this was asked before.
    Gone,
}

/// When the places of a group of lanes are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep<'a> {
    /// Unless some host has looked just before: every host does so now and then.
    InTurn,
    /// Now, since jobs were taken over that may have had places. Of these limits and keys even if nothing waits for them.
    Of(&'a [String]),
}

/// What a look at a group of lanes found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Places that were taken back.
    pub places: u64,
    /// Jobs that wait in the group.
    pub jobs: u64,
    /// Lanes that hold these.
    pub lanes: u64,
}

/// A lane of a group, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LaneSeen {
    /// Its name: what its jobs count against.
    pub lane: String,
    /// Jobs that wait in it.
    pub jobs: u64,
    /// From when on it may have its turn, in Unix milliseconds; none while a limit is met.
    pub turn_ms: Option<i64>,
    /// What its jobs count against, each with how many jobs run under it.
    pub running: Vec<(String, u64)>,
}

/// Some lanes of a group.
#[derive(Debug, Default)]
pub struct LanesPage {
    /// Where the next page begins; 0: this was the last.
    pub next: u64,
    /// In no order.
    pub lanes: Vec<LaneSeen>,
}

impl Swept {
    /// Whether the group holds as much as it may.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.jobs >= MAX_LIMITED_JOBS as u64 || self.lanes >= MAX_LIMITED_LANES as u64
    }
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
    /// Name and text, both as they stand there. No text: it does not fit into a message with those before it. The first
    /// entry always has its text.
    pub entries: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Jobs of an outbox's entry that are to be pushed.
#[derive(Debug, Clone, Copy)]
pub struct HandedOn<'a> {
    /// The entry's name.
    pub entry: &'a [u8],
    /// The length of its text, as it was read or left last. Each job that is taken out makes it shorter.
    pub len: usize,
    /// What is left of its text without the jobs.
    pub rest: &'a str,
    /// The jobs.
    pub jobs: &'a [Push],
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

/// What is kept of how a job ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// The last answer, JSON text, if the job asked for one.
    pub reply: Option<String>,
    /// What the job returned, JSON text.
    pub result: Option<String>,
}

impl Ended {
    /// Whether anything is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.reply.is_some() || self.result.is_some()
    }
}

/// Where jobs of a queue lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Those that wait for their time.
    Delayed,
    /// The ready ones.
    Ready,
    /// Those in a lane.
    Lane(Lane),
    /// Those that this host holds.
    InFlight(String),
}

/// Some jobs of a part, read where they lie.
#[derive(Debug, Default)]
pub struct JobsPage {
    /// From the last to the first; of those that wait for their time, the latest comes first.
    pub jobs: Vec<Seen>,
    /// From where to read the next page; none: nothing is left.
    pub next: Option<String>,
}

/// A job, read where it lies.
#[derive(Debug)]
pub struct Seen {
    /// Its bytes, or the beginning of them.
    pub job: Arrived,
    /// When it falls due, in Unix milliseconds, if it waits for its time.
    pub due_ms: Option<i64>,
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
    /// The queue is paused: nothing was taken.
    pub paused: bool,
    /// The version of the marks of cancelled jobs, at the moment of the fetch; none: no job was ever cancelled.
    pub cancels: Option<u64>,
    /// The Unix microsecond of the fetch by the store's clock; 0 if it does not matter.
    pub at_us: u64,
}

/// What a fetch took from a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneTaken {
    /// Jobs taken.
    pub taken: usize,
    /// Jobs still in the lane.
    pub left: usize,
}

/// What a look at the leases on a queue found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dead {
    /// The hosts whose leases have run out.
    pub hosts: Vec<String>,
    /// How long until the next lease runs out, unless it is renewed; none: there is no other.
    pub next: Option<Duration>,
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
    /// Which job of a schedule ends with this, if it is one.
    pub ends: Option<Occurrence<'a>>,
    /// What is written into the outbox with a settlement that is no [`Settlement::Commit`]: as that text.
    pub note: Option<&'a str>,
    /// The lane of a group that the job came from: its places are given back.
    pub lane: Option<&'a Lane>,
    /// For how long no job of that lane starts.
    pub shuts: Option<Duration>,
    /// The key of a job that is unique by one: it waits for its next attempt, or no longer.
    pub of_key: Option<&'a OfKey>,
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

/// Bytes that a look returns of one job: enough to see what it is, and usually all.
pub const PEEK_BYTES: usize = 4 * 1024;

/// Most jobs that one look returns.
pub const MAX_PEEKED: usize = 100;

/// Where in a queue to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Ready jobs, in the order in which they will be taken.
    Ready,
    /// Jobs that wait for their time, by it.
    Delayed,
    /// Jobs that hosts hold, in no order.
    InFlight,
}

/// A job that was seen.
#[derive(Debug)]
pub struct Peeked {
    /// The first [`PEEK_BYTES`] of it, and its length.
    pub job: Arrived,
    /// When it is due, in milliseconds since the Unix epoch; none unless it is delayed.
    pub due_ms: Option<i64>,
    /// The host that holds it; none unless it is in flight.
    pub host: Option<String>,
}

impl Place {
    /// Its name in scripts, addresses and requests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Delayed => "delayed",
            Self::InFlight => "in_flight",
        }
    }
}

/// A length of time in whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A host's report about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// The host.
    pub host: String,
    /// Differs from report to report.
    pub stamp: String,
    /// A JSON text; none: it is the one that was known.
    pub text: Option<String>,
}
