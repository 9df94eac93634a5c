//! One POST over `wasi:http`, within one deadline.
//!
//! Every wait here is for the network or the deadline, whichever comes first; nothing decides what an answer means.

use std::time::Duration;

use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use wasip2::io::poll::{Pollable, poll};

use crate::Request;

/// How much of a text that the server sends is taken: what fits a log line. The rest stays where it is.
const START_BYTES: usize = 200;

/// What is read of an answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    /// The first bytes of where a redirect leads.
    pub(crate) location: Vec<u8>,
    /// The first bytes of the body; empty for a success.
    pub(crate) start: Vec<u8>,
}

/// Why there is no answer.
pub(crate) enum PostError {
    /// The host does not send such a request, now or later.
    Refused(String),
    /// The network or the server failed; another time it may not.
    Network(String),
}

/// Sends the request and reads the start of the answer.
///
/// # Errors
/// Only where no status came back: a server's "no" is an answer.
pub(crate) fn post(request: &Request, timeout: Duration) -> Result<Answer, PostError> {
    let deadline = Deadline::after(timeout);
    let (head, body) = prepare(request)?;
    let pending = outgoing_handler::handle(head, None)?;
    send(body, &request.body, &deadline)?;
    let response = receive(&pending, &deadline)?;
    Ok(read(&response, &deadline))
}

fn prepare(request: &Request) -> Result<(OutgoingRequest, OutgoingBody), PostError> {
    let headers = Fields::new();
    for (name, value) in &request.headers {
        headers
            .append(name.as_str(), value.as_bytes())
            .map_err(|_| PostError::Refused(format!("header is not allowed: {name}")))?;
    }
    let head = OutgoingRequest::new(headers);
    let scheme = if request.url.scheme_str() == Some("https") {
        Scheme::Https
    } else {
        Scheme::Http
    };
    let path = request.url.path_and_query().map(|path| path.as_str());
    head.set_method(&Method::Post)
        .and_then(|()| head.set_scheme(Some(&scheme)))
        .and_then(|()| head.set_authority(Some(request.host())))
        .and_then(|()| head.set_path_with_query(path))
        .map_err(|()| PostError::Refused("url is not valid".to_owned()))?;
    let body = head
        .body()
        .map_err(|()| PostError::Refused("it takes no body".to_owned()))?;
    Ok((head, body))
}

/// A server may answer without reading everything. What became of the body is therefore no error here: the answer, or
/// its absence, tells.
fn send(body: OutgoingBody, mut rest: &[u8], deadline: &Deadline) -> Result<(), PostError> {
    if let Ok(stream) = body.write() {
        while !rest.is_empty() {
            deadline.wait(&stream.subscribe(), "it does not read the request")?;
            let Ok(room) = stream.check_write() else { break };
            let (now, later) = rest.split_at(rest.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            if stream.write(now).is_err() {
                break;
            }
            rest = later;
        }
    }
    let _ = OutgoingBody::finish(body, None);
    Ok(())
}

fn receive(pending: &FutureIncomingResponse, deadline: &Deadline) -> Result<IncomingResponse, PostError> {
    deadline.wait(&pending.subscribe(), "it does not answer")?;
    match pending.get() {
        Some(Ok(response)) => Ok(response?),
        Some(Err(())) | None => Err(PostError::Network("the host lost the answer".to_owned())),
    }
}

/// Gives up silently when the time is over: by now the status is known, and that counts.
fn read(response: &IncomingResponse, deadline: &Deadline) -> Answer {
    let status = response.status();
    let headers = response.headers();
    let header = |name| headers.get(name).into_iter().next();
    let retry_after = header("retry-after").and_then(|value| String::from_utf8(value).ok());
    let mut location = header("location").unwrap_or_default();
    location.truncate(START_BYTES);
    let start = if (200..300).contains(&status) {
        Vec::new()
    } else {
        read_start(response, deadline)
    };
    Answer {
        status,
        retry_after,
        location,
        start,
    }
}

fn read_start(response: &IncomingResponse, deadline: &Deadline) -> Vec<u8> {
    let mut start = Vec::new();
    let Ok(body) = response.consume() else { return start };
    let Ok(stream) = body.stream() else { return start };
    while start.len() < START_BYTES {
        if deadline.wait(&stream.subscribe(), "").is_err() {
            break;
        }
        let Ok(bytes) = stream.read((START_BYTES - start.len()) as u64) else {
            break;
        };
        start.extend(bytes);
    }
    start
}

/// The moment at which the whole exchange is given up.
struct Deadline {
    timer: Pollable,
    timeout: Duration,
}

impl Deadline {
    fn after(timeout: Duration) -> Self {
        let timer = monotonic_clock::subscribe_duration(timeout.as_nanos().try_into().unwrap_or(u64::MAX));
        Self { timer, timeout }
    }

    /// Waits for an event, unless the deadline comes first; `complaint` then says whose fault that is.
    fn wait(&self, event: &Pollable, complaint: &str) -> Result<(), PostError> {
        let ready = poll(&[event, &self.timer]);
        if ready.contains(&0) {
            return Ok(());
        }
        let ms = self.timeout.as_millis();
        Err(PostError::Network(format!("{complaint} within {ms} ms")))
    }
}

impl From<ErrorCode> for PostError {
    fn from(code: ErrorCode) -> Self {
        let text = match &code {
            ErrorCode::InternalError(Some(text)) => text.clone(),
            code => format!("{code:?}").replace("ErrorCode::", ""),
        };
        match code {
            ErrorCode::HttpRequestDenied
            | ErrorCode::DestinationIpProhibited
            | ErrorCode::HttpRequestUriInvalid
            | ErrorCode::HttpRequestUriTooLong
            | ErrorCode::HttpRequestBodySize(_)
            | ErrorCode::HttpRequestHeaderSize(_)
            | ErrorCode::HttpRequestHeaderSectionSize(_) => Self::Refused(text),
            _ => Self::Network(text),
        }
    }
}
