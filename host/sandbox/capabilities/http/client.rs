//! `kiln:http/client`: the same requests for languages whose toolchains cannot carry the resources of `wasi:http`.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::PollSender;
use wasmtime::Result;
use wasmtime::component::{HasData, Linker};
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error as Fault, RequestOptions, WasiBody, WasiHttpHooks as _};

use super::attempt::{HttpHost, View};
use super::exchanges::{Exchange, Upload};
use super::limits::{MAX_CHUNK_BYTES, MAX_METHOD_BYTES};
use super::told::{told, wrong};
use crate::sandbox::bindings::kiln::http::client;
use crate::sandbox::bindings::kiln::http::client::{Error, ErrorKind, Head, Header, RequestBody};

/// Bytes of a request's URL: servers that take more are rare.
const MAX_URL_BYTES: usize = 16 * 1024;

/// Exchanges of one `wait` that are looked at; no more can be open.
const MAX_WAITED: usize = 1024;

/// What a function of the interface answers.
type Answer<T> = std::result::Result<T, Error>;

/// Makes a [`View`] of an attempt's data.
struct OfAttempt;

impl HasData for OfAttempt {
    type Data<'a> = View<'a>;
}

pub(super) fn link<T: HttpHost + Send>(linker: &mut Linker<T>) -> Result<()> {
    client::add_to_linker::<_, OfAttempt>(linker, T::http_view)
}

impl client::Host for View<'_> {
    async fn start(&mut self, request: client::Request) -> Result<Answer<u32>> {
        let limits = &self.rules.limits;
        if self.attempt.exchanges.len() >= limits.connections as usize {
            return Ok(Err(told(&Fault::ConnectionLimitReached)));
        }
        let options = options(&request);
        let (request, upload, body_bytes) = match outgoing(request, limits.header_bytes) {
            Ok(outgoing) => outgoing,
            Err(err) => return Ok(Err(err)),
        };
        let answer = self
            .attempt
            .egress
            .send_request(request, Some(options), Box::new(async { Ok(()) }));
        // A request that no grant covers ends the attempt: the guest cannot grant it, only its operator can.
        if let Some(denied) = self.attempt.egress.denied.take() {
            return Err(denied.into());
        }
        let number = self.attempt.exchanges.begin(Exchange::new(answer, upload, body_bytes));
        self.charge(limits.exchange_bytes().saturating_add(body_bytes))?;
        Ok(Ok(number))
    }

    async fn write(&mut self, exchange: u32, bytes: Vec<u8>) -> Result<Answer<()>> {
        let Some(upload) = self.attempt.exchanges.upload(exchange) else {
            return Ok(Err(no_upload()));
        };
        let mut bytes = Bytes::from(bytes);
        poll_fn(|cx| {
            ready!(poll_send(upload, &mut bytes, cx));
            Poll::Ready(Ok(Ok(())))
        })
        .await
    }

    async fn write_some(&mut self, exchange: u32, bytes: Vec<u8>) -> Result<Answer<u32>> {
        let Some(upload) = self.attempt.exchanges.upload(exchange) else {
            return Ok(Err(no_upload()));
        };
        let mut left = Bytes::from(bytes);
        let all = left.len();
        let _ = poll_send(upload, &mut left, &mut Context::from_waker(Waker::noop()));
        Ok(Ok(u32::try_from(all - left.len()).unwrap_or(u32::MAX)))
    }

    async fn body_number(&mut self, exchange: u32) -> Result<Answer<u32>> {
        Ok(self.attempt.exchanges.body_number(exchange).ok_or_else(no_upload))
    }

    async fn finish(&mut self, exchange: u32) -> Result<Answer<()>> {
        Ok(self.attempt.exchanges.end_upload(exchange).ok_or_else(no_upload))
    }

    async fn response(&mut self, exchange: u32) -> Result<Answer<Head>> {
        let Some(waiting) = self.attempt.exchanges.get(exchange) else {
            return Ok(Err(wrong("no such exchange is open")));
        };
        poll_fn(|cx| waiting.poll_ready(cx)).await;
        match waiting.take_head() {
            Some(Ok(head)) => Ok(Ok(Head {
                status: head.status.as_u16(),
                headers: headers(&head.headers),
            })),
            Some(Err(err)) => {
                self.attempt.exchanges.close(exchange);
                Ok(Err(told(&err)))
            }
            None => Ok(Err(wrong("its response was asked for before"))),
        }
    }

    async fn read(&mut self, exchange: u32, max_bytes: u32) -> Result<Answer<Vec<u8>>> {
        let Some(reading) = self
            .attempt
            .exchanges
            .get(exchange)
            .filter(|exchange| exchange.has_body())
        else {
            return Ok(Err(wrong("its response was not asked for, or it is closed")));
        };
        if max_bytes == 0 {
            return Ok(Err(wrong("no bytes are asked for")));
        }
        poll_fn(|cx| reading.poll_ready(cx)).await;
        let piece = reading.take_piece(max_bytes as usize);
        if !matches!(&piece, Ok(piece) if !piece.is_empty()) {
            self.attempt.exchanges.close(exchange);
        }
        Ok(piece.map(|piece| piece.to_vec()).map_err(|err| told(&err)))
    }

    async fn wait(&mut self, exchanges: Vec<u32>, timeout_ms: Option<u64>) -> Result<Option<u32>> {
        let asked: BTreeSet<_> = exchanges.into_iter().take(MAX_WAITED).collect();
        let open = &mut self.attempt.exchanges;
        let first = poll_fn(|cx| {
            let ready = asked.iter().find(|number| open.poll_ready(**number, cx).is_ready());
            ready.map_or(Poll::Pending, |number| Poll::Ready(*number))
        });
        match timeout_ms {
            Some(ms) => Ok(timeout(Duration::from_millis(ms), first).await.ok()),
            None if asked.is_empty() => Ok(None),
            None => Ok(Some(first.await)),
        }
    }

    async fn close(&mut self, exchange: u32) -> Result<()> {
        self.attempt.exchanges.close(exchange);
        Ok(())
    }
}

/// Sends as many of these bytes as there is room for, and leaves the others. Ready once none is left.
fn poll_send(upload: &mut Upload, bytes: &mut Bytes, cx: &mut Context<'_>) -> Poll<()> {
    while !bytes.is_empty() {
        let room = ready!(upload.poll_reserve(cx));
        let chunk = bytes.split_to(bytes.len().min(MAX_CHUNK_BYTES));
        // A server may answer before it has read the whole body. The guest reads that answer; the rest of the body is
        // dropped.
        if room.and_then(|()| upload.send_item(chunk)).is_err() {
            bytes.clear();
        }
    }
    Poll::Ready(())
}

fn no_upload() -> Error {
    wrong("it has no body that is streamed, or none any more")
}

/// The timeouts that the guest asks for.
fn options(request: &client::Request) -> RequestOptions {
    let time = |ms: Option<u64>| ms.map(Duration::from_millis);
    RequestOptions {
        connect_timeout: time(request.connect_timeout_ms),
        first_byte_timeout: time(request.first_byte_timeout_ms),
        between_bytes_timeout: time(request.between_bytes_timeout_ms),
    }
}

/// The request to send, the channel for its streamed body, and how many bytes of its body it holds.
fn outgoing(request: client::Request, max_header_bytes: usize) -> Answer<(Request<WasiBody>, Option<Upload>, usize)> {
    let client::Request {
        method,
        url,
        headers,
        body,
        ..
    } = request;
    if url.len() > MAX_URL_BYTES {
        return Err(too_large(&format!(
            "the URL has {} bytes, more than {MAX_URL_BYTES}",
            url.len()
        )));
    }
    let uri: Uri = url.parse().map_err(|err| wrong(&format!("the URL: {err}")))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("the URL is none of http or https"));
    }
    let known = (method.len() <= MAX_METHOD_BYTES).then(|| Method::from_bytes(method.as_bytes()));
    let Some(Ok(method)) = known else {
        return Err(wrong("the method is none"));
    };
    let streamed = matches!(body, RequestBody::Streamed);
    let headers = fields(headers, max_header_bytes, streamed)?;
    let (body, upload, body_bytes) = of_body(body);
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok((request, upload, body_bytes))
}

fn of_body(body: RequestBody) -> (WasiBody, Option<Upload>, usize) {
    match body {
        RequestBody::None => (WasiBody::new(Empty::new().map_err(|never| match never {})), None, 0),
        RequestBody::Whole(bytes) => {
            let len = bytes.len();
            let body = Full::new(Bytes::from(bytes)).map_err(|never| match never {});
            (WasiBody::new(body), None, len)
        }
        RequestBody::Streamed => {
            let (upload, mut chunks) = mpsc::channel(1);
            let chunks = stream::poll_fn(move |cx| chunks.poll_recv(cx));
            let body = StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk))));
            (WasiBody::new(body), Some(PollSender::new(upload)), 0)
        }
    }
}

/// Header fields to send. Fields of the connection are left out, not refused: the host sets them, but libraries that do
/// not know that set them, too.
fn fields(headers: Vec<Header>, max_bytes: usize, streamed: bool) -> Answer<HeaderMap> {
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > max_bytes {
        return Err(too_large(&format!(
            "the headers have {bytes} bytes, more than {max_bytes} (http_header_bytes)"
        )));
    }
    let mut fields = HeaderMap::new();
    for (name, value) in headers {
        let parsed = HeaderName::try_from(name.as_str()).map_err(|_| wrong("a header's name is none"))?;
        let value = HeaderValue::try_from(value).map_err(|_| wrong(&format!("the value of header {parsed}")))?;
        // The host knows the length of a complete body. That of a streamed one the guest alone may know.
        let is_hosts = DEFAULT_FORBIDDEN_HEADERS.contains(&parsed) || (parsed == CONTENT_LENGTH && !streamed);
        if !is_hosts && fields.try_append(parsed, value).is_err() {
            return Err(too_large("there are too many headers"));
        }
    }
    Ok(fields)
}

fn headers(fields: &HeaderMap) -> Vec<Header> {
    let header = |(name, value): (&HeaderName, &HeaderValue)| (name.as_str().to_owned(), value.as_bytes().to_vec());
    fields.iter().map(header).collect()
}

fn too_large(message: &str) -> Error {
    Error {
        kind: ErrorKind::TooLarge,
        message: message.to_owned(),
    }
}
