//! What a host says with a move, and what it hears.

use std::time::Duration;

use jiff::Timestamp;

use super::{QueueName, millis};

/// How much a fetch is to bring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) jobs: usize,
    pub(super) bytes: usize,
    /// The length of the largest job lately met on the queue: the next may be as large.
    pub(super) largest: usize,
}

/// What a host says of itself with every move: who it is, which queue it means, how long its lease is to last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) host: &'a str,
    pub(super) queue: &'a QueueName,
    pub(super) lease: Duration,
}

impl Claim<'_> {
    pub(super) fn lease_ms(&self) -> u64 {
        millis(self.lease)
    }
}

/// What a fetch or an adoption moved into a host's table.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// In the order of their tags.
    pub(super) jobs: Vec<Arrived>,
    /// Jobs of a dead host that had not started, and are ready again.
    pub(super) went_back: usize,
}

/// What the store answers when a lease is put off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Renewed {
    /// The lease was still good.
    pub(super) kept: bool,
    /// When that was, by the store's clock.
    pub(super) at: Timestamp,
}

/// The bytes of a job, as far as they have come.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) bytes: Vec<u8>,
    /// How many there are.
    pub(super) len: usize,
    /// The SHA-1 of all of them, of a job too large to be brought.
    pub(super) sha1: Option<String>,
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
