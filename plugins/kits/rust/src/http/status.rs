//! What an answer's status means for the job.

use std::time::{Duration, SystemTime};

use ::http::StatusCode;

use crate::Failure;

/// What becomes of the job that was answered so: `message` tells of the answer, `retry_after` is the header.
pub(super) fn failure(status: StatusCode, message: String, retry_after: Option<&str>, now: SystemTime) -> Failure {
    match status.as_u16() {
        429 | 503 => match retry_after.and_then(|value| wait(value, now)) {
            Some(wait) => Failure::RetryAfter(message, wait),
            None => Failure::Retry(message),
        },
        // Too slow, too early: the server asks for the same request again.
        408 | 425 => Failure::Retry(message),
        300..=499 => Failure::Permanent(message),
        _ => Failure::Retry(message),
    }
}

/// The time from now, from either form of the header: seconds, or a date. The plugin's retry policy bounds it.
fn wait(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
}

/// A server's text as it may stand in a log line.
pub(super) fn one_line(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn failure_of(status: u16, retry_after: Option<&str>) -> Failure {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_767);
        failure(
            StatusCode::from_u16(status).unwrap(),
            "so it is".to_owned(),
            retry_after,
            now,
        )
    }

    #[test]
    fn a_status_decides_what_becomes_of_the_job() {
        for status in [302, 400, 404, 422] {
            assert!(
                matches!(failure_of(status, Some("9")), Failure::Permanent(_)),
                "{status}"
            );
        }
        for status in [408, 425, 500, 502] {
            assert!(matches!(failure_of(status, Some("9")), Failure::Retry(_)), "{status}");
        }
        assert!(matches!(failure_of(503, None), Failure::Retry(_)));
        assert!(matches!(failure_of(429, Some("soon")), Failure::Retry(_)));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let wait = |value| match failure_of(429, Some(value)) {
            Failure::RetryAfter(_, wait) => wait,
            other => panic!("{value}: {other:?}"),
        };
        assert_eq!(wait("7"), Duration::from_secs(7));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Duration::from_secs(10));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:00 GMT"), Duration::ZERO);
        assert_eq!(wait("18446744073709551615"), Duration::from_secs(u64::MAX));
    }

    #[test]
    fn a_servers_text_is_one_line() {
        assert_eq!(one_line(b"so\n it\x1b is "), "so it is");
    }
}
