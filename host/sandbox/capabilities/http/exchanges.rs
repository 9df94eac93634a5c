//! The exchanges of `kiln:http/client` that are open in an attempt.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http::response::Parts;
use hyper::body::Body as _;
use tokio_util::sync::PollSender;
use wasmtime_wasi_http::{Error, WasiBody};

use super::exchange::{Answer, Connection};

/// Set in the number of an exchange's streamed body, and in none of an exchange.
const BODY: u32 = 1 << 31;

/// Takes the chunks of a streamed body.
pub(super) type Upload = PollSender<Bytes>;

/// Open exchanges by number, at most as many as the limit `http_connections` allows. A failed one counts until the
/// guest has read its error.
#[derive(Default)]
pub(in crate::sandbox::capabilities) struct Exchanges {
    last: u32,
    open: BTreeMap<u32, Exchange>,
}

/// A request and its answer.
pub(super) struct Exchange {
    state: State,
    upload: Option<Upload>,
    /// Bytes of the request's body that are kept for it.
    body_bytes: usize,
}

enum State {
    /// The head of the answer is not here yet.
    Sent(Pin<Box<dyn Future<Output = Answer> + Send>>),
    /// The head of the answer, or the error in its place, which the guest has not read yet.
    Answered(Option<Answer>),
    /// The guest reads the body.
    Reading {
        body: WasiBody,
        /// Bytes that have come and are not read yet; empty at the end of the body.
        piece: Option<Result<Bytes, Error>>,
        /// Dropped, it ends the connection.
        _connection: Connection,
    },
}

impl Exchanges {
    /// Takes in an exchange that begins, and returns its number.
    pub(super) fn begin(&mut self, exchange: Exchange) -> u32 {
        // After two thousand million requests the first numbers are free again.
        self.last = self.last.wrapping_add(1) & !BODY;
        self.open.insert(self.last, exchange);
        self.last
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn get(&mut self, number: u32) -> Option<&mut Exchange> {
        self.open.get_mut(&number)
    }

    /// Ready once the next thing that the guest can ask of an exchange is here, or, by the number of its body, once there is
    /// room for more of that. A number that is not open counts as ready: the next call with it fails at once.
    pub(in crate::sandbox::capabilities) fn poll_ready(&mut self, number: u32, cx: &mut Context<'_>) -> Poll<()> {
        match self.open.get_mut(&(number & !BODY)) {
            Some(exchange) if number & BODY != 0 => exchange.poll_room(cx),
            Some(exchange) => exchange.poll_ready(cx),
            None => Poll::Ready(()),
        }
    }

    pub(super) fn close(&mut self, number: u32) {
        self.open.remove(&number);
    }

    pub(super) fn close_all(&mut self) {
        self.open.clear();
    }

    /// The streamed body of an exchange. None if there is none, or none any more.
    pub(super) fn upload(&mut self, number: u32) -> Option<&mut Upload> {
        self.open.get_mut(&number)?.upload.as_mut()
    }

    /// The number of a streamed body, for [`Self::poll_ready`].
    pub(super) fn body_number(&mut self, number: u32) -> Option<u32> {
        self.upload(number).map(|_| number | BODY)
    }

    /// Ends a streamed body. None if there is no such body.
    pub(super) fn end_upload(&mut self, number: u32) -> Option<()> {
        self.open.get_mut(&number)?.upload.take().map(drop)
    }

    /// Bytes of requests' bodies that are kept for them.
    pub(super) fn body_bytes(&self) -> usize {
        self.open.values().map(|exchange| exchange.body_bytes).sum()
    }
}

impl Exchange {
    pub(super) fn new(
        answer: Box<dyn Future<Output = Answer> + Send>,
        upload: Option<Upload>,
        body_bytes: usize,
    ) -> Self {
        Self {
            state: State::Sent(Box::into_pin(answer)),
            upload,
            body_bytes,
        }
    }

    /// Ready once the next thing that the guest can ask for is here: the head of the answer, or a piece of its body.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Sent(answer) => {
                let answer = ready!(answer.as_mut().poll(cx));
                self.state = State::Answered(Some(answer));
                self.body_bytes = 0;
                Poll::Ready(())
            }
            State::Answered(_) | State::Reading { piece: Some(_), .. } => Poll::Ready(()),
            State::Reading { body, piece, .. } => {
                *piece = Some(ready!(next_piece(body, cx)));
                Poll::Ready(())
            }
        }
    }

    /// Ready once there is room for a chunk of the streamed body, or nobody takes one any more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.upload {
            Some(upload) => upload.poll_reserve(cx).map(|_| ()),
            None => Poll::Ready(()),
        }
    }

    /// The head of the answer that has come, once: from then on the body is read.
    pub(super) fn take_head(&mut self) -> Option<Result<Parts, Error>> {
        let State::Answered(answer) = &mut self.state else {
            return None;
        };
        match answer.take()? {
            Ok((response, connection)) => {
                let (head, body) = Response::into_parts(response);
                self.state = State::Reading {
                    body,
                    piece: None,
                    _connection: connection,
                };
                Some(Ok(head))
            }
            Err(err) => Some(Err(err)),
        }
    }

    /// Whether the guest reads the body.
    pub(super) fn has_body(&self) -> bool {
        matches!(self.state, State::Reading { .. })
    }

    /// What has come of the body, up to `max_bytes`; empty at its end.
    pub(super) fn take_piece(&mut self, max_bytes: usize) -> Result<Bytes, Error> {
        let State::Reading { piece, .. } = &mut self.state else {
            return Ok(Bytes::new());
        };
        match piece.take() {
            Some(Ok(mut bytes)) if bytes.len() > max_bytes => {
                let some = bytes.split_to(max_bytes);
                *piece = Some(Ok(bytes));
                Ok(some)
            }
            Some(taken) => taken,
            None => Ok(Bytes::new()),
        }
    }
}

/// The next bytes of a body; empty at its end. Trailers are left out.
fn next_piece(body: &mut WasiBody, cx: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
    loop {
        let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(cx)) else {
            return Poll::Ready(Ok(Bytes::new()));
        };
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(bytes)) if bytes.is_empty() => {}
            Ok(Ok(bytes)) => return Poll::Ready(Ok(bytes)),
            Ok(Err(_trailers)) => {}
            Err(err) => return Poll::Ready(Err(err)),
        }
    }
}
