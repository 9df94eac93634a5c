//! Requests whose exchanges are kept in files, or that files answer.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Collected, StreamBody};
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;
use wasmtime_wasi_http::{Error, WasiBody};

use super::body::RequestBody;
use super::exchange::{Answer, Connection};
use super::grant::KEY;
use super::limits::HttpLimits;
use super::origin::Origin;
use super::rules::HttpRules;
use super::target::target;
use super::told::told;
use crate::recording::{self, Claim, Exchange, Fault, Recorder, Tape, Withheld, hidden, text_of, value_of};
use crate::sandbox::bindings::kiln::http::client::ErrorKind;
use crate::sandbox::capabilities::denied::Denied;

/// Header fields that are about the connection, or follow from the body.
const LEFT_OUT: [HeaderName; 4] = [HOST, CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH];

/// What becomes of one request.
pub(super) enum Taping {
    /// It goes out, and its exchange is kept.
    Record(Recording),
    /// An exchange that was kept answers it.
    Replay(Replay),
    /// It is noted, and does not go out.
    Withhold(Withholding),
}

/// An exchange that is to be kept.
pub(super) struct Recording {
    recorder: Arc<Recorder>,
    number: usize,
    request: recording::Request,
    /// The request's body, as far as it was sent.
    sent: Arc<Mutex<Vec<u8>>>,
    /// What has come of it so far.
    came: Option<recording::Answer>,
    rules: Arc<HttpRules>,
}

/// A request that a kept exchange answers.
pub(super) struct Replay {
    claim: Claim,
    rules: Arc<HttpRules>,
}

/// A request that is noted in place of being sent.
pub(super) struct Withholding {
    withheld: Arc<Withheld>,
    request: recording::Request,
    rules: Arc<HttpRules>,
}

impl Taping {
    /// Begins to record a request, or finds whether there is an answer to it.
    pub(super) fn begin(
        tape: &Tape,
        request: &mut Request<WasiBody>,
        origin: &Origin,
        rules: &Arc<HttpRules>,
    ) -> Result<Self, Denied> {
        let url = format!("{origin}{}", target(request.uri()));
        let url = hidden::url(&concealed(rules, url));
        let method = request.method().to_string();
        let rules = Arc::clone(rules);
        match tape {
            Tape::Record(recorder) => {
                // A body that came compressed would be no text.
                if request
                    .headers()
                    .get(ACCEPT_ENCODING)
                    .is_some_and(|value| value != "identity")
                {
                    request.headers_mut().remove(ACCEPT_ENCODING);
                }
                let headers = fields(request.headers(), &rules);
                Ok(Self::Record(Recording {
                    recorder: Arc::clone(recorder),
                    number: recorder.begin(),
                    request: recording::Request {
                        method,
                        url,
                        headers,
                        body: Vec::new(),
                    },
                    sent: Arc::default(),
                    came: None,
                    rules,
                }))
            }
            Tape::Replay(replayer) => {
                let claim = replayer.claim(&method, &url).map_err(|missing| {
                    Denied::whatever_is_granted(
                        KEY,
                        format!("http request {missing}; record it with kiln run --record"),
                    )
                })?;
                Ok(Self::Replay(Replay { claim, rules }))
            }
            Tape::Withhold(withheld) => Ok(Self::Withhold(Withholding {
                withheld: Arc::clone(withheld),
                request: recording::Request {
                    method,
                    url,
                    headers: fields(request.headers(), &rules),
                    body: Vec::new(),
                },
                rules,
            })),
        }
    }
}

impl Recording {
    /// The request, whose body is kept as it goes out.
    pub(super) fn listen(&mut self, request: Request<WasiBody>) -> Request<WasiBody> {
        let sent = Arc::clone(&self.sent);
        request.map(|body| {
            WasiBody::new(Heard {
                body,
                ear: move |piece: Option<&Bytes>| {
                    if let Some(piece) = piece {
                        sent.lock().extend_from_slice(piece);
                    }
                },
            })
        })
    }

    /// The answer, which is kept once its body has come or is dropped.
    pub(super) fn keep(mut self, answer: Answer) -> Answer {
        let (response, connection) = match answer {
            Ok(answer) => answer,
            Err(err) => {
                self.came = Some(recording::Answer::Failed(fault_of(&err)));
                return Err(err);
            }
        };
        let mut headers = fields(response.headers(), &self.rules);
        // The answer to HEAD tells how long the body would be, and has none.
        if self.request.method == "HEAD"
            && let Some(length) = response.headers().get(CONTENT_LENGTH)
        {
            headers.push((CONTENT_LENGTH.to_string(), text_of(length.as_bytes())));
        }
        let mut kept = Keeping {
            status: response.status().as_u16(),
            content_type: content_type(response.headers()),
            headers,
            came: Vec::new(),
            whole: response.body().is_end_stream(),
            recording: self,
        };
        let response = response.map(|body| {
            let ear = move |piece: Option<&Bytes>| kept.hear(piece);
            WasiBody::new(Heard { body, ear })
        });
        Ok((response, connection))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let answer = self.came.take();
        let answer = answer.unwrap_or(recording::Answer::Failed(Fault::Silence));
        let mut request = self.request.clone();
        let content_type = request.headers.iter().find(|(name, _)| *name == CONTENT_TYPE.as_str());
        let content_type = content_type.map_or("", |(_, value)| value.as_str());
        let sent = mem::take(&mut *self.sent.lock());
        request.body = hidden::body(content_type, self.rules.concealed(sent));
        self.recorder.keep(self.number, &Exchange { request, answer });
    }
}

/// An answer whose body is read. Written when it is dropped.
struct Keeping {
    status: u16,
    content_type: String,
    headers: Vec<(String, String)>,
    came: Vec<u8>,
    whole: bool,
    recording: Recording,
}

impl Keeping {
    fn hear(&mut self, piece: Option<&Bytes>) {
        match piece {
            Some(piece) => self.came.extend_from_slice(piece),
            None => self.whole = true,
        }
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        let came = self.recording.rules.concealed(mem::take(&mut self.came));
        self.recording.came = Some(recording::Answer::Response {
            status: self.status,
            headers: mem::take(&mut self.headers),
            body: hidden::body(&self.content_type, came),
            broken_off: !self.whole,
        });
    }
}

impl Replay {
    /// The answer that was kept, once the request's body is complete.
    pub(super) async fn answer(
        self,
        request: Request<WasiBody>,
        limits: &HttpLimits,
        count: Arc<OwnedSemaphorePermit>,
    ) -> Answer {
        let (parts, body) = request.into_parts();
        let body = RequestBody::new(body, limits.body_bytes).collect().await;
        let body = body.map(Collected::to_bytes);
        let sent = body.as_ref().cloned().unwrap_or_default();
        let sent = hidden::body(&content_type(&parts.headers), self.rules.concealed(sent.into()));
        // A request that fails here has been asked for all the same.
        let answer = self.claim.take(&sent).ok_or(Error::ConnectionTerminated)?;
        body?;
        match answer {
            recording::Answer::Failed(Fault::Silence) => {
                sleep(limits.first_byte_timeout).await;
                Err(Error::ConnectionReadTimeout)
            }
            recording::Answer::Failed(fault) => Err(error_of(fault)),
            recording::Answer::Response {
                status,
                headers,
                body,
                broken_off,
            } => {
                if body.len() as u64 > limits.body_bytes {
                    return Err(Error::HttpResponseBodySize(Some(limits.body_bytes)));
                }
                let (length, method) = (body.len(), parts.method);
                let mut response = Response::new(played(body, broken_off, count));
                let status = StatusCode::from_u16(status).map_err(|_| Error::HttpProtocolError)?;
                *response.status_mut() = status;
                for (name, value) in &headers {
                    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Error::HttpProtocolError)?;
                    let value = value_of(value).ok_or(Error::HttpProtocolError)?;
                    response.headers_mut().append(name, value);
                }
                let has_body =
                    method != Method::HEAD && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
                if has_body && !broken_off {
                    response.headers_mut().insert(CONTENT_LENGTH, length.into());
                }
                let connection: Connection = Box::new(async { Ok(()) });
                Ok((response, connection))
            }
        }
    }
}

impl Withholding {
    /// Notes the request once its body is complete. There is no server to answer it.
    pub(super) async fn answer(mut self, request: Request<WasiBody>, limits: &HttpLimits) -> Answer {
        let (parts, body) = request.into_parts();
        let body = RequestBody::new(body, limits.body_bytes).collect().await;
        let body = body.map(Collected::to_bytes);
        let sent = body.as_ref().cloned().unwrap_or_default();
        self.request.body = hidden::body(&content_type(&parts.headers), self.rules.concealed(sent.into()));
        self.withheld.note(self.request);
        body?;
        Err(Error::ConnectionRefused)
    }
}

/// A body that was kept. It holds its permit until it is dropped.
fn played(body: Vec<u8>, broken_off: bool, count: Arc<OwnedSemaphorePermit>) -> WasiBody {
    let piece = (!body.is_empty()).then(|| Ok(Frame::data(Bytes::from(body))));
    let end = broken_off.then_some(Err(Error::HttpResponseIncomplete));
    let frames = stream::iter(piece.into_iter().chain(end)).map(move |frame| {
        let _until_the_end = &count;
        frame
    });
    WasiBody::new(StreamBody::new(frames))
}

/// A body whose pieces are heard as they pass, and its end as none.
struct Heard<F> {
    body: WasiBody,
    ear: F,
}

impl<F: FnMut(Option<&Bytes>) + Send + Unpin> Body for Heard<F> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(piece) = frame.data_ref()
        {
            (this.ear)(Some(piece));
        }
        // Whoever reads by the length does not ask for what comes after it.
        if frame.is_none() || this.body.is_end_stream() {
            (this.ear)(None);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Header fields for a recording, without what is secret.
fn fields(headers: &HeaderMap, rules: &HttpRules) -> Vec<(String, String)> {
    let shown = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = if value.is_sensitive() {
            hidden::HIDDEN.to_owned()
        } else {
            hidden::header(name.as_str(), &text_of(&rules.concealed(value.as_bytes().to_vec())))
        };
        (name.as_str().to_owned(), value)
    };
    headers
        .iter()
        .filter(|(name, _)| !LEFT_OUT.contains(name))
        .map(shown)
        .collect()
}

fn concealed(rules: &HttpRules, text: String) -> String {
    String::from_utf8_lossy(&rules.concealed(text.into_bytes())).into_owned()
}

fn content_type(headers: &HeaderMap) -> String {
    headers
        .get(CONTENT_TYPE)
        .map_or_else(String::new, |value| text_of(value.as_bytes()))
}

/// What is kept of an error.
fn fault_of(err: &Error) -> Fault {
    match told(err).kind {
        ErrorKind::Dns => Fault::Dns,
        ErrorKind::Connect => Fault::Connect,
        ErrorKind::Tls => Fault::Tls,
        ErrorKind::Timeout => Fault::Timeout,
        ErrorKind::TooLarge if matches!(err, Error::HttpRequestBodySize(_)) => Fault::LargeRequest,
        ErrorKind::TooLarge => Fault::LargeAnswer,
        ErrorKind::Invalid => Fault::Invalid,
        // There were too many before a request is recorded.
        ErrorKind::Network | ErrorKind::TooMany => Fault::Network,
    }
}

fn error_of(fault: Fault) -> Error {
    match fault {
        Fault::Dns => Error::DestinationNotFound,
        Fault::Connect => Error::ConnectionRefused,
        Fault::Tls => Error::TlsProtocolError,
        Fault::Timeout | Fault::Silence => Error::ConnectionReadTimeout,
        Fault::LargeRequest => Error::HttpRequestBodySize(None),
        Fault::LargeAnswer => Error::HttpResponseBodySize(None),
        Fault::Invalid => Error::HttpRequestUriInvalid,
        Fault::Network => Error::ConnectionTerminated,
    }
}
