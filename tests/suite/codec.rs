//! The job format: what dg-queue's encoder writes must come through a retry with nothing changed that is not ours.

use std::collections::BTreeMap;

use kiln::config::RetryPolicy;
use kiln::job::{
    DecodeError, Job, MAX_EXTRA_KEYS, MAX_JOB_BYTES, MAX_KEPT_BYTES, MAX_KEY_BYTES, MAX_PAYLOAD_BYTES, MAX_TEXT_BYTES,
    wrap_malformed,
};
use kiln::outcome::{Failure, FailureKind, Outcome, RetryHint, Settlement};
use kiln::queue::FailedEntry;
use kiln::retry::{self, Moment};
use kiln::text::{MAX_LINE_BYTES, is_hidden};
use proptest::prelude::*;
use serde_json::value::RawValue;

/// 200 jobs as dg-queue's Go encoder writes them.
const SAMPLE: &str = include_str!("../data/dg-queue-jobs.ndjson");

/// What a retry may change.
const OURS: [&str; 8] = [
    "attempts",
    "delay",
    "available_at",
    "updated_at",
    "started_at",
    "failed_at",
    "error",
    "lost",
];

fn keys(json: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(json).expect("an object")
}

/// The keys in the order they stand in.
fn order(json: &str) -> Vec<String> {
    struct Order(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Order {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Order;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<M: serde::de::MapAccess<'de>>(self, mut map: M) -> Result<Order, M::Error> {
                    let mut order = Vec::new();
                    while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                        order.push(key);
                    }
                    Ok(Order(order))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    serde_json::from_str::<Order>(json).expect("an object").0
}

fn retried(json: &str) -> String {
    let mut job = Job::decode(json.as_bytes()).expect("a job");
    job.max_attempts = u32::MAX;
    let policy = RetryPolicy {
        max_attempts: u32::MAX,
        ..RetryPolicy::default()
    };
    let outcome = Outcome::Failed {
        failure: Failure::new(FailureKind::Error, "no"),
        retry: RetryHint::ByPolicy,
    };
    let at = Moment {
        now: jiff::Timestamp::now(),
        luck: 0.5,
    };
    match retry::settle(&policy, job, outcome, at) {
        Settlement::Retry { job, .. } => job,
        other => panic!("not retried: {other:?}"),
    }
}

#[test]
fn every_sample_job_survives_decoding_and_encoding_key_for_key() {
    assert_eq!(SAMPLE.lines().count(), 200);
    for line in SAMPLE.lines() {
        let encoded = Job::decode(line.as_bytes()).expect(line).encode();
        assert_eq!(order(&encoded), order(line));
        let (before, after) = (keys(line), keys(&encoded));
        for (key, value) in &before {
            // Strings may be escaped another way, never differ; raw values are the same bytes.
            let same = |json: &RawValue| serde_json::from_str::<serde_json::Value>(json.get()).expect("json");
            assert_eq!(same(&after[key]), same(value), "{key} of {line}");
        }
        assert_eq!(after["payload"].get(), before["payload"].get());
    }
}

#[test]
fn every_sample_job_keeps_its_payload_and_all_that_is_not_ours_through_a_retry() {
    for line in SAMPLE.lines() {
        let (before, after) = (keys(line), keys(&retried(line)));
        let attempts =
            |keys: &BTreeMap<String, Box<RawValue>>| keys["attempts"].get().parse::<u32>().expect("a number");
        assert_eq!(attempts(&after), attempts(&before) + 1);
        for (key, value) in before
            .iter()
            .filter(|(key, _)| !OURS.contains(&key.as_str()) && *key != "max_attempts")
        {
            assert_eq!(after[key].get(), value.get(), "{key} of {line}");
        }
    }
}

#[test]
fn a_job_typed_by_hand_gets_dg_queues_defaults() {
    let job = Job::decode(br#"{"name":"hello"}"#).expect("a job");
    assert_eq!(
        (
            job.payload.get(),
            job.attempts,
            RetryPolicy::default().attempts_of(&job),
            job.timeout()
        ),
        ("null", 0, 3, None)
    );
    assert!(!job.id.is_empty());
}

#[test]
fn keys_of_null_count_as_absent_and_the_last_of_two_counts() {
    let job = Job::decode(br#"{"name":"a","queue":null,"error":null,"metadata":null,"attempts":null,"name":"b"}"#);
    let job = job.expect("a job");
    assert_eq!(
        (&*job.name, &job.queue, &job.error, job.attempts),
        ("b", &None, &None, 0)
    );
    assert!(job.metadata.is_none());
}

#[test]
fn the_last_of_two_keys_counts_where_they_are_not_ours_too() {
    let job = Job::decode(br#"{"name":"a","x":1,"x":[ ]}"#).expect("a job");
    assert_eq!(job.extra("x").map(RawValue::get), Some("[ ]"));
    let job = Job::decode(job.encode().as_bytes()).expect("a job");
    assert_eq!(job.extra.len(), 2);
}

#[test]
fn what_is_no_job_is_quoted_in_one_bounded_line() {
    let long = format!("{{\"name\":\"a\",\"attempts\":\"{}\"}}", "\u{85}é".repeat(100_000));
    let err = Job::decode(long.as_bytes()).expect_err("it is long").to_string();
    assert!(err.len() < MAX_LINE_BYTES + 100 && !err.contains(is_hidden), "{err}");
}

#[test]
fn what_is_no_job_is_refused_with_a_reason() {
    let cases: [(&[u8], &str); 9] = [
        (b"", "EOF"),
        (b"hello", "expected value"),
        (b"[]", "expected a JSON object"),
        (b"{}", "it has no name"),
        (br#"{"name":""}"#, "it has no name"),
        (br#"{"name":"a","attempts":"1"}"#, "key \"attempts\""),
        (br#"{"name":"a","metadata":[]}"#, "key \"metadata\": expected an object"),
        (br#"{"name":"a"} trailing"#, "trailing"),
        (b"{\"name\":\"\xff\"}", "unicode"),
    ];
    for (bytes, why) in cases {
        let err = Job::decode(bytes).expect_err(why).to_string();
        assert!(err.contains(why) && !err.contains('\n'), "{err}");
    }
    let huge = vec![b' '; MAX_JOB_BYTES + 1];
    assert!(matches!(Job::decode(&huge), Err(DecodeError::TooLarge { .. })));
    let heavy = format!(
        "{{\"name\":\"a\",\"payload\":\"{}\"}}",
        "x".repeat(MAX_PAYLOAD_BYTES - 1)
    );
    assert!(matches!(
        Job::decode(heavy.as_bytes()),
        Err(DecodeError::PayloadTooLarge { .. })
    ));
}

#[test]
fn a_value_of_another_type_is_told_with_its_key_and_with_what_is_expected() {
    let time = "expected a time as RFC 3339 has it, like \"2026-12-24T18:00:00Z\"";
    for (json, why) in [
        (r#""id":7"#, "key \"id\": invalid type: integer `7`, expected a string"),
        (
            r#""name":["a"]"#,
            "key \"name\": invalid type: sequence, expected a string",
        ),
        (
            r#""created_at":1764000000"#,
            &*format!("key \"created_at\": invalid type: integer `1764000000`, {time}"),
        ),
        (
            r#""available_at":{}"#,
            &*format!("key \"available_at\": invalid type: map, {time}"),
        ),
        (
            r#""timeout":"30s""#,
            "key \"timeout\": invalid type: string \"30s\", expected a whole number of nanoseconds, like 30000000000 for 30 s",
        ),
        (
            r#""delay":1.5"#,
            "key \"delay\": invalid type: floating point `1.5`, expected a whole number of nanoseconds",
        ),
        (
            r#""timeout":9223372036854775808"#,
            "key \"timeout\": invalid value: integer `9223372036854775808`, expected a whole",
        ),
        (
            r#""attempts":true"#,
            "key \"attempts\": invalid type: boolean `true`, expected a whole number",
        ),
    ] {
        let err = Job::decode(format!("{{\"name\":\"a\",{json}}}").as_bytes())
            .expect_err(json)
            .to_string();
        assert!(err.starts_with(&format!("not a job: {why}")), "{err}");
    }
}

#[test]
fn an_entry_of_what_is_no_job_keeps_its_id_and_name_and_gives_the_bytes_back() {
    for (bytes, id, name) in [
        (&br#"{"id":7,"name":"mail","payload":[[]]}"#[..], Some("7"), "mail"),
        (br#"{"name":"mail","id":"x","timeout":"30s"}"#, Some("x"), "mail"),
        (br#"{"name":"mail","id":"x","payload":{"#, Some("x"), "mail"),
        (br#"{"name":null,"id":{}}"#, None, "malformed"),
        (b"mail", None, "malformed"),
    ] {
        let err = Job::decode(bytes).expect_err("no job");
        let entry = wrap_malformed(bytes, bytes.len(), "default", &err, jiff::Timestamp::now());
        let job = Job::decode(entry.as_bytes()).expect("a job");
        assert_eq!(job.name, name);
        assert!(id.is_none_or(|id| id == job.id), "{}", job.id);
        let (_, back) = FailedEntry::new(entry.into_bytes())
            .revived(jiff::Timestamp::now())
            .expect("the bytes");
        assert_eq!(back, bytes);
    }
}

#[test]
fn no_job_costs_more_memory_than_a_little_beside_its_length() {
    let refused = |json: String| Job::decode(json.as_bytes()).expect_err("too much").to_string();
    let keys = |count: usize| (0..count).map(|n| format!(",\"k{n}\":0")).collect::<Vec<_>>().concat();
    assert!(Job::decode(format!("{{\"name\":\"a\"{}}}", keys(MAX_EXTRA_KEYS)).as_bytes()).is_ok());
    let most = format!("not a job: it has more than {MAX_EXTRA_KEYS} keys that are not a job's");
    for count in [MAX_EXTRA_KEYS + 1, 1_000_000] {
        let err = refused(format!("{{\"name\":\"a\"{}}}", keys(count)));
        assert!(err.starts_with(&most), "{err}");
    }
    let err = refused(format!("{{\"name\":\"a\",\"{}\":0}}", "k".repeat(MAX_KEY_BYTES + 1)));
    assert!(
        err.starts_with("not a job: a key has 257 bytes, at most 256 are taken: \"kkk"),
        "{err}"
    );
    let err = refused(format!(
        "{{\"name\":\"a\",\"id\":\"{}\"}}",
        "x".repeat(MAX_TEXT_BYTES + 1)
    ));
    assert!(
        err.starts_with("not a job: key \"id\": 1025 bytes, at most 1024 are taken"),
        "{err}"
    );
    let kept = "x".repeat(MAX_KEPT_BYTES / 2);
    let err = refused(format!(r#"{{"name":"a","metadata":{{"a":"{kept}"}},"x":"{kept}"}}"#));
    assert!(
        err.starts_with("metadata and unknown keys are too large: 1258"),
        "{err}"
    );
}

#[test]
fn nesting_as_deep_as_a_payload_is_long_is_kept_as_it_came() {
    let deep = format!(
        "{}{}",
        "[".repeat(MAX_PAYLOAD_BYTES / 2),
        "]".repeat(MAX_PAYLOAD_BYTES / 2)
    );
    let job = Job::decode(format!(r#"{{"name":"a","payload":{deep}}}"#).as_bytes()).expect("a job");
    assert_eq!(job.payload.get(), deep);
}

/// The largest job there is: every part of it as long as it may be, and nothing that the next attempt could leave out.
#[test]
fn a_job_that_was_taken_once_can_always_be_retried() {
    let text = |letter: &str| letter.repeat(MAX_TEXT_BYTES);
    let quoted = |letter: &str| serde_json::to_string(&text(letter)).expect("json");
    let payload = format!("\"{}\"", "p".repeat(MAX_PAYLOAD_BYTES - 2));
    let keys: Vec<_> = (0..MAX_EXTRA_KEYS)
        .map(|n| {
            format!(
                ",{}:0",
                serde_json::to_string(&format!("{n:\0<MAX_KEY_BYTES$}")).expect("json")
            )
        })
        .collect();
    let keys = keys.concat();
    let meta = "m".repeat(MAX_KEPT_BYTES - MAX_EXTRA_KEYS * (MAX_KEY_BYTES + 1) - 10);
    let mut json = format!(
        r#"{{"id":{},"name":{},"queue":{},"created_at":{},"completed_at":{},"payload":{payload},"metadata":{{"a":"{meta}"}}{keys}}}"#,
        quoted("\u{1}"),
        quoted("\u{2}"),
        quoted("\u{3}"),
        quoted("\u{4}"),
        quoted("\u{5}"),
    );
    for _ in 0..3 {
        let mut job = Job::decode(json.as_bytes()).expect("a job, every time");
        job.max_attempts = 9;
        let outcome = Outcome::Failed {
            failure: Failure::new(FailureKind::Error, "\"".repeat(MAX_LINE_BYTES)),
            retry: RetryHint::ByPolicy,
        };
        let at = Moment {
            now: jiff::Timestamp::now(),
            luck: 0.5,
        };
        match retry::settle(&RetryPolicy::default(), job, outcome, at) {
            Settlement::Retry { job, .. } => json = job,
            other => panic!("not retried: {other:?}"),
        }
    }
}

/// JSON text as any producer may write it, spaces and all.
fn json() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        "-?(0|[1-9][0-9]{0,30})",
        "-?(0|[1-9][0-9]{0,5})\\.[0-9]{1,20}([eE][+-]?[0-9]{1,3})?"
    ];
    let string = prop_oneof![
        any::<String>().prop_map(|text| serde_json::to_string(&text).expect("json")),
        "\"(\\\\u[0-9a-f]{4}|\\\\[\"\\\\/bfnrt]|[ a-z]){0,10}\"",
    ];
    let leaf = prop_oneof![Just("null".to_owned()), Just("true".to_owned()), number, string.clone()];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        let pair =
            (string.clone(), "[ \n]?", inner.clone()).prop_map(|(key, space, value)| format!("{key}{space}:{value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(|items| format!("[{}]", items.join(" ,"))),
            prop::collection::vec(pair, 0..6).prop_map(|pairs| format!("{{{}}}", pairs.join(", "))),
        ]
    })
}

proptest! {
    #[test]
    fn payload_and_unknown_keys_keep_every_byte_through_a_retry(
        payload in json(), extra in prop::collection::btree_map("x-[a-z]{1,8}", json(), 0..4), id in any::<String>(),
        attempts in 0..1000_u32,
    ) {
        let id = serde_json::to_string(&id).expect("json");
        let extras: Vec<_> = extra.iter().map(|(key, value)| format!(",\"{key}\":{value}")).collect();
        let extras = extras.concat();
        let line = format!("{{\"id\":{id},\"payload\":{payload},\"attempts\":{attempts}{extras},\"name\":\"n\"}}");
        let after = keys(&retried(&line));
        prop_assert_eq!(after["payload"].get(), payload);
        prop_assert_eq!(after["attempts"].get(), (attempts + 1).to_string());
        for (key, value) in extra {
            prop_assert_eq!(after[&key].get(), value);
        }
    }

    #[test]
    fn decoding_what_was_encoded_changes_nothing(payload in json(), name in "[^\"\\\\\\p{C}]{1,20}") {
        let line = format!("{{\"payload\":{payload},\"name\":\"{name}\",\"timeout\":5}}");
        let once = Job::decode(line.as_bytes()).expect("a job").encode();
        prop_assert_eq!(&Job::decode(once.as_bytes()).expect("a job").encode(), &once);
    }

    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..400_usize) {
        let _ = Job::decode(&bytes);
        let sample = SAMPLE.lines().next().expect("a line").as_bytes();
        let _ = Job::decode(&sample[..cut.min(sample.len())]);
    }
}
