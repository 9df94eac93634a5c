//! What an outcome is settled as, by policy, wish and moment.

use std::num::NonZeroU32;

use super::*;
use crate::job::RetryWish;

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

fn wait_ms(settlement: &Settlement) -> Option<u128> {
    if let Settlement::Retry { wait, .. } = settlement {
        Some(wait.as_millis())
    } else {
        None
    }
}

#[test]
fn a_failed_attempt_is_counted_and_comes_back_by_policy() {
    let outcome = failed(FailureKind::Error, RetryHint::ByPolicy);
    let Settlement::Retry { job, wait } = settle(&RetryPolicy::default(), job(), outcome, MIDDLE) else {
        panic!("it has an attempt left");
    };
    let job = Job::decode(job.as_bytes()).expect("a job");
    assert_eq!(
        (job.attempts, job.error.as_deref(), wait.as_millis()),
        (1, Some("error: no"), 30_000)
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
        let Settlement::Retry { job, wait } = settlement else {
            panic!("it has attempts left");
        };
        let error = Job::decode(job.as_bytes()).expect("a job").error.expect("an error");
        (wait.as_millis(), error)
    };
    let trap = || "trap: no".to_owned();
    assert_eq!(wait_ms(r#"{"a":1}"#), (30_000, trap()), "the plugin's");
    assert_eq!(wait_ms(r#"{"kiln":{"retry":{"base":"7s"}}}"#), (7_000, trap()));
    assert_eq!(
        wait_ms(r#"{"kiln":{"retry":{"policy":"fixed","base":"1h","max":"5m","jitter":0}}}"#),
        (300_000, trap())
    );
}

#[test]
fn an_option_that_is_wrong_is_named_and_the_others_count() {
    let read = |metadata: &str| {
        let metadata = serde_json::value::RawValue::from_string(metadata.to_owned()).expect("json");
        let (options, ignored) = Options::read(Some(&metadata));
        (options.retry.jitter, ignored.unwrap_or_default())
    };
    for (metadata, jitter, why) in [
        (r#"{"kiln":{"retry":{"jitter":0.5}},"a":[{"b":[]}]}"#, Some(0.5), ""),
        (r#"{"kiln":null}"#, None, ""),
        (
            r#"{"kiln":{"retri":1,"retry":{"jitter":0.5}}}"#,
            Some(0.5),
            "metadata.kiln.retri is ignored: there are retry, expires, reply, key, unique, then, batch and unless_ended",
        ),
        (
            r#"{"kiln":{"retry":{"base":"soon","jitter":0.5}}}"#,
            Some(0.5),
            "metadata.kiln.retry.base is ignored: \"soon\" is not a duration",
        ),
        (
            r#"{"kiln":{"retry":{"jitter":0.5,"base":5}}}"#,
            Some(0.5),
            "metadata.kiln.retry.base is ignored: invalid type: integer `5`, expected a string",
        ),
        (
            r#"{"kiln":{"retry":{"jitter":2}}}"#,
            None,
            "metadata.kiln.retry.jitter is ignored: jitter must be between 0 and 1",
        ),
        (
            r#"{"kiln":{"retry":{"jitter":-0.1}}}"#,
            None,
            "metadata.kiln.retry.jitter is ignored: jitter must be between 0 and 1",
        ),
        (
            r#"{"kiln":{"retry":{"attempts":9}}}"#,
            None,
            "metadata.kiln.retry.attempts is ignored: there are policy",
        ),
        (
            r#"{"kiln":{"retry":[]}}"#,
            None,
            "metadata.kiln.retry is ignored: invalid type: sequence",
        ),
        (
            r#"{"kiln":7}"#,
            None,
            "metadata.kiln is ignored: invalid type: integer `7`, expected a map",
        ),
        (
            r#"{"kiln":{},"kiln":{}}"#,
            None,
            "metadata is ignored: duplicate field `kiln`",
        ),
    ] {
        let (found, said) = read(metadata);
        assert!(
            found == jitter && said.starts_with(why) && said.is_empty() == why.is_empty(),
            "{metadata}: {found:?}, {said}"
        );
    }
    let filled = |len: usize| {
        format!(
            r#"{{"kiln":{{"retry":{{"jitter":1}},"a":"{}"}}}}"#,
            "x".repeat(len - 29)
        )
    };
    assert_eq!((read(&filled(4_096)).0, read(&filled(4_097)).0), (Some(1.0), None));
    let (_, said) = read(&format!(r#"{{"kiln":{{"a":"{}"}}}}"#, "x".repeat(5_000)));
    assert_eq!(
        said,
        "metadata.kiln is ignored: it has 5008 bytes, at most 4096 are read"
    );
}

#[test]
fn three_attempts_outlast_an_api_that_is_away_for_a_minute() {
    let waits = [1, 2].map(|attempts| backoff(&RetryPolicy::default(), attempts, 0.0));
    assert!(waits.iter().sum::<Duration>() > Duration::from_mins(1), "{waits:?}");
}

#[test]
fn a_job_that_names_no_attempts_has_its_plugins_and_none_has_more_than_the_limit() {
    let policy = RetryPolicy {
        attempts: NonZeroU32::new(5).unwrap(),
        max_attempts: 7,
        ..RetryPolicy::default()
    };
    let ends = |max_attempts: &str, attempts: u32| {
        let json = format!(r#"{{"name":"a"{max_attempts},"attempts":{}}}"#, attempts - 1);
        let job = Job::decode(json.as_bytes()).expect("a job");
        match settle(&policy, job, failed(FailureKind::Error, RetryHint::ByPolicy), MIDDLE) {
            Settlement::Retry { .. } => None,
            Settlement::Fail { entry } => Job::decode(entry.as_bytes()).expect("a job").error,
            other => panic!("{other:?}"),
        }
    };
    let no = Some("error: no".to_owned());
    assert_eq!((ends("", 4), ends("", 5)), (None, no.clone()));
    assert_eq!(
        (ends(r#","max_attempts":2"#, 1), ends(r#","max_attempts":2"#, 2)),
        (None, no.clone())
    );
    assert_eq!(ends(r#","max_attempts":0"#, 1), no, "as dg-queue counts");
    assert_eq!(ends(r#","max_attempts":7"#, 7), no, "what the limit allows");
    let immortal = r#","max_attempts":2000000000"#;
    assert_eq!(ends(immortal, 6), None);
    assert_eq!(
        ends(immortal, 7).as_deref(),
        Some("error: no; the limit max_attempts is 7, its job asks for 2000000000")
    );
}

#[test]
fn a_retry_says_how_long_it_is_put_off_as_dg_queue_does() {
    let outcome = failed(FailureKind::Error, RetryHint::ByPolicy);
    let Settlement::Retry { job, .. } = settle(&RetryPolicy::default(), job(), outcome, MIDDLE) else {
        panic!("it has an attempt left");
    };
    let job = Job::decode(job.as_bytes()).expect("a job");
    assert_eq!(
        (job.delay_ns, job.times.available_at.as_deref()),
        (30_000_000_000, Some("1970-01-01T00:00:30Z"))
    );
}

#[test]
fn a_job_whose_score_was_rounded_down_waits_for_its_time_once() {
    let now: Timestamp = "2026-11-22T18:00:00.25Z".parse().expect("a time");
    let job = |created: &str, updated: &str, available: &str| {
        let json = format!(
            r#"{{"name":"a","delay":5000000000,"created_at":"{created}","updated_at":"{updated}","available_at":"{available}"}}"#
        );
        Job::decode(json.as_bytes()).expect("a job")
    };
    let (made, soon) = ("2026-11-22T17:59:55.9999Z", "2026-11-22T18:00:00.9999Z");
    let early = job(made, made, soon);
    let until = early.is_early(|| now).expect("three quarters of a second are left");
    let Settlement::Retry { job: json, wait } = wait(early, until, now) else {
        panic!("it does not wait");
    };
    assert_eq!(wait, Duration::from_micros(749_900));
    let put_back = Job::decode(json.as_bytes()).expect("a job");
    assert_eq!(
        (
            put_back.attempts,
            put_back.times.available_at.as_deref(),
            &put_back.error
        ),
        (0, Some(soon), &None)
    );
    assert_eq!(
        put_back.is_early(|| now),
        None,
        "clocks that differ must not send it round"
    );
    for (available, why) in [
        (made, "it was not delayed"),
        ("2026-11-22T18:00:00.2Z", "its time has come"),
        ("2026-11-22T18:00:03Z", "no rounding explains three seconds"),
        ("soon", "no time"),
    ] {
        assert_eq!(job(made, made, available).is_early(|| now), None, "{why}");
    }
    for (available, early) in [
        ("2026-11-22T18:00:02.25Z", true),
        ("2026-11-22T18:00:02.251Z", false),
        ("2026-11-22T18:00:00.25Z", false),
    ] {
        assert_eq!(
            job(made, made, available).is_early(|| now).is_some(),
            early,
            "{available}"
        );
    }
    assert_eq!(job(soon, soon, soon).is_early(|| now), None, "it was not delayed");
    assert_eq!(
        job(made, "2026-11-22T18:00:00Z", soon).is_early(|| now),
        None,
        "somebody has written it since"
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
        assert_eq!(wait_ms(&settle(&policy, job(), outcome, MIDDLE)), Some(given_ms));
    }
}

#[test]
fn a_handler_that_heard_of_the_drain_waits_as_long_as_it_says_and_nothing_is_counted() {
    // Even where all attempts are used up, since its limit has become lower.
    for attempts in [1, 2] {
        let mut last = job();
        last.attempts = attempts;
        let retry = RetryHint::NotBeforeUncounted(Duration::from_secs(30));
        let outcome = failed(FailureKind::Error, retry);
        let Settlement::Retry { job, wait } = settle(&RetryPolicy::default(), last, outcome, MIDDLE) else {
            panic!("nothing is counted")
        };
        let job = Job::decode(job.as_bytes()).expect("a job");
        assert_eq!((job.attempts, wait.as_secs()), (attempts, 30));
        assert_eq!(job.times.available_at.as_deref(), Some("1970-01-01T00:00:30Z"));
    }
}

#[test]
fn a_retry_says_when_its_attempt_began_and_is_due_to_the_millisecond() {
    let mut failure = Failure::new(FailureKind::Error, "no");
    failure.duration_ms = 1_500;
    let retry = RetryHint::ByPolicy;
    let at = Moment {
        now: "2026-11-22T18:00:02.2509Z".parse().expect("a time"),
        luck: 0.5,
    };
    let outcome = Outcome::Failed { failure, retry };
    let Settlement::Retry { job, .. } = settle(&RetryPolicy::default(), job(), outcome, at) else {
        panic!("it has an attempt left");
    };
    let times = Job::decode(job.as_bytes()).expect("a job").times;
    assert_eq!(times.started_at.as_deref(), Some("2026-11-22T18:00:00.7509Z"));
    assert_eq!(times.available_at.as_deref(), Some("2026-11-22T18:00:32.25Z"));
}

#[test]
fn a_job_has_of_its_plugins_policy_what_it_wants_no_other() {
    let policy = RetryPolicy::default();
    assert_eq!(policy.with(&RetryWish::default()), policy);
    let (base, max, jitter) = (Duration::from_secs(2), Duration::from_secs(3), 0.5);
    let wish = RetryWish {
        policy: Some(Backoff::Linear),
        base: Some(base),
        max: Some(max),
        jitter: Some(jitter),
    };
    let wanted = RetryPolicy {
        policy: Backoff::Linear,
        base,
        max,
        jitter,
        ..policy.clone()
    };
    assert_eq!(policy.with(&wish), wanted);
}

#[test]
fn a_cancelled_attempt_goes_back_as_it_was() {
    let settlement = settle(&RetryPolicy::default(), job(), Outcome::Stopped, MIDDLE);
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
    let Settlement::Fail { entry } = settle_lost(job, MIDDLE) else {
        panic!("it is lost once too often")
    };
    let failure = Job::decode(entry.as_bytes()).expect("a job").failure();
    let failure = failure.expect("a failure");
    assert_eq!((failure.kind, failure.attempt), (FailureKind::Lost, 1));
}

#[test]
fn a_held_job_waits_a_while_and_nothing_is_counted() {
    let why = Failure::new(FailureKind::UnknownJob, "nobody");
    let Settlement::Retry { job, wait } = hold(job(), &why, Duration::from_secs(10), MIDDLE) else {
        panic!("not put off")
    };
    let job = Job::decode(job.as_bytes()).expect("a job");
    assert_eq!((job.attempts, job.lost, wait.as_millis()), (0, 0, 10_000));
    assert_eq!(job.error.as_deref(), Some("unknown-job: nobody"));
}

#[test]
fn no_wait_stays_none_however_often_it_doubles() {
    let policy = RetryPolicy {
        base: Duration::ZERO,
        ..RetryPolicy::default()
    };
    assert_eq!(
        [1, 30_000, u32::MAX].map(|n| backoff(&policy, n, 0.5)),
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
        ..RetryPolicy::default()
    };
    let waits = |kind, luck| [1, 2, 3, 4, 5_000].map(|n| backoff(&policy(kind), n, luck).as_secs());
    assert_eq!(waits(Backoff::Fixed, 0.5), [10, 10, 10, 10, 10]);
    assert_eq!(waits(Backoff::Linear, 0.5), [10, 20, 30, 35, 35]);
    assert_eq!(waits(Backoff::Exponential, 0.5), [10, 20, 35, 35, 35]);
    assert_eq!(waits(Backoff::Exponential, 0.0), [5, 10, 17, 17, 17]);
    assert_eq!(waits(Backoff::Exponential, 0.999_999), [14, 29, 35, 35, 35]);
}
