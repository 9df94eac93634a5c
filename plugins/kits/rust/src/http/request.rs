//! A request: made, sent, and sent on to where redirects lead.

use std::io::Read;
use std::time::Duration;

use ::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;

use super::exchange::{Deadline, Exchange, PIECE_BYTES};
use super::redirect::{is_redirect, next_method, origin, target, trim};
use super::{Error, ErrorKind, Response};
use crate::raw::kiln::http::client;
use crate::remaining;

/// Redirects that are followed where a request does not say: as many as browsers' `fetch` and Go's client about do.
const REDIRECTS: u32 = 10;

/// What is kept of the attempt's time, so that a slow server is reported as that and not as a handler that hangs; of
/// short attempts it is a tenth.
const MARGIN: Duration = Duration::from_millis(250);

/// A request to be sent. What is wrong with it is told by [`Request::send`].
#[must_use = "nothing goes out before it is sent"]
pub struct Request<'a> {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Body<'a>,
    timeout: Option<Duration>,
    redirects: u32,
    /// What makes it none that can be sent.
    flaw: Option<Error>,
}

enum Body<'a> {
    None,
    Whole(Vec<u8>),
    Streamed(Box<dyn Read + 'a>),
}

impl<'a> Request<'a> {
    /// A request by any method to an absolute URL.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: HeaderMap::new(),
            body: Body::None,
            timeout: None,
            redirects: REDIRECTS,
            flaw: None,
        }
    }

    /// Sets a header, in the place of any of its name.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        match (name.parse::<HeaderName>(), HeaderValue::from_str(value.as_ref())) {
            (Ok(name), Ok(value)) => drop(self.headers.insert(name, value)),
            (Err(_), _) => self.flaw(format!("no name of a header: {name:?}")),
            // The value may be a secret.
            (_, Err(_)) => self.flaw(format!("the value of header {name}")),
        }
        self
    }

    /// Sets headers, in the place of any of their names.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Sets `authorization: Bearer …`.
    pub fn bearer(self, token: impl AsRef<str>) -> Self {
        self.header(AUTHORIZATION.as_str(), format!("Bearer {}", token.as_ref()))
    }

    /// Sends these bytes.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Whole(bytes.into());
        self
    }

    /// Sends a value as JSON, and says so where no `content-type` is set.
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.body = Body::Whole(bytes),
            Err(err) => self.flaw(format!("the body: {err}")),
        }
        let json = HeaderValue::from_static("application/json");
        self.headers.entry(CONTENT_TYPE).or_insert(json);
        self
    }

    /// Sends what a reader yields, as it comes. It goes out in chunks, unless a `content-length` is set. No redirect is
    /// followed that would need it once more.
    pub fn stream<'b>(self, reader: impl Read + 'b) -> Request<'b> {
        Request {
            body: Body::Streamed(Box::new(reader)),
            method: self.method,
            url: self.url,
            headers: self.headers,
            timeout: self.timeout,
            redirects: self.redirects,
            flaw: self.flaw,
        }
    }

    /// How long it may take until the answer is read to its end. Without it, until shortly before the attempt is
    /// interrupted.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How many redirects are followed: ten, if this is not called. With 0 the answer that leads elsewhere is the answer.
    pub fn redirects(mut self, most: u32) -> Self {
        self.redirects = most;
        self
    }

    /// Sends it and waits for the head of the answer.
    ///
    /// # Errors
    /// Where there is no answer. One that says "no" is an answer: see [`Response::check_status`].
    pub fn send(self) -> Result<Response, Error> {
        self.start()?.response()
    }

    /// Sends it, with all of its body, and does not wait for the answer: others can be started meanwhile, up to the
    /// plugin's limit `http_connections`.
    ///
    /// # Errors
    /// Where it is none that can be sent.
    pub fn start(self) -> Result<Pending, Error> {
        let about = format!("{} {}", self.method, origin(&self.url));
        self.begin().map_err(|err| err.about(&about))
    }

    fn begin(self) -> Result<Pending, Error> {
        if let Some(flaw) = self.flaw {
            return Err(flaw);
        }
        let left = remaining();
        let most = left - MARGIN.min(left / 10);
        let deadline = Deadline::after(self.timeout.map_or(most, |timeout| timeout.min(most)));
        let (body, reader) = match self.body {
            Body::None => (client::RequestBody::None, None),
            Body::Whole(bytes) => (client::RequestBody::Whole(bytes), None),
            Body::Streamed(reader) => (client::RequestBody::Streamed, Some(reader)),
        };
        let header = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.as_bytes().to_vec());
        let sent = client::Request {
            method: self.method.to_string(),
            url: self.url,
            headers: self.headers.iter().map(header).collect(),
            body,
            // The plugin's limits: the deadline is in force beside them.
            connect_timeout_ms: None,
            first_byte_timeout_ms: None,
            between_bytes_timeout_ms: None,
        };
        let exchange = Exchange::start(&sent, deadline)?;
        if let Some(reader) = reader {
            upload(&exchange, reader)?;
        }
        Ok(Pending {
            exchange,
            sent,
            redirects: self.redirects,
        })
    }

    fn flaw(&mut self, message: String) {
        self.flaw.get_or_insert(Error::new(ErrorKind::Invalid, message));
    }
}

/// One that was made with the `http` crate.
impl<B: Into<Vec<u8>>> From<::http::Request<B>> for Request<'static> {
    fn from(request: ::http::Request<B>) -> Self {
        let (head, body) = request.into_parts();
        let body = body.into();
        let request = Self::new(head.method, head.uri.to_string()).headers(head.headers);
        if body.is_empty() { request } else { request.body(body) }
    }
}

fn upload(exchange: &Exchange, mut reader: impl Read) -> Result<(), Error> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = reader.read(&mut piece);
        match read.map_err(|err| Error::new(ErrorKind::Invalid, format!("the body: {err}")))? {
            0 => return exchange.finish(),
            len => exchange.write(&piece[..len])?,
        }
    }
}

/// A request that was sent and whose answer nobody has waited for.
#[must_use = "dropped, it is called off"]
pub struct Pending {
    exchange: Exchange,
    sent: client::Request,
    redirects: u32,
}

impl Pending {
    /// Waits for the head of the answer.
    ///
    /// # Errors
    /// As [`Request::send`].
    pub fn response(mut self) -> Result<Response, Error> {
        let mut followed = 0;
        loop {
            let about = about(&self.sent);
            let (status, headers) = self.exchange.head().map_err(|err| err.about(&about))?;
            let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
            let leads_on = self.redirects > 0
                && is_redirect(status)
                && location.is_some_and(|location| follow(&mut self.sent, status, location));
            if !leads_on {
                return Ok(Response::new(self.exchange, about, status, headers));
            }
            if followed == self.redirects {
                let message = format!("redirected more than {followed} times");
                return Err(Error::new(ErrorKind::Redirects, message).about(&about));
            }
            followed += 1;
            self.exchange.restart(&self.sent).map_err(|err| err.about(&about))?;
        }
    }
}

/// Makes the request the one that a redirect asks for; or leaves it, where that cannot be made.
fn follow(sent: &mut client::Request, status: StatusCode, location: &str) -> bool {
    let Some(url) = target(&sent.url, location) else {
        return false;
    };
    let (method, keeps_body) = next_method(status, &sent.method);
    if keeps_body && matches!(sent.body, client::RequestBody::Streamed) {
        return false;
    }
    trim(&mut sent.headers, &sent.url, &url, keeps_body);
    sent.method = method.to_owned();
    sent.url = url;
    if !keeps_body {
        sent.body = client::RequestBody::None;
    }
    true
}

fn about(request: &client::Request) -> String {
    format!("{} {}", request.method, origin(&request.url))
}
