//! A manifest is refused in one line, or means what can be had.

#![no_main]

mod line;

use std::time::Duration;

use http::Uri;
use kiln::config::{Manifest, RetryPolicy};
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
    waits(&manifest.retry);
    match granted_lines(&manifest.grants) {
        Err(message) => line::assert_one(&message),
        Ok(_) => HttpGrants::read(&manifest.grants)
            .expect("they were read already")
            .iter()
            .for_each(|grant| covers(&grant.origin)),
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
