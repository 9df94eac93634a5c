//! `expose = "hmac-sha256"`: signs requests with a keyed hash in a header, as webhooks are signed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use ring::hmac::{HMAC_SHA256, Key, sign};
use serde::Deserialize;
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error};

use super::denied::denied;
use super::encoding::hex;
use super::template::{Slot, Template};
use crate::sandbox::capabilities::denied::Denied;
use crate::sandbox::capabilities::http::{Origin, Refusal, Sign, Signing, target};

/// What a manifest says of a key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Terms {
    /// The header that the signature goes into.
    header: Header,
    /// What stands in it.
    #[serde(default = "hexadecimal")]
    format: Template,
    /// What the signature is made of.
    #[serde(default = "body")]
    signed: Template,
    /// The header that the time goes into.
    timestamp_header: Option<Header>,
    #[serde(default)]
    key: KeyForm,
}

/// A header of a request that the host may set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Header(HeaderName);

/// How a secret's value holds the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeyForm {
    #[default]
    Text,
    Base64,
}

fn hexadecimal() -> Template {
    Template::of(Slot::Hex)
}

fn body() -> Template {
    Template::of(Slot::Body)
}

impl TryFrom<String> for Header {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match HeaderName::try_from(&name) {
            Ok(header) if !DEFAULT_FORBIDDEN_HEADERS.contains(&header) && header != http::header::CONTENT_LENGTH => {
                Ok(Self(header))
            }
            _ => Err(format!("{name:?} is no header that a signature can stand in")),
        }
    }
}

impl Terms {
    /// Whether they can be meant.
    pub(super) fn check(&self) -> Result<(), String> {
        let told = |slot: &Slot| *slot == Slot::Timestamp;
        if self.format.slots().filter(|slot| slot.is_signature()).count() != 1 {
            Err("format: expected {hex} or {base64} in it, once".to_owned())
        } else if !self.format.slots().all(|slot| slot.is_signature() || told(slot)) {
            Err("format: nothing but {hex} or {base64} and {timestamp} is filled in".to_owned())
        } else if self.signed.slots().any(Slot::is_signature) {
            Err("signed: the signature cannot be made of itself".to_owned())
        } else if self.signed.slots().any(told) && !self.format.slots().any(told) && self.timestamp_header.is_none() {
            Err("signed: nothing tells the {timestamp}; put it into format, or name a timestamp_header".to_owned())
        } else {
            let shown = self.format.filled(|_, _| Ok::<_, ()>(())).unwrap_or_default();
            let can_stand = HeaderValue::from_bytes(&shown).is_ok();
            can_stand
                .then_some(())
                .ok_or("format: it cannot stand in a header".to_owned())
        }
    }

    /// What signs with a secret's value.
    pub(super) fn signer(&self, name: &str, origin: &Origin, value: &str) -> Result<Hmac, String> {
        let key = match self.key {
            KeyForm::Text => value.as_bytes().to_vec(),
            KeyForm::Base64 => BASE64
                .decode(value)
                .map_err(|_| "its value is no Base64, which key = \"base64\" asks for")?,
        };
        Ok(Hmac {
            name: name.to_owned(),
            origin: origin.clone(),
            terms: self.clone(),
            key: Key::new(HMAC_SHA256, &key),
        })
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by hmac-sha256 in {}", self.header.0)
    }
}

/// Signs with one key.
pub(super) struct Hmac {
    name: String,
    origin: Origin,
    terms: Terms,
    key: Key,
}

impl Hmac {
    fn add(&self, head: &mut Parts, body: &[u8], now: Timestamp) -> Result<(), Refusal> {
        let (time, path) = (now.as_second().to_string(), target(&head.uri));
        let message = self.terms.signed.filled(|slot, message| {
            message.extend_from_slice(match slot {
                Slot::Timestamp => time.as_bytes(),
                Slot::Method => head.method.as_str().as_bytes(),
                Slot::Path => path.as_bytes(),
                Slot::Body => body,
                Slot::Header(name) => head.headers.get(name).ok_or_else(|| self.lacks(name))?.as_bytes(),
                Slot::Hex | Slot::Base64 => &[],
            });
            Ok(())
        });
        let signature = sign(&self.key, &message.map_err(Refusal::Denied)?);
        let value = self.terms.format.filled(|slot, value| {
            let text = match slot {
                Slot::Hex => hex(signature.as_ref()),
                Slot::Base64 => BASE64.encode(signature.as_ref()),
                _ => time.clone(),
            };
            value.extend_from_slice(text.as_bytes());
            Ok::<_, Error>(())
        });
        let mut value = HeaderValue::from_bytes(&value?).map_err(|_| Error::ConfigurationError)?;
        value.set_sensitive(true);
        head.headers.insert(&self.terms.header.0, value);
        if let Some(Header(name)) = &self.terms.timestamp_header {
            head.headers.insert(name, HeaderValue::from(now.as_second()));
        }
        Ok(())
    }

    fn lacks(&self, header: &HeaderName) -> Denied {
        let (name, origin) = (&self.name, &self.origin);
        denied(format!(
            "http request to {origin}: it has no header {header}, which the secret {name} signs; see \
             [grants.secrets.{name}] in"
        ))
    }
}

impl Sign for Hmac {
    fn may_need_body(&self) -> bool {
        self.terms.signed.slots().any(|slot| *slot == Slot::Body)
    }

    fn needs_body(&self, _: &Parts, _: Option<u64>) -> bool {
        self.may_need_body()
    }

    fn sign<'a>(&'a self, signing: Signing<'a>) -> BoxFuture<'a, Result<(), Refusal>> {
        let added = self.add(signing.head, signing.body, Timestamp::now());
        Box::pin(async { added })
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Request};

    use super::*;

    fn signer(terms: &str, value: &str) -> Result<Hmac, String> {
        let terms: Terms = toml::from_str(terms).map_err(|err| err.message().to_owned())?;
        terms.check()?;
        terms.signer("HOOK", &Origin::new(true, "hooks.example", None), value)
    }

    fn signed(terms: &str, value: &str, head: http::request::Builder, body: &[u8]) -> Result<HeaderMap, Refusal> {
        let mut head = head.body(()).unwrap().into_parts().0;
        let now = Timestamp::from_second(1_492_774_577).unwrap();
        signer(terms, value).unwrap().add(&mut head, body, now)?;
        Ok(head.headers)
    }

    /// The first signature is the one that the documentation of GitHub's webhooks shows; the others were made with Python's
    /// `hmac`.
    #[test]
    fn webhooks_are_signed_as_their_receivers_expect_it() {
        let request =
            || Request::post("https://hooks.example/a?b=c").header("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek");
        for (terms, value, body, signature) in [
            (
                "header = \"X-Hub-Signature-256\"\nformat = \"sha256={hex}\"",
                "It's a Secret to Everybody",
                "Hello, World!",
                "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            ),
            (
                "header = \"stripe-signature\"\nsigned = \"{timestamp}.{body}\"\nformat = \"t={timestamp},v1={hex}\"",
                "whsec_test",
                "{\"a\": 1}",
                "t=1492774577,v1=795ac921b387e15665a73908a71dc7611c5d71df54af2241a9b12cbd96f1df92",
            ),
            (
                "header = \"webhook-signature\"\nsigned = \"{header.webhook-id}.{timestamp}.{body}\"\n\
                 format = \"v1,{base64}\"\ntimestamp_header = \"webhook-timestamp\"\nkey = \"base64\"",
                "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "{\"test\": 2432232314}",
                "v1,CXnw1TeiNk37yAYL8aWXec2AFzDgqV9J+ItEOtf24DY=",
            ),
            (
                "header = \"x-signature\"\nsigned = \"{method} {path} {timestamp}\"\nformat = \"{timestamp}:{hex}\"",
                "k",
                "not signed",
                "1492774577:6c97a6fbea6dbd9029f574a368ae840986d459193b322ffc19ca2059ee175fe8",
            ),
        ] {
            let headers = signed(terms, value, request(), body.as_bytes()).unwrap();
            let terms = signer(terms, value).unwrap().terms;
            assert_eq!(headers[terms.header.0], signature);
            if terms.timestamp_header.is_some() {
                assert_eq!(headers["webhook-timestamp"], "1492774577");
            }
        }
    }

    #[test]
    fn the_path_that_is_signed_is_the_one_that_is_sent() {
        let terms = "header = \"x-signature\"\nsigned = \"{path}\"";
        let signature = |url: &str| signed(terms, "k", Request::post(url), b"").unwrap()["x-signature"].clone();
        let bare = signature("https://hooks.example?b=c");
        assert_eq!(bare, signature("https://hooks.example/?b=c"));
        assert_ne!(bare, signature("https://hooks.example/"));
    }

    #[test]
    fn a_handlers_own_signature_is_replaced_and_a_header_that_is_signed_must_be_there() {
        let own = Request::post("https://hooks.example/").header("x-signature", "mine");
        let headers = signed("header = \"x-signature\"", "k", own, b"").unwrap();
        assert_eq!(headers.get_all("x-signature").iter().count(), 1);
        assert_ne!(headers["x-signature"], "mine");
        let terms = "header = \"x-signature\"\nsigned = \"{header.x-id}\"";
        let Err(Refusal::Denied(denied)) = signed(terms, "k", Request::post("https://hooks.example/"), b"") else {
            panic!("it has no x-id");
        };
        assert_eq!(
            denied.told("a"),
            "http request to https://hooks.example: it has no header x-id, which the secret HOOK signs; see \
             [grants.secrets.HOOK] in a.toml"
        );
    }

    #[test]
    fn terms_that_cannot_be_meant_are_refused() {
        for (terms, why) in [
            ("", "missing field `header`"),
            ("header = \"host\"", "no header that a signature can stand in"),
            ("header = \"a b\"", "no header that a signature can stand in"),
            (
                "header = \"a\"\nformat = \"sha256\"",
                "format: expected {hex} or {base64}",
            ),
            ("header = \"a\"\nformat = \"{hex}{hex}\"", "once"),
            ("header = \"a\"\nformat = \"{hex}{body}\"", "nothing but"),
            ("header = \"a\"\nformat = \"{hex}\\n\"", "cannot stand in a header"),
            ("header = \"a\"\nsigned = \"{hex}\"", "of itself"),
            (
                "header = \"a\"\nsigned = \"{timestamp}{body}\"",
                "nothing tells the {timestamp}",
            ),
            ("header = \"a\"\nkey = \"base64\"", "no Base64"),
            ("header = \"a\"\nalgorithm = \"sha1\"", "unknown field"),
        ] {
            let Err(message) = signer(terms, "s3cret!") else {
                panic!("{terms}");
            };
            assert!(
                message.contains(why) && !message.contains("s3cret"),
                "{terms}: {message}"
            );
        }
    }
}
