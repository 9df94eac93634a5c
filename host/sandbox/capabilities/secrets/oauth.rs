//! `expose = "oauth2"`: signs requests with an access token, which the host gets for the secret of a client (OAuth 2.0,
//! client credentials).
//!
//! One token serves all attempts until shortly before it expires, and is asked for by one request at a time. Absent on
//! purpose: every other way to a token. They need a person, or a token of their own to be kept.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;
use wasmtime_wasi_http::Error;

use super::denied::denied;
use super::encoding::UNRESERVED;
use crate::sandbox::capabilities::denied::Denied;
use crate::sandbox::capabilities::http::{HttpRules, NoAnswer, Origin, Refusal, Renew, Sign, Signing, ask, target};
use crate::text;

/// How long a token is used whose server does not say how long it is valid.
const LIFETIME: Duration = Duration::from_mins(5);

/// The longest that a token is used, whatever its server says.
const MAX_LIFETIME: Duration = Duration::from_hours(24);

/// A token is renewed so long before it expires, or after three quarters of its time: requests take theirs.
const MARGIN: Duration = Duration::from_mins(1);

/// How long nobody asks again after the token server gave none.
const REST: Duration = Duration::from_secs(1);

/// Within this time no second token is dropped because an API answers 401: it would be the API's way to say no.
const BETWEEN_DROPS: Duration = Duration::from_secs(10);

/// Bytes of the word by which a token server says why it gives no token.
const MAX_REASON_BYTES: usize = 64;

/// What a manifest says of a client.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Terms {
    token_url: TokenUrl,
    /// Whether the token server may have an address that is not public.
    #[serde(default)]
    token_private: bool,
    client_id: String,
    #[serde(default)]
    client_auth: ClientAuth,
    scope: Option<String>,
    /// What else is asked for, as some servers want it: `audience`, `resource`.
    #[serde(default)]
    params: BTreeMap<String, String>,
}

/// Where tokens are had.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct TokenUrl {
    origin: Origin,
    /// Its path and query.
    target: String,
}

/// How the client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClientAuth {
    /// By basic authentication, which every server takes.
    #[default]
    Basic,
    /// In the form that it posts.
    Post,
}

impl TryFrom<String> for TokenUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |why: &str| format!("token_url {text:?}: {why}");
        let uri: Uri = text.parse().map_err(|_| wrong("no URL"))?;
        let at = text.find("://").map_or(0, |scheme| scheme + 3);
        let end = text[at..].find(['/', '?', '#']).map_or(text.len(), |end| at + end);
        let origin = Origin::try_from(text[..end].to_owned()).map_err(|why| wrong(&why))?;
        Ok(Self {
            origin,
            target: target(&uri),
        })
    }
}

impl Terms {
    /// Whether they can be meant.
    pub(super) fn check(&self) -> Result<(), String> {
        let own = ["grant_type", "client_id", "client_secret", "scope"];
        if !self.token_url.origin.is_https() && !self.token_private {
            Err("token_url: a client's secret goes by https, unless token_private = true".to_owned())
        } else if self.client_id.is_empty() || self.client_id.contains(text::is_hidden) {
            Err("client_id is empty, or has control or other hidden characters".to_owned())
        } else if let Some(key) = self.params.keys().find(|key| own.contains(&key.as_str())) {
            Err(format!("params: {key} has a place of its own"))
        } else {
            Ok(())
        }
    }

    /// What signs with a secret's value.
    pub(super) fn signer(&self, name: &str, value: &str) -> Result<OAuth, String> {
        if value.contains(char::is_control) {
            return Err("its value is no client's secret: it holds a line break or a control character".to_owned());
        }
        Ok(OAuth(Arc::new(Client {
            name: name.to_owned(),
            terms: self.clone(),
            secret: value.to_owned(),
            held: Arc::default(),
        })))
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "by oauth2 with tokens of {} for {}",
            self.token_url.origin, self.client_id
        )
    }
}

/// Signs with the tokens of one client.
pub(super) struct OAuth(Arc<Client>);

struct Client {
    name: String,
    terms: Terms,
    secret: String,
    held: Arc<Mutex<Held>>,
}

/// What there is of tokens.
#[derive(Default)]
struct Held {
    token: Option<Token>,
    /// Until when nobody asks again, and what everybody is told.
    resting: Option<(Instant, Lack)>,
    /// When a token was last dropped because an API did not take it.
    dropped: Option<Instant>,
}

#[derive(Clone)]
struct Token {
    /// `Bearer` and the token.
    authorization: HeaderValue,
    fresh_until: Instant,
}

/// Why there is no token.
#[derive(Debug, Clone)]
enum Lack {
    Denied(Denied),
    Told(String),
}

impl From<Lack> for Refusal {
    fn from(lack: Lack) -> Self {
        match lack {
            Lack::Denied(denied) => Self::Denied(denied),
            Lack::Told(why) => Self::Told(Error::InternalError(Some(why))),
        }
    }
}

impl Sign for OAuth {
    fn may_need_body(&self) -> bool {
        false
    }

    fn needs_body(&self, _: &Parts, _: Option<u64>) -> bool {
        false
    }

    fn sign<'a>(&'a self, signing: Signing<'a>) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let token = Arc::clone(&self.0).token(signing.rules).await?;
            signing.head.headers.insert(AUTHORIZATION, token);
            Ok(())
        })
    }

    fn renewal(&self) -> Option<&dyn Renew> {
        Some(self)
    }
}

impl Renew for OAuth {
    fn refused(&self, headers: &HeaderMap) -> bool {
        // Somebody holds it who is asking for the next token.
        let Ok(mut held) = self.0.held.try_lock() else {
            return true;
        };
        let current = held.token.as_ref().map(|token| &token.authorization);
        if current != headers.get(AUTHORIZATION) {
            return true;
        }
        let now = Instant::now();
        if held
            .dropped
            .is_some_and(|dropped| now.duration_since(dropped) < BETWEEN_DROPS)
        {
            return false;
        }
        (held.token, held.dropped) = (None, Some(now));
        true
    }
}

impl Client {
    /// The token that there is, or a new one.
    async fn token(self: Arc<Self>, rules: &Arc<HttpRules>) -> Result<HeaderValue, Refusal> {
        let held = Arc::clone(&self.held).lock_owned().await;
        let now = Instant::now();
        if let Some(token) = held.token.as_ref().filter(|token| now < token.fresh_until) {
            return Ok(token.authorization.clone());
        }
        if let Some((_, lack)) = held.resting.as_ref().filter(|(until, _)| now < *until) {
            return Err(lack.clone().into());
        }
        // A task of its own: the attempt that asks first may end before the answer is here, and others wait for it.
        let (client, rules) = (Arc::clone(&self), Arc::clone(rules));
        let renewed = tokio::spawn(async move { client.renew(held, &rules).await }).await;
        Ok(renewed.map_err(|_| Error::ConnectionTerminated)??)
    }

    async fn renew(&self, mut held: OwnedMutexGuard<Held>, rules: &HttpRules) -> Result<HeaderValue, Lack> {
        match self.asked(rules).await {
            Ok(token) => {
                held.token = Some(token.clone());
                held.resting = None;
                Ok(token.authorization)
            }
            Err(lack) => {
                held.token = None;
                held.resting = Some((Instant::now() + REST, lack.clone()));
                Err(lack)
            }
        }
    }

    async fn asked(&self, rules: &HttpRules) -> Result<Token, Lack> {
        let Terms {
            token_url,
            token_private,
            ..
        } = &self.terms;
        let request = self.request().map_err(|_| self.none("cannot be asked"))?;
        let (status, body) = match ask(rules, &token_url.origin, *token_private, request).await {
            Ok(answer) => answer,
            Err(NoAnswer::Failed(err)) => return Err(self.none(&format!("does not answer: {err}"))),
            Err(NoAnswer::NotPublic(ip, class)) => {
                let (name, origin) = (&self.name, &token_url.origin);
                return Err(Lack::Denied(denied(format!(
                    "token for the secret {name}: {origin} resolves to {ip}, {class}; add token_private = true to \
                     [grants.secrets.{name}] in"
                ))));
            }
        };
        token(status, &body, Instant::now()).map_err(|why| self.none(&why))
    }

    fn request(&self) -> Result<Request<Bytes>, http::Error> {
        let Terms {
            token_url,
            client_id,
            client_auth,
            scope,
            params,
            ..
        } = &self.terms;
        let mut fields = vec![("grant_type", "client_credentials")];
        fields.extend(scope.iter().map(|scope| ("scope", scope.as_str())));
        fields.extend(params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut request = Request::post(token_url.target.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json");
        match client_auth {
            ClientAuth::Basic => {
                let credentials = BASE64.encode(format!("{}:{}", encoded(client_id), encoded(&self.secret)));
                request = request.header(AUTHORIZATION, format!("Basic {credentials}"));
            }
            ClientAuth::Post => fields.extend([("client_id", client_id.as_str()), ("client_secret", &self.secret)]),
        }
        let fields = fields
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        request.body(fields.collect::<Vec<_>>().join("&").into())
    }

    fn none(&self, why: &str) -> Lack {
        Lack::Told(format!(
            "no access token for the secret {}: its token server {why}",
            self.name
        ))
    }
}

/// What a token server answers.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: Option<String>,
    /// Seconds; some servers write them as text.
    expires_in: Option<serde_json::Value>,
}

/// What a token server answers that gives none.
#[derive(Deserialize)]
struct Reason {
    error: String,
}

/// The token in an answer, or what its server did instead. Quotes no more than a word of the answer.
fn token(status: StatusCode, body: &[u8], now: Instant) -> Result<Token, String> {
    if status != StatusCode::OK {
        let is_word = |error: &String| {
            error.len() <= MAX_REASON_BYTES && error.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        let reason = serde_json::from_slice(body).ok().map(|Reason { error }| error);
        let reason = reason.filter(is_word).map(|error| format!(" ({error})"));
        return Err(format!("answered {}{}", status.as_u16(), reason.unwrap_or_default()));
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| "answered with no token".to_owned())?;
    if answer
        .token_type
        .is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer"))
    {
        return Err("gave a token that is no bearer's".to_owned());
    }
    let authorization = HeaderValue::try_from(format!("Bearer {}", answer.access_token));
    let mut authorization = authorization.map_err(|_| "gave a token that cannot stand in a header".to_owned())?;
    authorization.set_sensitive(true);
    let seconds = answer.expires_in.and_then(|seconds| match seconds {
        serde_json::Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    });
    let lifetime = seconds.map_or(LIFETIME, Duration::from_secs).min(MAX_LIFETIME);
    Ok(Token {
        authorization,
        fresh_until: now + lifetime - MARGIN.min(lifetime / 4),
    })
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> Result<Terms, String> {
        let terms: Terms = toml::from_str(text).map_err(|err| err.message().to_owned())?;
        terms.check().map(|()| terms)
    }

    fn client(text: &str) -> Arc<Client> {
        terms(text).unwrap().signer("CRM", "s3cret/ü").unwrap().0
    }

    #[test]
    fn a_token_is_asked_for_as_the_standard_says() {
        let url = "token_url = \"https://login.example/oauth2/token?v=2\"\nclient_id = \"kiln 1\"";
        let asked = client(&format!(
            "{url}\nscope = \"a b\"\nparams = {{ audience = \"https://api\" }}"
        ));
        let request = asked.request().unwrap();
        assert_eq!(request.uri(), "/oauth2/token?v=2");
        let basic = format!("Basic {}", BASE64.encode("kiln%201:s3cret%2F%C3%BC"));
        assert_eq!(request.headers()[AUTHORIZATION], basic);
        let form = "grant_type=client_credentials&scope=a%20b&audience=https%3A%2F%2Fapi";
        assert_eq!(request.body(), form);
        let bare = client("token_url = \"https://login.example?v=2\"\nclient_id = \"a\"");
        assert_eq!(bare.request().unwrap().uri(), "/?v=2");
        let request = client(&format!("{url}\nclient_auth = \"post\"")).request().unwrap();
        assert!(!request.headers().contains_key(AUTHORIZATION));
        let form = "grant_type=client_credentials&client_id=kiln%201&client_secret=s3cret%2F%C3%BC";
        assert_eq!(request.body(), form);
    }

    #[test]
    fn a_token_is_used_until_shortly_before_it_expires() {
        let now = Instant::now();
        for (answer, seconds) in [
            (
                r#"{"access_token": "t", "token_type": "bearer", "expires_in": 3600}"#,
                3540,
            ),
            (r#"{"access_token": "t", "expires_in": "100"}"#, 75),
            (r#"{"access_token": "t"}"#, 240),
            (r#"{"access_token": "t", "expires_in": 99999999999}"#, 86340),
        ] {
            let token = token(StatusCode::OK, answer.as_bytes(), now).unwrap();
            assert_eq!(token.authorization, "Bearer t");
            assert!(token.authorization.is_sensitive());
            assert_eq!(token.fresh_until - now, Duration::from_secs(seconds), "{answer}");
        }
    }

    #[test]
    fn a_token_that_an_api_does_not_take_is_dropped_once_in_a_while() {
        let oauth = OAuth(client("client_id = \"a\"\ntoken_url = \"https://login.example\""));
        let give = |token: &'static str| {
            let authorization = HeaderValue::from_static(token);
            let fresh_until = Instant::now() + LIFETIME;
            oauth.0.held.try_lock().unwrap().token = Some(Token {
                authorization,
                fresh_until,
            });
        };
        let refused = |token| {
            oauth.refused(&HeaderMap::from_iter([(
                AUTHORIZATION,
                HeaderValue::from_static(token),
            )]))
        };
        give("Bearer 1");
        assert!(refused("Bearer 0"), "there is a newer one");
        assert!(oauth.0.held.try_lock().unwrap().token.is_some());
        assert!(refused("Bearer 1"));
        assert!(oauth.0.held.try_lock().unwrap().token.is_none());
        give("Bearer 2");
        assert!(!refused("Bearer 2"), "the API says no, whatever the token");
        oauth.0.held.try_lock().unwrap().dropped = Instant::now().checked_sub(BETWEEN_DROPS);
        assert!(refused("Bearer 2"));
    }

    #[test]
    fn what_a_token_server_says_instead_is_told_without_quoting_it() {
        let told = |status, answer: &str| {
            let told = token(StatusCode::from_u16(status).unwrap(), answer.as_bytes(), Instant::now());
            told.map(|_| ()).unwrap_err()
        };
        assert_eq!(
            told(401, r#"{"error": "invalid_client"}"#),
            "answered 401 (invalid_client)"
        );
        assert_eq!(told(400, r#"{"error": "s3cret: no\n"}"#), "answered 400");
        assert_eq!(told(302, ""), "answered 302");
        assert_eq!(told(200, "<html>"), "answered with no token");
        let other = r#"{"access_token": "s3cret", "token_type": "mac"}"#;
        assert_eq!(told(200, other), "gave a token that is no bearer's");
        let broken = r#"{"access_token": "s3cret\n"}"#;
        assert_eq!(told(200, broken), "gave a token that cannot stand in a header");
    }

    #[test]
    fn terms_that_cannot_be_meant_are_refused() {
        for (text, why) in [
            ("client_id = \"a\"", "missing field `token_url`"),
            ("client_id = \"a\"\ntoken_url = \"login.example\"", "token_url"),
            (
                "client_id = \"a\"\ntoken_url = \"https://u@login.example/\"",
                "token_url",
            ),
            (
                "client_id = \"a\"\ntoken_url = \"http://login.example/\"",
                "goes by https",
            ),
            (
                "client_id = \"\"\ntoken_url = \"https://login.example/\"",
                "client_id is empty",
            ),
            (
                "client_id = \"a\\u202eb\"\ntoken_url = \"https://login.example/\"",
                "hidden characters",
            ),
            (
                "client_id = \"a\"\ntoken_url = \"https://login.example/\"\nparams = { scope = \"a\" }",
                "scope has a place of its own",
            ),
        ] {
            let message = terms(text).unwrap_err();
            assert!(message.contains(why), "{text}: {message}");
        }
        let refused = terms("client_id = \"a\"\ntoken_url = \"https://login.example\"")
            .unwrap()
            .signer("A", "s3cret\n");
        assert!(refused.is_err_and(|why| !why.contains("s3cret")));
    }
}
