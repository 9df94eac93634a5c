//! What replaces a settlement that the store keeps refusing, and when.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::job::{DecodeError, Job, KEPT_BYTES, wrap_malformed, wrap_refused};
use crate::outcome::{Commit, Failure, FailureKind, Settlement};
use crate::queue::error::QueueError;
use crate::queue::queue_name::QueueName;
use crate::text::{self, MAX_LINE_BYTES};

/// How often a settlement may be refused alone before it is given up, if the refusals also lasted for
/// [`REFUSED_LEASES`] leases. That is far longer than a proxy before the store takes to restart, or an operator to
/// notice a wrong key.
pub(in crate::queue) const MAX_REFUSALS: u32 = 12;
const REFUSED_LEASES: u32 = 3;

/// Bytes of settlements that every store takes in one message: the lowest limit that Redis can be set to is twice this,
/// for the whole message.
const ANY_STORE_TAKES_BYTES: usize = 512 * 1024;

/// Bytes kept of an entry that is refused although it is no longer than what every store takes.
const LEAST_KEPT_BYTES: usize = 1024;

/// How the store has refused one settlement so far.
#[derive(Debug)]
pub(super) struct Refusals {
    times: u32,
    since: Instant,
    /// Whether it was replaced by an entry that holds only the beginning.
    is_cut: bool,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            times: 0,
            since: Instant::now(),
            is_cut: false,
        }
    }
}

impl Refusals {
    /// Counts one more refusal, and returns whether to give the settlement up.
    pub(super) fn are_enough(&mut self, lease: Duration) -> bool {
        self.times += 1;
        self.times >= MAX_REFUSALS && self.since.elapsed() >= lease * REFUSED_LEASES
    }

    /// What to offer instead of a settlement: first one that says as much but goes elsewhere, then one that says less.
    /// None: no other is left.
    pub(super) fn substitute(
        &mut self,
        settlement: &Settlement,
        queue: &QueueName,
        err: &QueueError,
    ) -> Option<Settlement> {
        let may_be_long = err.is_about_content() || err.is_on_the_way();
        let entry = match settlement {
            Settlement::Ack { result } => return result.as_ref().map(|_| Settlement::Ack { result: None }),
            // The writes of a commit must not get lost: without a result to leave out, the job is left to run again on
            // another host.
            Settlement::Commit(commit) => {
                let commit = Commit::read(commit.as_bytes()).filter(|commit| commit.result.is_some())?;
                let ack = Settlement::Ack { result: None };
                return Some(ack.with(Commit { result: None, ..commit }));
            }
            Settlement::Wait { .. } | Settlement::Requeue | Settlement::Drop { .. } => return None,
            Settlement::FailThere { otherwise, .. } => otherwise.clone(),
            Settlement::Retry { job, .. } if !may_be_long || job.len() <= ANY_STORE_TAKES_BYTES / 2 => {
                whole(job, queue, err)
            }
            _ if self.is_cut => return None,
            Settlement::Retry { job: json, .. } | Settlement::Fail { entry: json } => {
                self.is_cut = true;
                cut(json, queue, err)
            }
        };
        Some(Settlement::Fail { entry })
    }
}

/// The failed entry of a job that cannot be retried, with nothing left out.
fn whole(json: &str, queue: &QueueName, err: &QueueError) -> String {
    let failure = Failure::new(
        FailureKind::Internal,
        format!("the store does not take its retry: {err}"),
    );
    match Job::decode(json.as_bytes()) {
        Ok(mut job) => {
            job.found_on = Some(queue.to_string());
            job.into_failed_entry(&failure, Timestamp::now())
        }
        Err(err) => wrap_malformed(json.as_bytes(), json.len(), queue.as_str(), &err, Timestamp::now()),
    }
}

/// A failed entry that holds only the beginning of the job's JSON.
fn cut(json: &str, queue: &QueueName, err: &QueueError) -> String {
    let len = json.len();
    let keep = if len > ANY_STORE_TAKES_BYTES {
        KEPT_BYTES
    } else {
        LEAST_KEPT_BYTES
    };
    let why = text::line(&err.to_string(), MAX_LINE_BYTES).into_owned();
    let why = DecodeError::Refused { len, why };
    wrap_refused(json.as_bytes(), keep, queue.as_str(), &why, Timestamp::now())
}
