//! Decides what becomes of a job after an attempt. Pure: no clock, no randomness, no store.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::config::{Backoff, Limit, RetryPolicy};
use crate::job::{Job, Options};
use crate::outcome::{Failure, FailureKind, Outcome, RetryHint, Settlement};

/// How many hosts may die while they run a job before it fails as `lost`. A job that kills its host must not go on to
/// kill the whole fleet.
pub const MAX_LOSSES: u32 = 3;

/// The wait after a job's first loss; doubles with each. Short, since most losses are not the job's doing.
const LOST_BASE: Duration = Duration::from_secs(1);

/// The time and the random number that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The time.
    pub now: Timestamp,
    /// A random number from 0 up to 1, for jitter.
    pub luck: f64,
}

/// Decides the fate of `job` after an attempt came to `outcome`.
#[must_use]
pub fn settle(policy: &RetryPolicy, mut job: Job, outcome: Outcome, at: Moment) -> Settlement {
    let (mut failure, retry) = match outcome {
        Outcome::Completed { result } => {
            // A missing result is stored as `null`: whoever waits for the job learns that it is done.
            let json = result.unwrap_or_else(|| "null".to_owned());
            let result = Some((job.id, json));
            return Settlement::Ack { result };
        }
        Outcome::Stopped => return Settlement::Requeue,
        Outcome::Failed { failure, retry } => (failure, retry),
    };
    failure.attempt = job.next_attempt();
    let counts = !matches!(retry, RetryHint::NotBeforeUncounted(_));
    if counts {
        job.attempts = failure.attempt;
    }
    let (options, ignored) = Options::read(job.metadata.as_deref());
    if let Some(ignored) = ignored {
        failure.add(&ignored);
    }
    let policy = &policy.with(&options.retry);
    let started = at.now - SignedDuration::from_millis(i64::try_from(failure.duration_ms).unwrap_or(0));
    job.times.started_at = Some(started.to_string());
    let last = counts && job.attempts >= policy.attempts_of(&job);
    if last && job.max_attempts > policy.max_attempts {
        let (limit, asked) = (Limit::MaxAttempts, job.max_attempts);
        failure.add(&format!(
            "the limit {limit} is {}, its job asks for {asked}",
            policy.max_attempts
        ));
    }
    let wait = match retry {
        _ if last => None,
        RetryHint::Never => None,
        RetryHint::ByPolicy => Some(backoff(policy, job.attempts, at.luck)),
        RetryHint::NotBefore(wait) | RetryHint::NotBeforeUncounted(wait) => Some(wait.min(policy.max)),
    };
    match wait {
        Some(wait) => delay(job, &failure, wait, at.now),
        None => give_up(job, &failure, at.now),
    }
}

/// Fails a job as it stands.
#[must_use]
pub fn give_up(job: Job, failure: &Failure, now: Timestamp) -> Settlement {
    Settlement::Fail {
        entry: job.into_failed_entry(failure, now),
    }
}

/// Decides the fate of a job whose host died while it held the job. That uses up no attempt, but it is counted as a
/// loss.
#[must_use]
pub fn settle_lost(mut job: Job, at: Moment) -> Settlement {
    job.lost = job.lost.saturating_add(1);
    let mut failure = Failure::new(
        FailureKind::Lost,
        format!(
            "the host died while it held this job, {} of at most {MAX_LOSSES} times",
            job.lost
        ),
    );
    if job.lost >= MAX_LOSSES {
        failure.attempt = job.next_attempt();
        return give_up(job, &failure, at.now);
    }
    let policy = RetryPolicy {
        base: LOST_BASE,
        ..RetryPolicy::default()
    };
    let wait = backoff(&policy, job.lost, at.luck);
    delay(job, &failure, wait, at.now)
}

/// Puts a job that became ready before its time into the delayed set, with an exact score. The new `updated_at` keeps
/// the job from being checked again: a difference between clocks must not send it round for ever.
#[must_use]
pub fn wait(mut job: Job, until: Timestamp, now: Timestamp) -> Settlement {
    job.times.updated_at = Some(now.to_string());
    Settlement::Retry {
        job: job.encode(),
        wait: Duration::try_from(until.duration_since(now)).unwrap_or_default(),
    }
}

/// Delays a job that cannot be run just now, by about `wait`. No attempt is counted: the job is not at fault.
#[must_use]
pub fn hold(job: Job, why: &Failure, wait: Duration, at: Moment) -> Settlement {
    let policy = RetryPolicy {
        policy: Backoff::Fixed,
        base: wait,
        ..RetryPolicy::default()
    };
    delay(job, why, backoff(&policy, 1, at.luck), at.now)
}

fn delay(mut job: Job, failure: &Failure, wait: Duration, now: Timestamp) -> Settlement {
    let due = now.saturating_add(wait).unwrap_or(Timestamp::MAX);
    job.delay(failure.to_string(), now, due);
    Settlement::Retry {
        job: job.encode(),
        wait,
    }
}

/// The wait before the attempt that follows `attempts` failed ones.
#[must_use]
pub fn backoff(policy: &RetryPolicy, attempts: u32, luck: f64) -> Duration {
    let past = attempts.saturating_sub(1);
    let factor = match policy.policy {
        Backoff::Fixed => 1.0,
        Backoff::Linear => f64::from(past) + 1.0,
        // Bounded, so that the factor is never infinite: infinity times a wait of zero would be no number.
        Backoff::Exponential => 2f64.powi(past.min(1_000).cast_signed()),
    };
    let spread = 1.0 + policy.jitter * (2.0 * luck - 1.0);
    let seconds = (policy.base.as_secs_f64() * factor).min(policy.max.as_secs_f64()) * spread;
    Duration::try_from_secs_f64(seconds)
        .unwrap_or(policy.max)
        .min(policy.max)
}

#[cfg(test)]
mod tests;
