//! Posts a job to a URL: `{"url": "https://…", "body": any JSON, "headers": {…}}` becomes `{"status": 204}`.
//!
//! What is sent and what an answer means is decided here, without doing it; `post` does it. Redirects are not
//! followed: the operator granted the origins a job may reach, and a payload should name its target itself.

mod post;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Uri};
use kiln_handler::{Failure, Job, handler, remaining};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use post::{Answer, PostError};

/// What is kept of the attempt's time, so that a slow server is reported here and not as a handler that hangs.
const MARGIN: Duration = Duration::from_millis(250);

/// The longest wait a server can ask for: a day. A mistyped date should not park a job for years.
const RETRY_AFTER_LIMIT: Duration = Duration::from_hours(24);

handler!(handle);

fn handle(job: Job<Box<RawValue>>) -> Result<Sent, Failure> {
    let request = Request::new(&job).map_err(Failure::Permanent)?;
    let timeout = remaining().saturating_sub(MARGIN).max(Duration::from_millis(1));
    let answer = post::post(&request, timeout).map_err(|err| match err {
        PostError::Refused(why) => Failure::Permanent(format!("request to {} is refused: {why}", request.host())),
        PostError::Network(why) => Failure::Retry(format!("no answer from {}: {why}", request.host())),
    })?;
    judge(request.host(), &answer, SystemTime::now())
}

#[derive(Deserialize)]
struct Payload<'a> {
    url: String,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Sent {
    status: u16,
}

/// A POST that can be sent as it is.
struct Request {
    url: Uri,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Request {
    /// Reads the job. An error tells what is wrong with the payload; trying again would not help.
    fn new(job: &Job<Box<RawValue>>) -> Result<Self, String> {
        let payload: Payload = serde_json::from_str(job.payload.get())
            .map_err(|err| format!(r#"payload is not {{"url": "https://…", "body": …, "headers": {{…}}}}: {err}"#))?;
        let url = parse_url(&payload.url)?;
        let mut headers = parse_headers(&payload.headers)?;
        let (body, content_type) = match payload.body.map(RawValue::get) {
            None => (String::new(), None),
            // A string is sent as the text it holds, so that bodies need not be JSON.
            Some(text) if text.starts_with('"') => {
                let text = serde_json::from_str(text).map_err(|err| format!("body is not a valid string: {err}"))?;
                (text, Some("text/plain; charset=utf-8"))
            }
            // As it was pushed: parsing it would round its numbers and break signatures made over it.
            Some(json) => (json.to_owned(), Some("application/json")),
        };
        if let Some(content_type) = content_type {
            headers
                .entry(header::CONTENT_TYPE)
                .or_insert(HeaderValue::from_static(content_type));
        }
        if !job.id.is_empty() {
            let id = HeaderValue::from_str(&job.id).map_err(|_| format!("job id does not fit a header: {}", job.id))?;
            headers.entry("idempotency-key").or_insert(id);
        }
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        Ok(Self {
            url,
            headers,
            body: body.into_bytes(),
        })
    }

    /// Who is asked. Messages name this and not the URL, whose path or query often is the secret.
    fn host(&self) -> &str {
        self.url.authority().map_or("", |authority| authority.as_str())
    }
}

fn parse_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|err| format!("url is not valid: {err}"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err("url does not start with http:// or https://".to_owned());
    }
    if url
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err("url holds a user name: send an authorization header instead".to_owned());
    }
    Ok(url)
}

fn parse_headers(texts: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in texts {
        let name: HeaderName = name.parse().map_err(|_| format!("header name is not valid: {name}"))?;
        let value = HeaderValue::from_str(value).map_err(|_| format!("header value is not valid: {name}"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// What the server's answer means for the job.
fn judge(host: &str, answer: &Answer, now: SystemTime) -> Result<Sent, Failure> {
    let status = answer.status;
    let name = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default();
    let message = format!("{host} answered {status} {name}: {}", one_line(&answer.start));
    match status {
        200..=299 => Ok(Sent { status }),
        300..=399 => {
            let location = one_line(&answer.location);
            Err(Failure::Permanent(format!(
                "{host} answered {status}, and redirects are not followed: to {location}"
            )))
        }
        429 | 503 => match answer.retry_after.as_deref().and_then(|value| retry_after(value, now)) {
            Some(wait) => Err(Failure::RetryAfter(message, wait)),
            None => Err(Failure::Retry(message)),
        },
        // Too slow, too early: the server asks for the same request again.
        408 | 425 => Err(Failure::Retry(message)),
        400..=499 => Err(Failure::Permanent(message)),
        _ => Err(Failure::Retry(message)),
    }
}

/// The time from now, from either form of the header: seconds, or a date.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value)
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    };
    Some(wait.min(RETRY_AFTER_LIMIT))
}

/// A server's text as it may stand in a log line.
fn one_line(bytes: &[u8]) -> String {
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

    fn request(payload: &str) -> Result<Request, String> {
        let payload = RawValue::from_string(payload.to_owned()).unwrap();
        Request::new(&Job {
            id: "7f9c".to_owned(),
            ..Job::of("webhook", payload)
        })
    }

    fn outcome(status: u16, retry_after: Option<&str>) -> Result<Sent, Failure> {
        let retry_after = retry_after.map(str::to_owned);
        let answer = Answer {
            status,
            retry_after,
            location: Vec::new(),
            start: b"so\n it\x1b is".to_vec(),
        };
        judge("example.com", &answer, UNIX_EPOCH + Duration::from_secs(784_111_767))
    }

    #[test]
    fn json_is_sent_as_it_was_pushed() {
        let request = request(r#"{"url":"https://example.com/x?y=1","body":{"n": 1.0000000000000000001}}"#).unwrap();
        assert_eq!(request.body, br#"{"n": 1.0000000000000000001}"#);
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(request.headers["content-length"], "28");
        assert_eq!(request.headers["idempotency-key"], "7f9c");
        assert_eq!(request.host(), "example.com");
    }

    #[test]
    fn a_string_is_sent_as_the_text_it_holds() {
        let sent = request(r#"{"url":"http://h","body":"a\nb"}"#).unwrap();
        assert_eq!(
            (sent.body.as_slice(), &sent.headers["content-type"]),
            (&b"a\nb"[..], &"text/plain; charset=utf-8".parse().unwrap())
        );
        let none = request(r#"{"url":"http://h","body":null}"#).unwrap();
        assert!(none.body.is_empty() && !none.headers.contains_key("content-type"));
    }

    #[test]
    fn the_payload_has_the_last_word_on_headers() {
        let headers = r#"{"Content-Type":"application/xml","Idempotency-Key":"mine","Content-Length":"9"}"#;
        let request = request(&format!(r#"{{"url":"http://h","body":"<a/>","headers":{headers}}}"#)).unwrap();
        assert_eq!(request.headers["content-type"], "application/xml");
        assert_eq!(request.headers["idempotency-key"], "mine");
        assert_eq!(request.headers["content-length"], "4");
    }

    #[test]
    fn what_cannot_be_sent_is_told_by_name() {
        let error = |payload| request(payload).err().unwrap();
        assert!(error("null").starts_with("payload is not"));
        assert!(error(r#"{"url":"http://exa mple.com"}"#).starts_with("url is not valid"));
        assert!(error(r#"{"url":"example.com"}"#).starts_with("url does not start with http"));
        assert!(error(r#"{"url":"ftp://example.com"}"#).starts_with("url does not start with http"));
        assert!(error(r#"{"url":"http://me:secret@example.com"}"#).starts_with("url holds a user name"));
        assert!(error(r#"{"url":"http://h","headers":{"a b":"c"}}"#).ends_with("a b"));
        assert!(error(r#"{"url":"http://h","headers":{"a":"b\nc"}}"#).ends_with("a"));
    }

    #[test]
    fn an_answer_decides_what_becomes_of_the_job() {
        assert_eq!(outcome(204, None).unwrap().status, 204);
        assert!(matches!(outcome(302, None), Err(Failure::Permanent(_))));
        assert!(
            matches!(outcome(404, Some("9")), Err(Failure::Permanent(why)) if why.ends_with("404 Not Found: so it is"))
        );
        assert!(matches!(outcome(408, None), Err(Failure::Retry(_))));
        assert!(matches!(outcome(500, Some("9")), Err(Failure::Retry(_))));
        assert!(matches!(outcome(503, None), Err(Failure::Retry(_))));
        assert!(matches!(outcome(429, Some("soon")), Err(Failure::Retry(_))));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_at_most_a_day() {
        let wait = |value| match outcome(429, Some(value)) {
            Err(Failure::RetryAfter(_, wait)) => wait,
            other => panic!("{value}: {other:?}"),
        };
        assert_eq!(wait("7"), Duration::from_secs(7));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Duration::from_secs(10));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:00 GMT"), Duration::ZERO);
        assert_eq!(wait("18446744073709551615"), RETRY_AFTER_LIMIT);
    }
}
