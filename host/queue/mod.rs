//! Every state a job's bytes can be in, and every move between them.
//!
//! ```text
//!            push                    fetch                     ack
//! producer ────────► ready ─────────────────────► in flight ────────► done
//!    │                 ▲ ▲                          │  │  │  ▲
//!    │ push --delay    │ └──── requeue (front) ─────┘  │  │  │ adopt: the lease of the host
//!    │                 │ promote                       │  │  └─ that held it ran out
//!    └────────────► delayed ◄──────── retry ───────────┘  │
//!                                                         ▼
//!                      ▲────────── revive ───────────── failed
//! ```
//!
//! # States
//!
//! | state | where a job's bytes are |
//! |---|---|
//! | ready | the list `queues:{queue}` |
//! | delayed | the sorted set `queues:{queue}:delayed`, by the time they are due |
//! | in flight | the table `inflight:{host}` of a queue, under a *tag* of the host's own making |
//! | parked | in flight, and the tag in the set `parked:{host}`: fetched, but known not to have started |
//! | failed | the list `failed` |
//! | done | nowhere; a result is kept for a while under the job's id |
//!
//! A host holds what is in flight under its *lease*, an entry of `leases` which its heartbeat puts off by Redis' own
//! clock. A delivery is known by its tag alone: producers may push equal bytes and equal ids, and no move ever searches
//! by value for what it holds.
//!
//! # Transitions
//!
//! On one Redis, and in a Cluster under a prefix with a hash tag, each is one script (`scripts/`), in memory one critical
//! section: a crash, of a host or of Redis, finds the job before the move or after it. The last column is for a Cluster
//! under a plain prefix, where ready, in flight, parked and leases share a slot and delayed and failed have others.
//!
//! | transition | made by | asked twice, or its answer lost | where slots differ |
//! |---|---|---|---|
//! | push | `RPUSH`, `push_delayed` | a second job | the same |
//! | fetch: ready → in flight | `fetch`, only under a good lease, which it puts off | takes nothing more: no tag is used twice. What the host never heard of goes back by *give back* | the same |
//! | park, unpark | `park`, `unpark` | nothing more happens. What is not known to be parked counts as started | the same |
//! | ack: in flight → done | `settle` | refused: the tag is gone. Only whoever holds the delivery has its result kept | with a result: `ours` (under a good lease), `SET`, `settle` |
//! | requeue: in flight → the front of ready | `settle` | refused | the same |
//! | retry: in flight → delayed | `settle` | refused | `ours` (under a good lease), `push_delayed`, `settle`. A crash in between leaves the job in both: it runs twice |
//! | fail: in flight → failed | `settle` | refused | `ours`, `RPUSH`, `settle`. As for retry |
//! | promote: delayed → ready | `promote` | moves what else is due | `claim_due` puts the job off by ten seconds, `RPUSH`, `drop_claimed`. A crash before the push delays it by those, one after it runs it twice. One too large for any host: `claim_due`, `RPUSH` to failed, `ZREMRANGEBYSCORE` |
//! | adopt: in flight → in flight of another host, parked → ready | `adopt`, once the lease has run out and the others had time to come back | as for fetch | the same |
//! | give back: in flight → the front of ready | `settle` | refused | the same |
//! | heartbeat, leave | `renew`, `leave` | nothing more happens | the same |
//! | revive: failed → ready | `take_failed` | refused: the entry is gone | `take_failed` (looks), `RPUSH`, `take_failed`. A crash in between leaves it in both |
//! | delete, purge, retain: failed → gone | `take_failed`, `purge`, `retain` | refused; a purge drops more | the same |
//!
//! A *retry* also puts a job back that became ready before its own time, since its producer had rounded the score down.
//!
//! *Give back* compares the host's table with what its process holds: after each fault, when a delivery was given up, and
//! now and then. *Adopt* makes what a dead host had started this host's own; it is then settled as lost, by an ordinary
//! retry or fail. Only if the answer to an adoption is lost are its jobs given back uncounted.
//!
//! # What is large
//!
//! No reply carries more than [`MAX_BATCH_BYTES`]. A job beyond that is told of by its beginning and its length, and read on
//! by `piece`, each piece with a time-out of its own. One beyond [`MAX_TAKEN_BYTES`] is never read whole: it moves like any
//! other, and its failed entry holds the beginning.
//!
//! A settlement that the store refuses is held, is offered again, and keeps none waiting that goes elsewhere. One that it
//! refuses for its length, or that breaks its connection for long enough, ends as a failed entry with the beginning of it.
//!
//! # Who may run a job
//!
//! Only the host in whose table it is, and only while that host's lease lasts. A host that cannot put its lease off stops
//! its guests a tenth of the lease before the end, by a clock that was read before Redis was asked; so two hosts run one
//! job at once only if one of them was stopped itself (`SIGSTOP`, a suspended machine), or if Redis' clock was set forward
//! or that of a new master is ahead. When such a host comes back its
//! first heartbeat or fetch tells it, and what it then settles is refused. Before a job starts, and at every tick of its
//! guest, the clock itself is looked at: after such a pause no timer has fired yet.
//!
//! That a lease has run out does not tell a host that died from one that is about to come back because the store was away,
//! and so did its own. So a host takes over at once only if its own lease has been good for five seconds, or half a lease.
//! One that is younger, or whose lease had run out, takes note in the store that it found the other dead, and takes over once
//! anybody's note is that old: hosts that keep crashing recover what they hold all the same. A note counts only while the
//! lease that it is about has not been put off since.
//!
//! A job that waits falls due by the store's clock: a settlement says how long it waits, and the store adds the time. What
//! the job's JSON says of it (`available_at`, `failed_at`) is the host's own time, corrected by what its heartbeats measure.
//!
//! `tests/suite/model.rs` tries every order of these steps, crashes and lost answers included.
//!
//! [`Store`] is what producers and operators use, [`Consumer`] is a host's claim on some queues. This module does not
//! know why a job is settled the way it is, and runs nothing.

/// Calls the same method of whichever backend it is.
macro_rules! either {
    ($store:expr, $backend:ident => $call:expr) => {
        match &$store.0 {
            Backend::Redis($backend) => $call.await,
            Backend::Memory($backend) => Ok($call),
        }
    };
}

mod address;
mod bare;
mod clock;
mod consumer;
mod dialer;
mod error;
mod failed;
mod in_flight;
mod key_watch;
mod keys;
mod lease;
mod memory;
mod moves;
mod outage;
mod pool;
mod redis;
mod report;
mod settler;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::job::{DecodeError, Job, MAX_JOB_BYTES};
use crate::outcome::Settlement;
use crate::stop::Stop;
use crate::text::is_hidden;

pub(crate) use address::without_password;
pub use address::{ConnectionSettings, URL_FORMS};
pub(crate) use bare::{Bare, Work};
pub use consumer::{Consumer, Heartbeat};
pub use error::QueueError;
pub use failed::{FailedEntry, Fate, Retention};
pub use lease::LEASE_DEFAULT;
use moves::{Arrived, Claim, Renewed, Taken, Wish};

/// Most jobs that one fetch, promotion or adoption moves: bounds how long a script holds Redis up.
pub const MAX_BATCH: usize = 256;

/// Bytes of jobs that one message from the store carries, and one to it beyond the first of them: bounds how long it keeps
/// the others on its connection waiting, above all heartbeats. A larger job comes in pieces.
pub const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Largest job, in bytes, that is brought to a host whole. More than is decoded: what a retry has added must not cost a job
/// its bytes. Of one beyond it, the failed entry holds the beginning.
pub const MAX_TAKEN_BYTES: usize = MAX_JOB_BYTES + MAX_JOB_BYTES / 8;

/// A name for a queue that makes valid, unambiguous keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName(Arc<str>);

impl QueueName {
    /// Longest name, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// # Errors
    /// When the name is empty, too long, or would make keys that mean something else.
    pub fn new(name: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("queue name {name:?}: {why}"));
        if name.is_empty() || name.len() > Self::MAX_BYTES {
            return wrong("must have 1 to 128 bytes");
        }
        if name.contains(|c: char| is_hidden(c) || c.is_whitespace() || "{}=".contains(c)) {
            return wrong("must not contain spaces, braces, = or hidden characters");
        }
        if name.ends_with(":delayed")
            || name.ends_with(":leases")
            || name.contains(":inflight:")
            || name.contains(":parked:")
            || name.contains(":lasttag:")
            || name.contains(":founddead:")
        {
            return wrong("contains what marks a key of another queue");
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One job that this host has fetched and must settle. Dropped unsettled, it goes back to the front of its queue, before
/// anything else is taken from there.
#[derive(Debug)]
#[must_use = "a delivery must be settled"]
pub struct Delivery {
    tag: u64,
    queue: QueueName,
    job: Arrived,
    held: Arc<in_flight::Held>,
    settled: bool,
    stop: Arc<Stop>,
    told: Told,
}

/// Who hears that a delivery is settled, if anybody does.
#[derive(Default)]
struct Told(Option<Box<dyn FnOnce() + Send + Sync>>);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "told" } else { "not told" })
    }
}

impl Delivery {
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

    /// The queue it was taken from.
    #[must_use]
    pub fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// Cancelled when this host must not run the job any longer: it is told to stop, or its lease is about to end.
    #[must_use]
    pub fn stop(&self) -> Arc<Stop> {
        Arc::clone(&self.stop)
    }

    /// Lets go of the bytes, once a job is made of them: the store has its own copy, should the job go back.
    pub fn drop_bytes(&mut self) {
        self.job = Arrived::from(Vec::new());
    }

    /// The bytes as they were pushed, as far as they have come, unless they were dropped.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.job.bytes
    }

    /// The SHA-1 of the bytes as they were pushed, in hex digits, if the store has told it: of a job too large to be brought.
    #[must_use]
    pub fn sha1(&self) -> Option<&str> {
        self.job.sha1.as_deref()
    }

    /// How many bytes were pushed.
    #[must_use]
    pub fn pushed_bytes(&self) -> usize {
        self.job.len
    }

    /// Whether there are more bytes to come, by [`Consumer::complete`], before the job can be decoded.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.job.is_partial() && self.job.len <= MAX_TAKEN_BYTES
    }

    /// Has `tell` called as soon as the store has answered the delivery's settlement; not at all if it is given back
    /// unsettled. It must not take long: the next settlements wait for it.
    pub fn when_settled(&mut self, tell: impl FnOnce() + Send + Sync + 'static) {
        self.told = Told(Some(Box::new(tell)));
    }
}

/// A job to be pushed.
#[derive(Debug, Clone)]
pub struct Push {
    /// Where to.
    pub queue: QueueName,
    /// The job's JSON.
    pub job: String,
    /// Not before this time, in milliseconds since the Unix epoch.
    pub due_ms: Option<i64>,
}

/// How many jobs of a queue are in which state, and who serves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Ready jobs.
    pub ready: u64,
    /// Jobs waiting for their time.
    pub delayed: u64,
    /// Jobs that a host holds.
    pub in_flight: u64,
    /// The hosts that serve the queue.
    pub hosts: BTreeMap<String, HostState>,
}

/// What the store knows of a host that serves a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct HostState {
    /// What its lease has left; below zero, the host is dead and its jobs are about to be taken over.
    pub lease_left_ms: i64,
    /// Jobs it holds.
    pub in_flight: u64,
}

impl Counts {
    /// Whether nothing is ready, delayed or in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready == 0 && self.delayed == 0 && self.in_flight == 0
    }
}

/// Where a store is, and how long what it keeps is kept.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// In one of the [`URL_FORMS`].
    pub url: String,
    /// What every key starts with.
    pub prefix: String,
    /// How long a completed job's result is kept; zero: not at all.
    pub result_ttl: Duration,
    /// How to be let in, and how long to wait for what.
    pub connection: ConnectionSettings,
}

/// The prefix dg-queue uses where it is told none.
pub const PREFIX_DEFAULT: &str = "queue";

/// The queue dg-queue uses where it is told none.
pub const QUEUE_DEFAULT: &str = "default";

/// How long results are kept by default: long enough to be fetched, short enough not to fill Redis.
pub const RESULT_TTL_DEFAULT: Duration = Duration::from_hours(1);

impl StoreSettings {
    /// The defaults for a store at `url`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            prefix: PREFIX_DEFAULT.to_owned(),
            result_ttl: RESULT_TTL_DEFAULT,
            connection: ConnectionSettings::default(),
        }
    }
}

/// The place where jobs are, in Redis or in this process. Cheap to clone: clones share it.
#[derive(Debug, Clone)]
pub struct Store(Backend);

#[derive(Debug, Clone)]
enum Backend {
    Redis(Arc<redis::RedisStore>),
    Memory(memory::MemoryStore),
}

impl Store {
    /// Connects to the store, or makes one in memory.
    ///
    /// # Errors
    /// When the URL is wrong or Redis cannot be reached.
    pub async fn open(settings: &StoreSettings) -> Result<Self, QueueError> {
        if settings.url == "memory:" {
            return Ok(Self(Backend::Memory(memory::MemoryStore::new(settings))));
        }
        Ok(Self(Backend::Redis(Arc::new(
            redis::RedisStore::connect(settings).await?,
        ))))
    }

    /// Adds jobs, in their order.
    ///
    /// # Errors
    /// When the store fails; some of the jobs may then have been added.
    pub async fn push(&self, jobs: &[Push]) -> Result<(), QueueError> {
        either!(self, store => store.push(jobs))
    }

    /// The result a completed job returned, while it is kept.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn result(&self, id: &str) -> Result<Option<String>, QueueError> {
        either!(self, store => store.result(id))
    }

    /// The queues that hold jobs or are served, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn queues(&self) -> Result<Vec<QueueName>, QueueError> {
        either!(self, store => store.queues())
    }

    /// How much is in a queue, and who serves it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn counts(&self, queue: &QueueName) -> Result<Counts, QueueError> {
        either!(self, store => store.counts(queue))
    }

    /// Moves due jobs from delayed to ready, at most [`MAX_BATCH`] of them, and returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn promote(&self, queue: &QueueName) -> Result<usize, QueueError> {
        either!(self, store => store.promote(queue))
    }

    /// What keeps the store from taking jobs although it answers, in words; none if nothing does.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn trouble(&self) -> Result<Option<String>, QueueError> {
        match &self.0 {
            Backend::Redis(store) => store.trouble().await,
            Backend::Memory(_) => Ok(None),
        }
    }

    /// Whether the store may throw jobs away to make room, in words; none if it does not, or cannot be asked.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn evicts(&self) -> Result<Option<String>, QueueError> {
        match &self.0 {
            Backend::Redis(store) => store.evicts().await,
            Backend::Memory(_) => Ok(None),
        }
    }

    async fn fetch(&self, claim: &Claim<'_>, tag: u64, wish: Wish) -> Result<Option<Taken>, QueueError> {
        either!(self, store => store.fetch(claim, tag, wish))
    }

    /// Up to so many bytes of a job in flight; none if it is no longer the host's.
    async fn piece(
        &self,
        claim: &Claim<'_>,
        tag: u64,
        skip: usize,
        bytes: usize,
    ) -> Result<Option<Vec<u8>>, QueueError> {
        either!(self, store => store.piece(claim, tag, skip, bytes))
    }

    async fn park(&self, claim: &Claim<'_>, tag: u64) -> Result<(), QueueError> {
        either!(self, store => store.park(claim, tag))
    }

    async fn unpark(&self, claim: &Claim<'_>, tag: u64) -> Result<bool, QueueError> {
        either!(self, store => store.unpark(claim, tag))
    }

    /// Returns once one of the queues may have a ready job, at the latest after a few seconds.
    async fn wait_ready(&self, queues: &[QueueName]) -> Result<(), QueueError> {
        match &self.0 {
            Backend::Redis(store) => store.wait_ready(queues).await,
            Backend::Memory(store) => {
                store.wait_ready(queues).await;
                Ok(())
            }
        }
    }

    /// The queues that have a due job, as soon as one may have, at the latest after a few seconds.
    async fn wait_due(&self, queues: &[QueueName]) -> Result<Vec<QueueName>, QueueError> {
        match &self.0 {
            Backend::Redis(store) => store.wait_due(queues).await,
            Backend::Memory(store) => Ok(store.wait_due(queues).await),
        }
    }

    /// Settles a batch and returns how many of it were no longer the host's to settle. `written` belongs to the batch
    /// and stays with it while it is offered again.
    async fn settle(
        &self,
        claim: &Claim<'_>,
        batch: &[(u64, &Settlement)],
        written: &mut HashSet<u64>,
    ) -> Result<usize, QueueError> {
        match &self.0 {
            Backend::Redis(store) => store.settle(claim, batch, written).await,
            Backend::Memory(store) => Ok(store.settle(claim, batch)),
        }
    }

    /// The time by the store's own clock, which decides when what is delayed is due.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn now(&self) -> Result<Timestamp, QueueError> {
        match &self.0 {
            Backend::Redis(store) => store.now().await,
            Backend::Memory(_) => Ok(Timestamp::now()),
        }
    }

    async fn renew(&self, claim: &Claim<'_>) -> Result<Renewed, QueueError> {
        either!(self, store => store.renew(claim))
    }

    async fn adopt(
        &self,
        claim: &Claim<'_>,
        dead: &str,
        tag: u64,
        patience: Duration,
    ) -> Result<Option<Taken>, QueueError> {
        either!(self, store => store.adopt(claim, dead, tag, MAX_BATCH, patience))
    }

    async fn held(&self, claim: &Claim<'_>) -> Result<Vec<u64>, QueueError> {
        either!(self, store => store.held(claim))
    }

    async fn leave(&self, claim: &Claim<'_>) -> Result<(), QueueError> {
        either!(self, store => store.leave(claim))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch as the seconds of a delayed set's score.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact for every date of the next 280,000 years"
)]
fn score(due_ms: i64) -> f64 {
    due_ms as f64 / 1000.0
}
