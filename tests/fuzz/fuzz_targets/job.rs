//! What a producer wrote is a job that comes through every fate whole, or a failed entry that gives back every byte.

#![no_main]

mod line;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kiln::config::RetryPolicy;
use kiln::job::{DecodeError, Job, MAX_JOB_BYTES, MAX_PAYLOAD_BYTES, wrap_malformed};
use kiln::outcome::{Failure, FailureKind, Outcome, RetryHint, Settlement};
use kiln::queue::{FailedEntry, QUEUE_DEFAULT};
use kiln::retry::{self, Moment};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

type Keys = BTreeMap<String, Box<RawValue>>;

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// What Kiln may change; all else has to stay, whatever a job comes to.
const OURS: [&str; 17] = [
    "id",
    "name",
    "queue",
    "attempts",
    "max_attempts",
    "timeout",
    "delay",
    "available_at",
    "created_at",
    "updated_at",
    "started_at",
    "completed_at",
    "failed_at",
    "error",
    "lost",
    "failure",
    "metadata",
];

/// Bytes by which a job may grow: Kiln's keys, of which only the error is not tiny.
const GROWTH: usize = 16 * 1024;

/// Bytes that JSON needs at most for one: `\u0000`.
const ESCAPED: usize = 6;

fuzz_target!(|bytes: &[u8]| {
    // Anybody may have put it into the failed list, too.
    let _ = FailedEntry::new(bytes.to_vec()).revived(NOW);
    match Job::decode(bytes) {
        Ok(job) => comes_through(bytes, job),
        Err(err) => comes_back(bytes, &err),
    }
});

fn comes_through(bytes: &[u8], mut job: Job) {
    let before = keys(bytes);
    assert!(bytes.len() <= MAX_JOB_BYTES && job.payload.get().len() <= MAX_PAYLOAD_BYTES);
    assert!(!job.name.is_empty() && !job.id.is_empty() && job.timeout() != Some(Duration::ZERO));
    for (key, value) in before.iter().filter(|(key, _)| is_foreign(key) && *key != "payload") {
        assert_eq!(job.extra(key).map(RawValue::get), Some(value.get()), "{key}");
    }
    let _ = (job.created_at_ms(), job.available_at(), job.is_early(|| NOW));
    assert_kept(&before, bytes.len(), &job.encode());
    assert_eq!(format!("{:?}", decoded(&job.encode())), format!("{job:?}"));

    job.found_on = Some(QUEUE_DEFAULT.to_owned());
    for hint in [
        RetryHint::ByPolicy,
        RetryHint::NotBefore(Duration::MAX),
        RetryHint::Never,
    ] {
        let outcome = Outcome::Failed {
            failure: Failure::new(FailureKind::Error, "no"),
            retry: hint,
        };
        let at = Moment { now: NOW, luck: 0.9 };
        let settlement = retry::settle(&RetryPolicy::default(), job.clone(), outcome, at);
        settled(&before, bytes.len(), job.next_attempt(), settlement);
        settled(&before, bytes.len(), job.attempts, retry::settle_lost(job.clone(), at));
    }
}

fn settled(before: &Keys, len: usize, attempts: u32, settlement: Settlement) {
    match settlement {
        Settlement::Retry { job, .. } => {
            assert_kept(before, len, &job);
            assert_eq!(decoded(&job).attempts, attempts);
        }
        Settlement::Fail { entry } => {
            assert_kept(before, len, &entry);
            let entry = FailedEntry::new(entry.into_bytes());
            line::assert_one(&entry.failure().expect("a failure").message);
            let (queue, revived) = entry.revived(NOW).expect("its job");
            let revived = String::from_utf8(revived).expect("text");
            assert_eq!(queue.as_str(), QUEUE_DEFAULT);
            assert_kept(before, len, &revived);
            let job = decoded(&revived);
            assert!(job.attempts == 0 && job.lost == 0 && job.error.is_none() && job.failure().is_none());
        }
        other => panic!("neither tried again nor failed: {other:?}"),
    }
}

fn comes_back(bytes: &[u8], err: &DecodeError) {
    line::assert_one(&err.to_string());
    let entry = FailedEntry::new(wrap_malformed(bytes, bytes.len(), QUEUE_DEFAULT, err, NOW).into_bytes());
    assert!(entry.bytes().len() <= ESCAPED * bytes.len() + GROWTH);
    let failure = entry.failure().expect("a failure");
    assert_eq!(failure.kind, FailureKind::Malformed);
    line::assert_one(&failure.message);
    let (queue, original) = entry.revived(NOW).expect("the bytes");
    assert_eq!((queue.as_str(), original.as_slice()), (QUEUE_DEFAULT, bytes));
}

/// Asserts that a job's JSON has everything of the producer's that it had before, byte for byte, and is not much longer.
fn assert_kept(before: &Keys, len: usize, json: &str) {
    let after = keys(json.as_bytes());
    assert!(json.len() <= len + GROWTH, "{len} bytes became {}", json.len());
    assert_eq!(
        after["payload"].get(),
        before.get("payload").map_or("null", |payload| payload.get())
    );
    let text = |keys: &Keys| keys.get("metadata").map(|value| value.get().to_owned());
    assert_eq!(text(&after), text(before).filter(|text| text != "null"));
    for (key, value) in before.iter().filter(|(key, _)| is_foreign(key)) {
        assert_eq!(after[key].get(), value.get(), "{key}");
    }
}

fn is_foreign(key: &str) -> bool {
    !OURS.contains(&key)
}

/// A JSON object's values as they stand there; of a key that comes twice, the last.
fn keys(json: &[u8]) -> Keys {
    serde_json::from_slice(json).expect("an object")
}

fn decoded(json: &str) -> Job {
    Job::decode(json.as_bytes()).expect("a job")
}
