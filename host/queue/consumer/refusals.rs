//! What is put in the place of a settlement that the store goes on refusing, and when.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::job::{DecodeError, Job, KEPT_BYTES, wrap_malformed, wrap_refused};
use crate::outcome::{Failure, FailureKind, Settlement};
use crate::queue::error::QueueError;
use crate::queue::queue_name::QueueName;
use crate::text::{self, MAX_LINE_BYTES};

/// How often a settlement may be refused alone before it is given up, if that has gone on for so many leases as well: far
/// longer than whatever is between a host and its store takes to start again, or an operator to see that a key is wrong.
const MAX_REFUSALS: u32 = 12;
const REFUSED_LEASES: u32 = 3;

/// Bytes of settlements that every store takes in one message: Redis can be told to take no more than twice this, all that
/// belongs to the message included.
const ANY_STORE_TAKES_BYTES: usize = 512 * 1024;

/// Bytes that are kept of an entry that is refused although every store takes as much.
const LEAST_KEPT_BYTES: usize = 1024;

/// How the store has refused one settlement so far.
#[derive(Debug)]
pub(super) struct Refusals {
    times: u32,
    since: Instant,
    /// An entry that holds only the beginning stands in its place.
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
    /// Counts one more, and tells whether the settlement is to be given up.
    pub(super) fn are_enough(&mut self, lease: Duration) -> bool {
        self.times += 1;
        self.times >= MAX_REFUSALS && self.since.elapsed() >= lease * REFUSED_LEASES
    }

    /// What to offer in the place of a settlement: what says as much elsewhere, then what says less. None: there is no less.
    pub(super) fn substitute(
        &mut self,
        settlement: &Settlement,
        queue: &QueueName,
        err: &QueueError,
    ) -> Option<Settlement> {
        let may_be_long = err.is_about_content() || err.is_on_the_way();
        let entry = match settlement {
            Settlement::Ack { result } => return result.as_ref().map(|_| Settlement::Ack { result: None }),
            // What a commit writes must not get lost: the job runs again elsewhere.
            Settlement::Commit(_) | Settlement::Wait { .. } | Settlement::Requeue => return None,
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

/// A failed entry that holds the beginning.
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
