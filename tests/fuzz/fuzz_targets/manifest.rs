//! A manifest is refused in one line, or means what can be had.

#![no_main]

mod line;

use std::time::Duration;

use http::Uri;
use jiff::{SignedDuration, Timestamp};
use kiln::config::{MAX_CATCH_UP, Manifest, RetryPolicy, Schedule};
use kiln::retry::backoff;
use kiln::sandbox::{HttpGrants, Origin, granted_lines};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| match Manifest::parse(text) {
    Err(message) => line::assert_one(&message),
    Ok(manifest) => means_what_can_be_had(&manifest),
});

fn means_what_can_be_had(manifest: &Manifest) {
    assert_ne!(manifest.timeout, Some(Duration::ZERO));
    let _ = manifest.max_memory.map(|size| size.to_string());
    assert_ne!(manifest.expire, Some(Duration::ZERO));
    waits(&manifest.retry);
    manifest.schedules.iter().for_each(fires);
    match granted_lines(&manifest.grants) {
        Err(message) => line::assert_one(&message),
        Ok(granted) => {
            granted
                .iter()
                .flat_map(|(_, lines)| lines)
                .for_each(|granted| line::assert_one(granted));
            HttpGrants::read(&manifest.grants)
                .expect("they were read already")
                .iter()
                .for_each(|grant| covers(&grant.origin));
        }
    }
}

/// A schedule goes through Redis unchanged, its instants follow one another, and no more are made up for than may be.
fn fires(schedule: &Schedule) {
    let written = serde_json::to_string(schedule).expect("JSON");
    let read: Schedule = serde_json::from_str(&written).expect("what was written");
    assert_eq!(serde_json::to_string(&read).expect("JSON"), written);
    for from in [0, 1_774_746_000, 1_792_886_400].map(|second| Timestamp::from_second(second).expect("a time")) {
        let Some(next) = schedule.after(from) else {
            continue;
        };
        assert!(next > from, "{written}: {next} comes after {from}");
        assert!(schedule.has(next), "{written}: {next} is one of its instants");
        assert_eq!(read.after(from), Some(next), "{written}");
        let later = next
            .saturating_add(SignedDuration::from_hours(24))
            .expect("no calendar");
        let (fired, newest) = schedule.passed(from, later).expect("one has passed");
        assert!(fired.len() <= MAX_CATCH_UP && fired.is_sorted(), "{written}: {fired:?}");
        assert!(
            (next..=later).contains(&newest) && fired.iter().all(|instant| (next..=newest).contains(instant)),
            "{written}: {newest}, {fired:?}"
        );
    }
}

fn waits(policy: &RetryPolicy) {
    assert!((0.0..=1.0).contains(&policy.jitter));
    for attempts in [0, 1, 2, 60, 5_000, u32::MAX] {
        for luck in [0.0, 0.5, 0.999] {
            let wait = backoff(policy, attempts, luck);
            assert!(wait <= policy.max);
            assert!(
                wait.is_zero() || !policy.base.is_zero(),
                "{policy:?} waits for {wait:?}"
            );
        }
    }
}

/// An origin covers what it says: itself, or the names below its domain; and that is where requests can go.
fn covers(origin: &Origin) {
    let text = origin.to_string();
    line::assert_one(&text);
    assert_eq!(Origin::try_from(text.clone()).as_ref(), Ok(origin));
    let (scheme, rest) = text.split_once("://").expect("a scheme");
    let Some(domain) = rest.strip_prefix("*.") else {
        return assert_eq!(request(scheme, rest), *origin);
    };
    for below in ["a.", "a.b."] {
        assert!(origin.covers(&request(scheme, &format!("{below}{domain}"))));
        let other = if scheme == "https" { "http" } else { "https" };
        assert!(!origin.covers(&request(other, &format!("{below}{domain}"))));
    }
    assert!(!origin.covers(&request(scheme, domain)));
}

/// Where a request to that server goes.
fn request(scheme: &str, authority: &str) -> Origin {
    let uri: Uri = format!("{scheme}://{authority}/")
        .parse()
        .expect("a place for requests");
    Origin::new(scheme == "https", uri.host().expect("a host"), uri.port_u16())
}
