//! What becomes of a job's keys as it is delayed, retried, failed and brought back.

use super::*;
use crate::outcome::FailureKind;

fn job(keys: &str) -> Job {
    Job::decode(format!("{{\"name\":\"a\"{keys}}}").as_bytes()).expect("a job")
}

#[test]
fn what_goes_back_to_its_queue_has_nothing_held_against_it() {
    let keys =
        r#","attempts":2,"lost":1,"delay":5,"error":"no","failed_at":"f","started_at":"s","completed_at":"c","id":"1""#;
    let entry = job(keys).into_failed_entry(&Failure::new(FailureKind::Trap, "no"), Timestamp::UNIX_EPOCH);
    let mut back = Job::decode(entry.as_bytes()).expect("a job");
    back.reset(Timestamp::UNIX_EPOCH);
    let now = "1970-01-01T00:00:00Z";
    let fresh = job(&format!(r#","id":"1","available_at":"{now}","updated_at":"{now}""#));
    assert_eq!(back.encode(), fresh.encode());
}

#[test]
fn a_failed_entry_tells_of_the_last_failure_and_of_another_queue_only() {
    let fail = |mut job: Job, found: &str| {
        job.found_on = Some(found.to_owned());
        let entry = job.into_failed_entry(&Failure::new(FailureKind::Trap, "no"), Timestamp::UNIX_EPOCH);
        Job::decode(entry.as_bytes()).expect("a job")
    };
    let once = fail(job(r#","queue":"mail""#), "mail");
    assert_eq!(once.failure().expect("a failure").queue, None);
    let twice = fail(once, "other");
    assert_eq!(twice.failure().expect("a failure").queue.as_deref(), Some("other"));
    assert_eq!(twice.extra.len(), 1);
}

#[test]
fn counters_beyond_what_they_hold_are_the_nearest_and_what_is_empty_counts_as_absent() {
    let odd = job(r#","attempts":-5,"lost":5000000000,"max_attempts":-1,"queue":"","error":"","timeout":0"#);
    assert_eq!((odd.attempts, odd.lost, odd.max_attempts), (0, u32::MAX, 1));
    assert_eq!(
        (odd.queue.as_ref(), odd.error.as_ref(), odd.timeout()),
        (None, None, None)
    );
    let json = job(r#","id":"1""#).encode();
    assert!(!json.contains("lost") && !json.contains("max_attempts"), "{json}");
}

#[test]
fn what_is_kept_is_counted_with_its_keys_to_the_byte() {
    let decode = |len: usize| {
        let (half, rest) = ("x".repeat(len / 2), "x".repeat(len - len / 2 - 12));
        Job::decode(format!(r#"{{"name":"a","metadata":{{"a":"{half}"}},"xx":"{rest}"}}"#).as_bytes())
    };
    assert!(decode(MAX_KEPT_BYTES).is_ok());
    let refused = decode(MAX_KEPT_BYTES + 1);
    assert!(matches!(refused, Err(DecodeError::KeptTooLarge { len }) if len == MAX_KEPT_BYTES + 1));
}

#[test]
fn only_an_entry_that_kiln_wrapped_is_unwrapped_and_control_characters_are_kept_as_base64() {
    let text = r#","payload":{"text":"{}"}"#;
    let trapped = job(text).into_failed_entry(&Failure::new(FailureKind::Trap, "no"), Timestamp::UNIX_EPOCH);
    assert!(unwrap_malformed(&Job::decode(trapped.as_bytes()).expect("a job")).is_none());
    for (bytes, is_text) in [(vec![b'a'; 9_000], true), (vec![1; 9_000], false)] {
        let why = DecodeError::Json("no".to_owned());
        let entry = wrap_malformed(&bytes, bytes.len(), "mail", &why, Timestamp::UNIX_EPOCH);
        let job = Job::decode(entry.as_bytes()).expect("a job");
        assert_eq!(job.payload.get().contains("text"), is_text);
        assert!(matches!(unwrap_malformed(&job), Some(Original::Whole(back)) if back == bytes));
    }
}

#[test]
fn of_what_is_not_all_here_a_bounded_beginning_is_kept_with_no_character_cut_in_two() {
    let why = || DecodeError::Json("no".to_owned());
    let kept = |bytes: &[u8]| {
        let entry = wrap_malformed(bytes, bytes.len() + 1, "mail", &why(), Timestamp::UNIX_EPOCH);
        Job::decode(entry.as_bytes()).expect("a job").error.expect("an error")
    };
    assert!(kept("aé".as_bytes()[..2].as_ref()).ends_with("only the first 1 bytes are kept"));
    assert!(kept(b"a\xffb").ends_with("only the first 3 bytes are kept"));
    assert!(kept(&vec![b'a'; KEPT_BYTES + 1]).ends_with("only the first 65536 bytes are kept"));
}

#[test]
fn a_job_expires_by_its_own_wish_or_by_what_its_plugin_says() {
    let hour = Duration::from_hours(1);
    let expires = |keys: &str, otherwise| {
        let job = job(&format!(r#","available_at":"2026-01-01T00:00:00Z"{keys}"#));
        let (options, ignored) = job.options();
        let at = job.expires(options.expires, otherwise);
        (at.map(|at| at.to_string()), ignored)
    };
    let wish = |value: &str| format!(r#","metadata":{{"kiln":{{"expires":{value}}}}}"#);
    let at = |time: &str| (Some(format!("2026-01-{time}Z")), None);
    assert_eq!(expires("", None), (None, None));
    assert_eq!(expires("", Some(hour)), at("01T01:00:00"));
    assert_eq!(expires(&wish(r#""90m""#), Some(hour)), at("01T01:30:00"));
    assert_eq!(
        expires(&wish(r#""2026-01-03T01:00:00+01:00""#), Some(hour)),
        at("03T00:00:00")
    );
    for (value, why) in [
        (r#""soon""#, "is neither a duration, like 10m, nor a time"),
        (r#""-1h""#, "is neither a duration"),
        (r#""0s""#, "must be more than 0"),
        ("10", "invalid type: integer"),
    ] {
        let (at, ignored) = expires(&wish(value), Some(hour));
        assert_eq!(at.as_deref(), Some("2026-01-01T01:00:00Z"), "{value}");
        let ignored = ignored.expect("it is told");
        assert!(ignored.starts_with("metadata.kiln.expires is ignored: "), "{ignored}");
        assert!(ignored.contains(why), "{ignored}");
    }
}

#[test]
fn a_job_grows_no_younger_by_a_retry_and_is_new_once_it_is_put_back() {
    let now: Timestamp = "2026-01-01T05:00:00Z".parse().unwrap();
    for (value, kept, revived) in [
        (r#""2h""#, Some("2026-01-01T02:00:00Z"), None),
        (r#""2026-01-01T03:00:00Z""#, Some("2026-01-01T03:00:00Z"), Some("never")),
        ("7", None, None),
    ] {
        let keys = format!(r#","available_at":"2026-01-01T00:00:00Z","metadata":{{"kiln":{{"expires":{value}}}}}"#);
        let mut job = job(&keys);
        job.delay("why".to_owned(), now, now);
        let mut job = Job::decode(job.encode().as_bytes()).unwrap();
        assert_eq!(job.expires_at.as_deref(), kept, "{value}");
        job.delay("why".to_owned(), now, now);
        assert_eq!(job.expires_at.as_deref(), kept, "{value}");
        job.reset(now);
        let job = Job::decode(job.encode().as_bytes()).unwrap();
        assert_eq!(job.expires_at.as_deref(), revived, "{value}");
        let expires = job.expires(job.options().0.expires, None);
        assert_eq!(expires.is_some(), value == r#""2h""#, "{value}: {expires:?}");
    }
}
