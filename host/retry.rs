//! Decides what becomes of a job after an attempt. Pure: no clock, no randomness, no store.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::config::{Backoff, RetryPolicy, RetryWish};
use crate::job::Job;
use crate::outcome::{Failure, FailureKind, Outcome, RetryHint, Settlement};

/// Hosts that may die under a job before it fails as `lost`: a job that kills its host must not wander through the
/// whole fleet.
pub const MAX_LOSSES: u32 = 3;

/// The wait after a job's first loss; doubles with each. Short, since most losses are not the job's doing.
const LOST_BASE: Duration = Duration::from_secs(1);

/// When a decision is made, and the luck it is made with.
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
            // That there is none is a result too: whoever waits for the job learns that it is done.
            let json = result.unwrap_or_else(|| "null".to_owned());
            let result = Some((job.id, json));
            return Settlement::Ack { result };
        }
        Outcome::Cancelled => return Settlement::Requeue,
        Outcome::Failed { failure, retry } => (failure, retry),
    };
    failure.attempt = job.next_attempt();
    job.attempts = failure.attempt;
    let policy = &match wish(&job) {
        Ok(wish) => policy.with(&wish),
        Err(err) => {
            failure.add(&format!("metadata.kiln.retry is ignored: {err}"));
            policy.clone()
        }
    };
    let started = at.now - SignedDuration::from_millis(i64::try_from(failure.duration_ms).unwrap_or(0));
    job.times.started_at = Some(started.to_string());
    let wait = match retry {
        _ if job.attempts >= job.max_attempts => None,
        RetryHint::Never => None,
        RetryHint::ByPolicy => Some(backoff(policy, job.attempts, at.luck)),
        RetryHint::NotBefore(wait) => Some(wait.min(policy.max)),
    };
    match wait {
        Some(wait) => put_off(job, &failure, wait, at.now),
        None => give_up(job, &failure, at.now),
    }
}

/// What the job itself says about being tried again, under `metadata.kiln.retry`.
fn wish(job: &Job) -> Result<RetryWish, serde_json::Error> {
    #[derive(Default, Deserialize)]
    struct Metadata {
        #[serde(default)]
        kiln: Option<Kiln>,
    }
    #[derive(Default, Deserialize)]
    struct Kiln {
        #[serde(default)]
        retry: RetryWish,
    }
    let Some(metadata) = &job.metadata else {
        return Ok(RetryWish::default());
    };
    let metadata: Metadata = serde_json::from_str(metadata.get())?;
    Ok(metadata.kiln.unwrap_or_default().retry)
}

/// Fails a job as it stands.
#[must_use]
pub fn give_up(job: Job, failure: &Failure, now: Timestamp) -> Settlement {
    Settlement::Fail {
        entry: job.into_failed_entry(failure, now),
    }
}

/// Decides the fate of a job whose host died while it held it. It burns no attempt, but it is counted.
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
    put_off(job, &failure, wait, at.now)
}

/// Puts a job off that cannot be run just now, for about so long. Nothing is counted: it is not the job's fault.
#[must_use]
pub fn hold(job: Job, why: &Failure, wait: Duration, at: Moment) -> Settlement {
    let policy = RetryPolicy {
        policy: Backoff::Fixed,
        base: wait,
        ..RetryPolicy::default()
    };
    put_off(job, why, backoff(&policy, 1, at.luck), at.now)
}

fn put_off(mut job: Job, failure: &Failure, wait: Duration, now: Timestamp) -> Settlement {
    let due = now.saturating_add(wait).unwrap_or(Timestamp::MAX);
    job.put_off(failure.to_string(), now, due);
    Settlement::Retry {
        job: job.encode(),
        due_ms: due.as_millisecond(),
    }
}

/// The wait before the attempt that follows `attempts` failed ones.
#[must_use]
pub fn backoff(policy: &RetryPolicy, attempts: u32, luck: f64) -> Duration {
    let past = attempts.saturating_sub(1);
    let factor = match policy.policy {
        Backoff::Fixed => 1.0,
        Backoff::Linear => f64::from(past) + 1.0,
        // Never infinite: no wait at all times that would be no number.
        Backoff::Exponential => 2f64.powi(past.min(1_000).cast_signed()),
    };
    let spread = 1.0 + policy.jitter * (2.0 * luck - 1.0);
    let seconds = (policy.base.as_secs_f64() * factor).min(policy.max.as_secs_f64()) * spread;
    Duration::try_from_secs_f64(seconds)
        .unwrap_or(policy.max)
        .min(policy.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: Moment = Moment {
        now: Timestamp::UNIX_EPOCH,
        luck: 0.5,
    };

    fn job() -> Job {
        Job::decode(br#"{"name":"hello","max_attempts":2}"#).expect("a job")
    }

    fn failed(kind: FailureKind, retry: RetryHint) -> Outcome {
        Outcome::Failed {
            failure: Failure::new(kind, "no"),
            retry,
        }
    }

    fn due_ms(settlement: &Settlement) -> Option<i64> {
        if let Settlement::Retry { due_ms, .. } = settlement {
            Some(*due_ms)
        } else {
            None
        }
    }

    #[test]
    fn a_failed_attempt_is_counted_and_comes_back_by_policy() {
        let outcome = failed(FailureKind::Error, RetryHint::ByPolicy);
        let Settlement::Retry { job, due_ms } = settle(&RetryPolicy::default(), job(), outcome, MIDDLE) else {
            panic!("it has an attempt left");
        };
        let job = Job::decode(job.as_bytes()).expect("a job");
        assert_eq!(
            (job.attempts, job.error.as_deref(), due_ms),
            (1, Some("error: no"), 2_000)
        );
    }

    #[test]
    fn the_last_failed_attempt_fails_the_job() {
        let mut last = job();
        last.attempts = 1;
        let outcome = failed(FailureKind::Trap, RetryHint::ByPolicy);
        let Settlement::Fail { entry } = settle(&RetryPolicy::default(), last, outcome, MIDDLE) else {
            panic!("attempts ran out");
        };
        let failure = Job::decode(entry.as_bytes())
            .expect("a job")
            .failure()
            .expect("a failure");
        assert_eq!((failure.kind, failure.attempt), (FailureKind::Trap, 2));
    }

    #[test]
    fn a_job_may_say_itself_when_it_is_tried_again() {
        let wait_ms = |metadata: &str| {
            let json = format!(r#"{{"name":"hello","metadata":{metadata}}}"#);
            let job = Job::decode(json.as_bytes()).expect("a job");
            let settlement = settle(
                &RetryPolicy::default(),
                job,
                failed(FailureKind::Trap, RetryHint::ByPolicy),
                MIDDLE,
            );
            let Settlement::Retry { job, due_ms } = settlement else {
                panic!("it has attempts left");
            };
            let error = Job::decode(job.as_bytes()).expect("a job").error.expect("an error");
            (due_ms, error)
        };
        let trap = || "trap: no".to_owned();
        assert_eq!(wait_ms(r#"{"a":1}"#), (2_000, trap()), "the plugin's");
        assert_eq!(wait_ms(r#"{"kiln":{"retry":{"base":"7s"}}}"#), (7_000, trap()));
        assert_eq!(
            wait_ms(r#"{"kiln":{"retry":{"policy":"fixed","base":"1h","max":"5m","jitter":0}}}"#),
            (300_000, trap())
        );
        let (due_ms, error) = wait_ms(r#"{"kiln":{"retry":{"base":"soon"}}}"#);
        assert!(
            due_ms == 2_000 && error.contains("metadata.kiln.retry is ignored: \"soon\" is not a duration"),
            "{error}"
        );
    }

    #[test]
    fn a_rejected_job_fails_with_attempts_left() {
        let outcome = failed(FailureKind::Rejected, RetryHint::Never);
        assert!(matches!(
            settle(&RetryPolicy::default(), job(), outcome, MIDDLE),
            Settlement::Fail { .. }
        ));
    }

    #[test]
    fn a_handlers_wait_is_honoured_up_to_the_policys_cap() {
        let policy = RetryPolicy {
            max: Duration::from_mins(1),
            ..RetryPolicy::default()
        };
        for (asked_s, given_ms) in [(45, 45_000), (600, 60_000)] {
            let outcome = failed(FailureKind::Error, RetryHint::NotBefore(Duration::from_secs(asked_s)));
            assert_eq!(due_ms(&settle(&policy, job(), outcome, MIDDLE)), Some(given_ms));
        }
    }

    #[test]
    fn a_cancelled_attempt_goes_back_as_it_was() {
        let settlement = settle(&RetryPolicy::default(), job(), Outcome::Cancelled, MIDDLE);
        assert!(matches!(settlement, Settlement::Requeue));
    }

    #[test]
    fn a_job_that_keeps_losing_its_host_fails_as_lost() {
        let mut job = job();
        for loss in 1..MAX_LOSSES {
            let Settlement::Retry { job: json, .. } = settle_lost(job, MIDDLE) else {
                panic!("loss {loss}")
            };
            job = Job::decode(json.as_bytes()).expect("a job");
            assert_eq!((job.lost, job.attempts), (loss, 0));
        }
        assert!(matches!(settle_lost(job, MIDDLE), Settlement::Fail { .. }));
    }

    #[test]
    fn a_held_job_waits_a_while_and_nothing_is_counted() {
        let why = Failure::new(FailureKind::UnknownJob, "nobody");
        let Settlement::Retry { job, due_ms } = hold(job(), &why, Duration::from_secs(10), MIDDLE) else {
            panic!("not put off")
        };
        let job = Job::decode(job.as_bytes()).expect("a job");
        assert_eq!((job.attempts, job.lost, due_ms), (0, 0, 10_000));
        assert_eq!(job.error.as_deref(), Some("unknown-job: nobody"));
    }

    #[test]
    fn no_wait_stays_none_however_often_it_doubles() {
        let policy = RetryPolicy {
            base: Duration::ZERO,
            ..RetryPolicy::default()
        };
        assert_eq!(
            [1, 2_000, u32::MAX].map(|n| backoff(&policy, n, 0.5)),
            [Duration::ZERO; 3]
        );
    }

    #[test]
    fn waits_grow_as_named_and_stay_within_jitter_and_cap() {
        let policy = |policy| RetryPolicy {
            policy,
            base: Duration::from_secs(10),
            max: Duration::from_secs(35),
            jitter: 0.5,
        };
        let waits = |kind, luck| [1, 2, 3, 4, 5_000].map(|n| backoff(&policy(kind), n, luck).as_secs());
        assert_eq!(waits(Backoff::Fixed, 0.5), [10, 10, 10, 10, 10]);
        assert_eq!(waits(Backoff::Linear, 0.5), [10, 20, 30, 35, 35]);
        assert_eq!(waits(Backoff::Exponential, 0.5), [10, 20, 35, 35, 35]);
        assert_eq!(waits(Backoff::Exponential, 0.0), [5, 10, 17, 17, 17]);
        assert_eq!(waits(Backoff::Exponential, 0.999_999), [14, 29, 35, 35, 35]);
    }
}
