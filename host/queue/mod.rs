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
//! Each arrow is one atomic script on Redis (`scripts/`) and one critical section in memory, so a crash finds a job
//! before the move or after it. In flight is a table for each host and queue, under a lease which the host renews; any
//! other host adopts what is left under a lease that ran out. A delivery is known by a *tag* of the host's own making:
//! producers may push equal bytes and equal ids, and no move ever searches by value for what it holds.
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

mod consumer;
mod failed;
mod keys;
mod memory;
mod redis;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::job::{DecodeError, Job};
use crate::outcome::Settlement;

pub use consumer::{Consumer, Heartbeat, LEASE_DEFAULT};
pub use failed::FailedEntry;

/// Most jobs that one fetch, promotion or adoption moves: bounds how long a script holds Redis up.
pub const MAX_BATCH: usize = 256;

/// Bytes of jobs that one message to or from the store carries, beyond the first of them: bounds how long it keeps the
/// others on its connection waiting, above all heartbeats.
pub const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// A host's fault: the store could not be reached or refused. Never a job's.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The store's URL cannot be used.
    #[error("store {url:?}: {why}")]
    Url {
        /// As it was given, without its password.
        url: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// No connection.
    #[error("no redis at {address}: {why}; start one there, or name another with --store")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the attempt to connect met.
        why: String,
    },
    /// There is one, but it does not let us in.
    #[error("redis at {address} refuses: {why}")]
    Refused {
        /// Host and port.
        address: String,
        /// What it said.
        why: String,
    },
    /// Nothing came back in the time a lease allows for.
    #[error("redis: no answer within {} ms", patience.as_millis())]
    Slow {
        /// How long was waited.
        patience: Duration,
    },
    /// Redis answered with an error, or not in time.
    #[error("redis: {0}")]
    Redis(#[from] ::redis::RedisError),
}

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
        if name.contains(|c: char| c.is_control() || c.is_whitespace() || "{}=".contains(c)) {
            return wrong("must not contain spaces, braces or =");
        }
        if name.ends_with(":delayed") || name.ends_with(":leases") || name.contains(":inflight:") {
            return wrong("ends like a key of another queue");
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

/// One job that this host has fetched and must settle. Dropped unsettled, it goes back to its queue within half a
/// minute.
#[derive(Debug)]
#[must_use = "a delivery must be settled"]
pub struct Delivery {
    tag: u64,
    queue: QueueName,
    bytes: Vec<u8>,
    held: consumer::Held,
}

impl Delivery {
    /// Reads the job.
    ///
    /// # Errors
    /// When the bytes are no job.
    pub fn decode(&self) -> Result<Job, DecodeError> {
        let mut job = Job::decode(&self.bytes)?;
        job.found_on = Some(self.queue.to_string());
        Ok(job)
    }

    /// The queue it was taken from.
    #[must_use]
    pub fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// The bytes as they were pushed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
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

/// What a promotion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promotion {
    /// Jobs moved to ready.
    pub moved: usize,
    /// Time until the next delayed job is due; none if none waits.
    pub next_due: Option<Duration>,
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
    /// The hosts that serve the queue, with the milliseconds their leases have left; below zero, the host is dead and
    /// its jobs are about to be taken over.
    pub hosts: BTreeMap<String, i64>,
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
    /// `redis://[user:password@]host[:port][/database]` or `memory:`.
    pub url: String,
    /// What every key starts with.
    pub prefix: String,
    /// How long a completed job's result is kept; zero: not at all.
    pub result_ttl: Duration,
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

    /// Moves due jobs from delayed to ready, at most [`MAX_BATCH`] of them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn promote(&self, queue: &QueueName) -> Result<Promotion, QueueError> {
        either!(self, store => store.promote(queue))
    }

    async fn fetch(&self, claim: &Claim<'_>, tag: u64, count: usize) -> Result<Vec<Vec<u8>>, QueueError> {
        either!(self, store => store.fetch(claim, tag, count))
    }

    /// Returns once the queue may have a ready job, at the latest after a few seconds.
    async fn wait(&self, queue: &QueueName) -> Result<(), QueueError> {
        match &self.0 {
            Backend::Redis(store) => store.wait(queue).await,
            Backend::Memory(store) => {
                store.wait(queue).await;
                Ok(())
            }
        }
    }

    /// Settles a batch and returns how many of it were no longer the host's to settle.
    async fn settle(&self, claim: &Claim<'_>, batch: &[(u64, &Settlement)]) -> Result<usize, QueueError> {
        either!(self, store => store.settle(claim, batch))
    }

    async fn renew(&self, claim: &Claim<'_>) -> Result<bool, QueueError> {
        either!(self, store => store.renew(claim))
    }

    async fn adopt(&self, claim: &Claim<'_>, dead: &str, tag: u64) -> Result<Vec<Vec<u8>>, QueueError> {
        either!(self, store => store.adopt(claim, dead, tag, MAX_BATCH))
    }

    async fn held(&self, claim: &Claim<'_>) -> Result<Vec<u64>, QueueError> {
        either!(self, store => store.held(claim))
    }

    async fn leave(&self, claim: &Claim<'_>) -> Result<(), QueueError> {
        either!(self, store => store.leave(claim))
    }
}

/// What a host says of itself with every move: who it is, which queue it means, how long its lease is to last.
#[derive(Debug, Clone, Copy)]
struct Claim<'a> {
    host: &'a str,
    queue: &'a QueueName,
    lease: Duration,
}

impl Claim<'_> {
    fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Milliseconds since the Unix epoch as the seconds of a delayed set's score.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact for every date of the next 280,000 years"
)]
fn score(due_ms: i64) -> f64 {
    due_ms as f64 / 1000.0
}
