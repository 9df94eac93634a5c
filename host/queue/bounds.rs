//! The bounds on a host's dealings with its store that no setting changes, for operators to read.

use serde::Serialize;

use super::cancels::MAX_CANCELLED;
use super::consumer::{MAX_BEHIND, MAX_PIECE_TRIES, MAX_REFUSALS, MAX_UNSETTLED, MAX_UNSETTLED_KIB};
use super::firing::MAX_REMEMBERED_SCHEDULES;
use super::history::{MAX_HISTORIES, MAX_HISTORY_BYTES, MAX_JOB_HISTORY_BYTES};
use super::limits::{
    MAX_BATCH, MAX_BATCH_BYTES, MAX_LIMITED_JOBS, MAX_LIMITED_LANES, MAX_OUTBOX_BYTES, MAX_OUTBOX_ENTRIES, MAX_REPLIES,
    MAX_SWEPT, MAX_TAKEN_BYTES,
};
use crate::config::MAX_SCHEDULES;

/// A bound that no setting changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// Its name.
    pub name: &'static str,
    /// Its unit: `bytes` or `count`.
    pub unit: &'static str,
    /// Its value.
    pub value: u64,
    /// What it bounds.
    pub about: &'static str,
}

/// All of them.
pub const BOUNDS: [Bound; 20] = [
    count("batch", MAX_BATCH, "jobs fetched, promoted or taken over by one script"),
    bytes(
        "batch_bytes",
        MAX_BATCH_BYTES,
        "jobs or entries in one answer of Redis; a larger job comes in pieces",
    ),
    bytes(
        "taken_bytes",
        MAX_TAKEN_BYTES,
        "a job that is read whole; a larger one fails unread",
    ),
    count(
        "piece_tries",
        MAX_PIECE_TRIES as usize,
        "pieces of a large job that fail to come in a row before it fails",
    ),
    count(
        "unsettled",
        MAX_UNSETTLED,
        "settlements of one queue that wait for Redis",
    ),
    bytes(
        "unsettled_bytes",
        MAX_UNSETTLED_KIB as usize * 1024,
        "settlements that wait for Redis, in equal parts for each queue",
    ),
    count(
        "refusals",
        MAX_REFUSALS as usize,
        "refusals of a settlement alone, over at least three leases, before it is given up",
    ),
    count(
        "behind",
        MAX_BEHIND,
        "jobs of a queue whose settlements are held or given up before nothing more is taken from it",
    ),
    count(
        "outbox",
        MAX_OUTBOX_ENTRIES,
        "acknowledged jobs of a host and a queue whose follow-ups, writes or batches are still to be written, before nothing \
         more is taken from it",
    ),
    bytes("outbox_bytes", MAX_OUTBOX_BYTES, "what these are still to write"),
    count("schedules", MAX_SCHEDULES, "schedules that fire on one host"),
    count(
        "schedules_remembered",
        MAX_REMEMBERED_SCHEDULES,
        "schedules whose last instants stand beside one queue",
    ),
    count(
        "cancelled",
        MAX_CANCELLED,
        "cancelled jobs of a queue, which every host keeps",
    ),
    count("histories", MAX_HISTORIES, "jobs of a queue whose attempts are kept"),
    bytes(
        "history_bytes",
        MAX_HISTORY_BYTES,
        "what is kept of the attempts at all jobs of a queue",
    ),
    bytes(
        "job_history_bytes",
        MAX_JOB_HISTORY_BYTES,
        "what is kept of the attempts at one job: of more, the last",
    ),
    count(
        "limited_jobs",
        MAX_LIMITED_JOBS,
        "jobs of a queue that wait for the limits of one plugin before further ones are delayed",
    ),
    count("limited_lanes", MAX_LIMITED_LANES, "lanes that hold these"),
    count(
        "swept",
        MAX_SWEPT,
        "places of limits that are looked at at once, for hosts that have died",
    ),
    count("replies", MAX_REPLIES, "answers of one job to whoever waits for it"),
];

const fn count(name: &'static str, value: usize, about: &'static str) -> Bound {
    bound(name, "count", value, about)
}

const fn bytes(name: &'static str, value: usize, about: &'static str) -> Bound {
    bound(name, "bytes", value, about)
}

const fn bound(name: &'static str, unit: &'static str, value: usize, about: &'static str) -> Bound {
    let value = value as u64;
    Bound {
        name,
        unit,
        value,
        about,
    }
}
