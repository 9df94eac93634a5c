//! What can go wrong with a store, in words for whoever runs it.

use std::time::Duration;

use ::redis::{ErrorKind, RedisError};

use super::cancels::MAX_CANCELLED;
use super::queue_name::QueueName;
use super::redis::fault::is_outage;
use crate::text::{self, MAX_LINE_BYTES};

/// A fault of the host or its store: the store could not be reached, or it refused. Never a job's fault.
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
    /// Redis is there, but does not let this host in.
    #[error("redis at {address} refuses: {why}")]
    Refused {
        /// Host and port.
        address: String,
        /// What it said.
        why: String,
    },
    /// The operation needs a lease, and the host's lease has run out.
    #[error("the lease on {queue} has run out")]
    Lapsed {
        /// On which queue.
        queue: QueueName,
    },
    /// The store refuses so many of the queue's settlements that the host fetches nothing more from it.
    #[error("the store refuses settlements of {queue}; taking nothing more from it until it takes them")]
    Behind {
        /// Which queue.
        queue: QueueName,
    },
    /// One queue cannot be worked on, while the store can be used.
    #[error("queue {queue}: {source}")]
    Queue {
        /// Which.
        queue: QueueName,
        /// Why.
        source: Box<QueueError>,
    },
    /// Others work on the failed list, and this caller did not get a turn in time.
    #[error("others are working through the failed list; try again when they have finished")]
    Busy,
    /// The store holds as many of something as it may.
    #[error("there are {most} {what} already, and there may be no more")]
    Full {
        /// How many there may be.
        most: usize,
        /// Of what.
        what: &'static str,
    },
    /// A queue has no room for so many marks of cancelled jobs.
    #[error("queue {queue} has no room for so many cancelled jobs: it keeps {MAX_CANCELLED} at most")]
    MarksFull {
        /// Which queue.
        queue: QueueName,
        /// How many of the jobs were marked there before.
        marked: usize,
    },
    /// Nothing came back in the time a lease allows for.
    #[error("redis: no answer within {} ms", patience.as_millis())]
    Slow {
        /// How long was waited.
        patience: Duration,
    },
    /// Redis answered with an error, or not in time.
    #[error("redis: {}", said(.0))]
    Redis(#[from] RedisError),
}

impl QueueError {
    /// Whether the question or its answer was lost on its way: the connection ended, or nothing came in time. If other
    /// messages get through, this one may simply be too long.
    pub(super) fn is_on_the_way(&self) -> bool {
        match self {
            Self::Slow { .. } => true,
            Self::Redis(err) => err.is_io_error() || err.is_timeout() || err.kind() == ErrorKind::Parse,
            _ => false,
        }
    }

    /// Whether the store refused the message for its length, which it would do in any state.
    pub(super) fn is_about_content(&self) -> bool {
        let Self::Redis(err) = self else { return false };
        let said = err.detail().unwrap_or_default();
        ["Protocol error", "exceeds maximum allowed size"]
            .iter()
            .any(|refusal| said.contains(refusal))
    }

    /// Whether this host may not do this here, whatever it sends: an operator forbade it, or a slot of a Cluster moves.
    pub(super) fn is_about_access(&self) -> bool {
        let Self::Redis(err) = self else { return false };
        matches!(err.code(), Some("NOPERM" | "NOAUTH" | "WRONGPASS" | "MOVED" | "ASK"))
    }

    /// Whether the store as a whole cannot be used for now, as opposed to one command.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Refused { .. } | Self::Slow { .. } => true,
            Self::Redis(err) => is_outage(err),
            Self::Url { .. }
            | Self::Lapsed { .. }
            | Self::Behind { .. }
            | Self::Queue { .. }
            | Self::Busy
            | Self::Full { .. }
            | Self::MarksFull { .. } => false,
        }
    }
}

/// The message of a redis-rs error, without its prefix for the kind of error.
pub(super) fn one_cause(err: &RedisError) -> String {
    err.detail().map_or_else(
        || said(err),
        |detail| text::message(detail, MAX_LINE_BYTES).into_owned(),
    )
}

fn said(err: &RedisError) -> String {
    text::message(&err.to_string(), MAX_LINE_BYTES).into_owned()
}
