//! What comes after a job has ended: the next of its chain, and what its batches are told. Pure.

use bytesize::ByteSize;
use jiff::Timestamp;

use crate::job::{Job, MAX_HANDED_ON_BYTES, Parent, Plans, next_in_chain};
use crate::outcome::{BatchMark, Failure, FailureKind, FollowUp, Outcome, RetryHint};

/// What a job says of what comes after it.
pub(super) struct After<'a> {
    plans: &'a Plans,
    /// The job; none where it says nothing.
    parent: Option<Parent>,
}

impl<'a> After<'a> {
    pub(super) fn of(plans: &'a Plans, job: &Job, queue: &str) -> Self {
        let says_something = !plans.then.is_empty() || !plans.batches.is_empty();
        let metadata = || job.metadata.as_ref().map_or("{}", |metadata| metadata.get());
        let parent = says_something.then(|| Parent::new(&job.id, queue, metadata()));
        Self { plans, parent }
    }

    /// The next job of its chain, if it has completed and there is one. A result that cannot be handed on fails the job: the
    /// chain is then in the failed list, and not lost.
    pub(super) fn chain(&self, outcome: Outcome) -> (Outcome, Option<FollowUp>) {
        let (Some(parent), Outcome::Completed { result }) = (&self.parent, &outcome) else {
            return (outcome, None);
        };
        if self.plans.then.is_empty() {
            return (outcome, None);
        }
        let result = result.as_deref().unwrap_or("null");
        let len = result.len();
        if len > MAX_HANDED_ON_BYTES {
            let (len, most) = (ByteSize(len as u64), ByteSize(MAX_HANDED_ON_BYTES as u64));
            let why = format!("its result of {len} cannot be handed on to the next of its chain; at most {most} can");
            return (rejected(why), None);
        }
        match next_in_chain(parent, &self.plans.then, result) {
            Ok(next) => (outcome, next),
            Err(why) => (rejected(format!("its chain cannot go on: {why}")), None),
        }
    }

    /// What its batches are told once it has ended, and has these follow-ups pushed.
    pub(super) fn marks(&self, failed: bool, follow_ups: &[FollowUp], now: Timestamp) -> Vec<BatchMark> {
        let Some(parent) = &self.parent else {
            return Vec::new();
        };
        let batches = self.plans.batches.iter();
        batches
            .map(|batch| batch.mark(parent, failed, follow_ups, now))
            .collect()
    }
}

fn rejected(message: String) -> Outcome {
    Outcome::Failed {
        failure: Failure::new(FailureKind::Rejected, message),
        retry: RetryHint::Never,
    }
}
