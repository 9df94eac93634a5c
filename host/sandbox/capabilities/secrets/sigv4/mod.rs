//! `expose = "sigv4"`: signs requests as AWS and the stores that speak its protocol want it, Signature Version 4.
//!
//! The signature covers the method, the path, the query, the host, the type of the body and every header that begins with
//! `x-amz-`; and the body, where it is not sent as `UNSIGNED-PAYLOAD`. What signature a handler's library has made is
//! replaced. Absent on purpose: signed chunks of a body (`STREAMING-AWS4-HMAC-SHA256-PAYLOAD`), whose signatures stand in
//! the body itself.

mod request;

use std::fmt;

use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use jiff::Timestamp;
use serde::Deserialize;
use wasmtime_wasi_http::Error;

use request::{Request, S3, SigningKey, digest};

use super::denied::denied;
use crate::sandbox::capabilities::denied::Denied;
use crate::sandbox::capabilities::http::{Origin, Refusal, Sign, Signing};

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// What stands for the digest of a body that the signature does not cover.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The same where checksums follow the body.
const UNSIGNED_WITH_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// What a manifest says of a signing key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Terms {
    /// The key's name, which requests tell. None: it stands in the secret's value, beside the key.
    access_key_id: Option<String>,
    region: String,
    #[serde(default = "s3")]
    service: String,
    payload: Option<PayloadTerms>,
}

/// Whether signatures cover bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PayloadTerms {
    Signed,
    Unsigned,
}

fn s3() -> String {
    S3.to_owned()
}

/// What `aws configure export-credentials` and other processes that hand out credentials write.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Exported {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

impl Terms {
    /// Whether they can be meant.
    pub(super) fn check(&self) -> Result<(), String> {
        let parts = [
            ("access_key_id", self.access_key_id.as_deref()),
            ("region", Some(&*self.region)),
            ("service", Some(&*self.service)),
        ];
        let wrong = parts
            .iter()
            .find(|(_, part)| part.is_some_and(|part| !is_part_of_scope(part)));
        wrong.map_or(Ok(()), |(name, _)| {
            Err(format!("{name}: expected a word without white space, / and ,"))
        })
    }

    /// What signs with a secret's value.
    pub(super) fn signer(&self, name: &str, origin: &Origin, value: &str) -> Result<SigV4, String> {
        let (access_key_id, key, token) = if let Some(id) = &self.access_key_id {
            (id.clone(), value.to_owned(), None)
        } else {
            // The error's own words would quote the value.
            let exported: Exported = serde_json::from_str(value).map_err(|_| {
                "its value is no JSON with AccessKeyId and SecretAccessKey, as `aws configure export-credentials` writes \
                 it, and the manifest names no access_key_id"
                    .to_owned()
            })?;
            (
                exported.access_key_id,
                exported.secret_access_key,
                exported.session_token,
            )
        };
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err("its value is no secret access key: it is empty or holds white space".to_owned());
        }
        if !is_part_of_scope(&access_key_id) {
            return Err("its AccessKeyId is none".to_owned());
        }
        let token = token.map(|token| {
            let mut token = HeaderValue::try_from(token).map_err(|_| "its SessionToken cannot stand in a header")?;
            token.set_sensitive(true);
            Ok::<_, &str>(token)
        });
        let unsigned = match self.payload {
            Some(payload) => payload == PayloadTerms::Unsigned,
            // Only stores take it, and only TLS keeps the body from being changed under way.
            None => self.service == S3 && origin.is_https(),
        };
        Ok(SigV4 {
            name: name.to_owned(),
            origin: origin.clone(),
            key: SigningKey {
                id: access_key_id,
                secret: key,
                region: self.region.clone(),
                service: self.service.clone(),
            },
            token: token.transpose()?,
            unsigned,
        })
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by sigv4 for {} in {}", self.service, self.region)?;
        match &self.access_key_id {
            Some(id) => write!(f, " as {id}"),
            None => Ok(()),
        }
    }
}

/// Whether it can be a part of what a signature is valid for, whose parts stand between slashes.
fn is_part_of_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"/,".contains(&b))
}

/// Signs with one key.
pub(super) struct SigV4 {
    name: String,
    origin: Origin,
    key: SigningKey,
    token: Option<HeaderValue>,
    unsigned: bool,
}

/// What a header of the guest says of its body.
enum Payload {
    /// What stands for the body's digest is known.
    Known(String),
    /// The host makes the digest.
    ToDigest,
    /// Its chunks are signed with a key that the guest has made up.
    InSignedChunks,
}

impl SigV4 {
    fn payload(&self, headers: &HeaderMap) -> Payload {
        let said = headers.get(CONTENT_SHA256).and_then(|said| said.to_str().ok());
        match said {
            // The server compares it with the body.
            Some(said) if is_digest(said) || said == UNSIGNED_WITH_TRAILER => Payload::Known(said.to_owned()),
            Some(said) if said.starts_with("STREAMING-") => Payload::InSignedChunks,
            _ if self.unsigned => Payload::Known(UNSIGNED.to_owned()),
            _ => Payload::ToDigest,
        }
    }

    fn add(&self, head: &mut Parts, body: &[u8], now: Timestamp) -> Result<(), Refusal> {
        if is_signed_already(&head.uri) {
            return Ok(());
        }
        let payload = match self.payload(&head.headers) {
            Payload::Known(said) => said,
            Payload::ToDigest => digest(body),
            Payload::InSignedChunks => return Err(Refusal::Denied(self.chunked())),
        };
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let headers = &mut head.headers;
        for old in [&AUTHORIZATION, &DATE, &SECURITY_TOKEN, &CONTENT_SHA256] {
            headers.remove(old);
        }
        let ascii = |text: &str| HeaderValue::try_from(text).map_err(|_| Error::ConfigurationError);
        headers.insert(DATE, ascii(&time)?);
        headers.insert(CONTENT_SHA256, ascii(&payload)?);
        if let Some(token) = &self.token {
            headers.insert(SECURITY_TOKEN, token.clone());
        }
        let request = Request {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            headers,
            names: headers.keys().filter(|name| is_signed(name)).cloned().collect(),
            payload: &payload,
            time: &time,
        };
        let mut authorization = ascii(&request.authorization(&self.key))?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        Ok(())
    }

    fn chunked(&self) -> Denied {
        let (name, origin) = (&self.name, &self.origin);
        denied(format!(
            "http request to {origin}: its body comes in chunks that the handler has signed, and the secret {name} cannot; \
             have its client send them unsigned (x-amz-content-sha256: {UNSIGNED_WITH_TRAILER}) or whole; see \
             [grants.secrets.{name}] in"
        ))
    }
}

impl Sign for SigV4 {
    fn may_need_body(&self) -> bool {
        true
    }

    fn needs_body(&self, head: &Parts, length: Option<u64>) -> bool {
        if is_signed_already(&head.uri) {
            return false;
        }
        // S3 takes no body whose length it is not told.
        let has_no_length = || length.is_none() && !head.headers.contains_key(CONTENT_LENGTH);
        match self.payload(&head.headers) {
            Payload::ToDigest => true,
            Payload::Known(_) => self.key.service == S3 && has_no_length(),
            Payload::InSignedChunks => false,
        }
    }

    fn sign<'a>(&'a self, signing: Signing<'a>) -> BoxFuture<'a, Result<(), Refusal>> {
        let added = self.add(signing.head, signing.body, Timestamp::now());
        Box::pin(async { added })
    }
}

/// Whether somebody else has signed a URL: it needs no other signature, and allows none.
fn is_signed_already(url: &Uri) -> bool {
    let mut query = url.query().unwrap_or_default().split('&');
    query.any(|pair| pair.starts_with("X-Amz-Signature="))
}

/// The headers that have to be signed. Proxies change others.
fn is_signed(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-amz-") || ["host", "content-type", "content-md5"].contains(&name)
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use http::Request as HttpRequest;

    use super::*;

    fn signer(terms: &str, https: bool, value: &str) -> Result<SigV4, String> {
        let terms: Terms = toml::from_str(terms).unwrap();
        terms.check()?;
        terms.signer("S3", &Origin::new(https, "examplebucket.s3.amazonaws.com", None), value)
    }

    fn head(request: http::request::Builder) -> Parts {
        request.body(()).unwrap().into_parts().0
    }

    const AWS: &str = "region = \"us-east-1\"\naccess_key_id = \"AKIAIOSFODNN7EXAMPLE\"";
    const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    #[test]
    fn what_the_handlers_library_has_signed_is_signed_anew() {
        let signer = signer(AWS, true, KEY).unwrap();
        let mut head = head(
            HttpRequest::put("https://examplebucket.s3.amazonaws.com/a%20b")
                .header("host", "examplebucket.s3.amazonaws.com")
                .header("authorization", "AWS4-HMAC-SHA256 Credential=dummy")
                .header("x-amz-date", "19700101T000000Z")
                .header("x-amz-security-token", "dummy")
                .header("x-amz-meta-a", " b  c ")
                .header("user-agent", "sdk"),
        );
        assert!(!signer.needs_body(&head, Some(9)));
        assert!(signer.needs_body(&head, None), "the store asks for its length");
        signer
            .add(&mut head, b"", "2013-05-24T00:00:00Z".parse().unwrap())
            .unwrap();
        let headers = &head.headers;
        assert_eq!(headers[DATE], "20130524T000000Z");
        assert_eq!(headers[CONTENT_SHA256], UNSIGNED);
        assert!(!headers.contains_key(SECURITY_TOKEN));
        let authorization = headers[AUTHORIZATION].to_str().unwrap();
        let scope = "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
                     SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-meta-a, Signature=";
        assert!(authorization.contains(scope), "{authorization}");
        assert!(headers[AUTHORIZATION].is_sensitive());
    }

    #[test]
    fn a_body_is_covered_by_the_handlers_digest_or_by_the_hosts() {
        let [over_tls, plain] = [true, false].map(|https| signer(AWS, https, KEY).unwrap());
        let other = signer(&format!("{AWS}\nservice = \"sqs\""), true, KEY).unwrap();
        let told = digest(b"told");
        for (signer, said, covers, sent) in [
            (&over_tls, None, false, UNSIGNED),
            (&over_tls, Some(told.as_str()), false, &*told),
            (&over_tls, Some(UNSIGNED_WITH_TRAILER), false, UNSIGNED_WITH_TRAILER),
            (&plain, None, true, &*digest(b"body")),
            (&plain, Some(UNSIGNED), true, &*digest(b"body")),
            (&plain, Some(&*told), false, &*told),
            (&other, None, true, &*digest(b"body")),
        ] {
            let mut request = HttpRequest::put("https://a.example/");
            if let Some(said) = said {
                request = request.header(CONTENT_SHA256, said);
            }
            let mut head = head(request);
            assert_eq!(signer.needs_body(&head, Some(4)), covers, "{said:?}");
            signer.add(&mut head, b"body", Timestamp::UNIX_EPOCH).unwrap();
            assert_eq!(head.headers[CONTENT_SHA256], sent, "{said:?}");
        }
        let chunks =
            HttpRequest::put("https://a.example/").header(CONTENT_SHA256, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
        let Err(Refusal::Denied(denied)) = over_tls.add(&mut head(chunks), b"", Timestamp::UNIX_EPOCH) else {
            panic!("its chunks are signed with another key");
        };
        let told = denied.told("a");
        assert!(
            told.contains("in chunks") && told.ends_with("see [grants.secrets.S3] in a.toml"),
            "{told}"
        );
    }

    #[test]
    fn a_url_that_somebody_has_signed_goes_as_it_is() {
        let request = HttpRequest::get("https://a.example/?a=b&X-Amz-Signature=c");
        let mut head = head(request);
        // Over plain HTTP a signature of its own would cover the body.
        let signer = signer(AWS, false, KEY).unwrap();
        assert!(!signer.needs_body(&head, None), "it can be streamed");
        signer.add(&mut head, b"", Timestamp::UNIX_EPOCH).unwrap();
        assert!(head.headers.is_empty());
    }

    #[test]
    fn credentials_come_as_a_key_or_as_processes_write_them() {
        let region = "region = \"eu-central-1\"";
        let exported =
            r#"{"Version": 1, "AccessKeyId": "AKID", "SecretAccessKey": "k/+", "SessionToken": "t", "Expiration": ""}"#;
        let signer_of = |value: &str| signer(region, true, value);
        let known = signer_of(exported).unwrap();
        let shown = (known.key.id.as_str(), known.key.secret.as_str(), known.token.as_ref());
        assert_eq!(shown, ("AKID", "k/+", Some(&HeaderValue::from_static("t"))));
        for (terms, value, why) in [
            (region, "s3cret", "access_key_id"),
            (region, r#"{"AccessKeyId": "s3cret"}"#, "SecretAccessKey"),
            (
                region,
                r#"{"AccessKeyId": "s3 cret", "SecretAccessKey": "s3cret"}"#,
                "AccessKeyId",
            ),
            (AWS, "s3cret\t", "white space"),
            ("region = \"a/b\"", exported, "region"),
        ] {
            let Err(message) = signer(terms, true, value) else {
                panic!("{value}");
            };
            assert!(
                message.contains(why) && !message.contains("cret\t") && !message.contains("s3"),
                "{message}"
            );
        }
    }
}
