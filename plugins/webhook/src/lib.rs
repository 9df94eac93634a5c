//! Posts a job to a URL: `{"url": "https://…", "body": any JSON, "headers": {…}}` becomes `{"status": 204}`.
//!
//! Redirects are not followed: the operator granted the origins a job may reach, and a payload should name its target
//! itself.

use std::collections::BTreeMap;

use kiln_handler::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use kiln_handler::http::{self, ErrorKind};
use kiln_handler::{Failure, Job, OrFail, handler};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

handler!(handle);

fn handle(job: Job<Box<RawValue>>) -> Result<Sent, Failure> {
    let request = Request::new(&job)?;
    let sent = http::post(request.url)
        .headers(request.headers)
        .body(request.body)
        .redirects(0)
        .send();
    let answer = sent.map_err(|err| match err.kind() {
        // The host does not send such a request, now or later.
        ErrorKind::Invalid | ErrorKind::TooLarge => Failure::permanent(err.to_string()),
        _ => err.into(),
    })?;
    let status = answer.check_status()?.status().as_u16();
    Ok(Sent { status })
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

/// A POST as it is sent.
struct Request {
    url: String,
    headers: HeaderMap,
    body: String,
}

impl Request {
    /// Reads the job. Where its payload is none that can be sent, trying again would not help.
    fn new(job: &Job<Box<RawValue>>) -> Result<Self, Failure> {
        let payload: Payload = job.payload_as()?;
        let mut headers = parse_headers(&payload.headers)?;
        let (body, content_type) = match payload.body.map(RawValue::get) {
            None => (String::new(), None),
            // A string is sent as the text it holds, so that bodies need not be JSON.
            Some(text) if text.starts_with('"') => {
                let text = serde_json::from_str(text).or_permanent("body is not a valid string")?;
                (text, Some("text/plain; charset=utf-8"))
            }
            // As it was pushed: parsing it would round its numbers and break signatures made over it.
            Some(json) => (json.to_owned(), Some("application/json")),
        };
        if let Some(content_type) = content_type {
            headers
                .entry(CONTENT_TYPE)
                .or_insert(HeaderValue::from_static(content_type));
        }
        if !job.id.is_empty() {
            let id = HeaderValue::from_str(&job.id).or_permanent("job id does not fit a header")?;
            headers.entry("idempotency-key").or_insert(id);
        }
        let url = payload.url;
        Ok(Self { url, headers, body })
    }
}

fn parse_headers(texts: &BTreeMap<String, String>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in texts {
        // A value may be a secret.
        let value = HeaderValue::from_str(value).or_permanent(format_args!("the value of header {name}"))?;
        let name: HeaderName = name.parse().or_permanent(format_args!("header {name:?}"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(payload: &str) -> Result<Request, Failure> {
        let payload = RawValue::from_string(payload.to_owned()).unwrap();
        Request::new(&Job {
            id: "7f9c".to_owned(),
            ..Job::of("webhook", payload)
        })
    }

    #[test]
    fn json_is_sent_as_it_was_pushed() {
        let request = request(r#"{"url":"https://example.com/x?y=1","body":{"n": 1.0000000000000000001}}"#).unwrap();
        assert_eq!(request.body, r#"{"n": 1.0000000000000000001}"#);
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(request.headers["idempotency-key"], "7f9c");
        assert_eq!(request.url, "https://example.com/x?y=1");
    }

    #[test]
    fn a_string_is_sent_as_the_text_it_holds() {
        let sent = request(r#"{"url":"http://h","body":"a\nb"}"#).unwrap();
        assert_eq!(
            (sent.body.as_str(), &sent.headers["content-type"]),
            ("a\nb", &"text/plain; charset=utf-8".parse().unwrap())
        );
        let none = request(r#"{"url":"http://h","body":null}"#).unwrap();
        assert!(none.body.is_empty() && !none.headers.contains_key("content-type"));
    }

    #[test]
    fn the_payload_has_the_last_word_on_headers() {
        let headers = r#"{"Content-Type":"application/xml","Idempotency-Key":"mine"}"#;
        let request = request(&format!(r#"{{"url":"http://h","body":"<a/>","headers":{headers}}}"#)).unwrap();
        assert_eq!(request.headers["content-type"], "application/xml");
        assert_eq!(request.headers["idempotency-key"], "mine");
    }

    #[test]
    fn what_cannot_be_sent_is_told_by_name() {
        let error = |payload| match request(payload) {
            Err(Failure::Permanent(why)) => why,
            other => panic!("{payload}: {:?}", other.err()),
        };
        assert!(error("null").starts_with("payload: "));
        assert!(error(r#"{"url":5}"#).starts_with("payload: url: "));
        assert!(error(r#"{"url":"http://h","headers":{"a b":"c"}}"#).starts_with(r#"header "a b": "#));
        assert!(error(r#"{"url":"http://h","headers":{"a":"b\nc"}}"#).starts_with("the value of header a: "));
    }
}
