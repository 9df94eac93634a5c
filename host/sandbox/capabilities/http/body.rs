//! Bodies of requests and answers, each with a cap on its bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi_http::{Error, WasiBody};

use super::fault::fault;
use crate::sandbox::capabilities::network::Patience;

/// What a guest sends, up to a cap.
pub(super) struct RequestBody {
    body: WasiBody,
    cap: Cap,
}

/// What a server answers, up to a cap, and without long silences.
pub(super) struct ResponseBody {
    body: Incoming,
    cap: Cap,
    patience: Patience,
    /// The permit of the connection that the body comes by. Released at the body's end.
    connection: Option<Arc<OwnedSemaphorePermit>>,
}

/// Counts a body's bytes.
struct Cap {
    bytes: u64,
    left: u64,
}

impl Cap {
    fn new(bytes: u64) -> Self {
        Self { bytes, left: bytes }
    }

    /// Counts a frame's bytes. Fails with the limit once there are more.
    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), u64> {
        let len = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.left = self.left.checked_sub(len).ok_or(self.bytes)?;
        Ok(())
    }
}

impl RequestBody {
    pub(super) fn new(body: WasiBody, max_bytes: u64) -> Self {
        Self {
            body,
            cap: Cap::new(max_bytes),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        polled
            .map_ok(|frame| {
                let counted = self.cap.count(&frame);
                counted
                    .map(|()| frame)
                    .map_err(|cap| Error::HttpRequestBodySize(Some(cap)))
            })
            .map(|frame| frame.map(Result::flatten))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl ResponseBody {
    /// # Errors
    /// When its declared length is more than `max_bytes`.
    pub(super) fn new(
        body: Incoming,
        max_bytes: u64,
        patience: Duration,
        connection: Arc<OwnedSemaphorePermit>,
    ) -> Result<Self, Error> {
        if body.size_hint().lower() > max_bytes {
            return Err(Error::HttpResponseBodySize(Some(max_bytes)));
        }
        let connection = Some(connection).filter(|_| !body.is_end_stream());
        Ok(Self {
            body,
            cap: Cap::new(max_bytes),
            patience: Patience::new(patience),
            connection,
        })
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        let frame = match std::task::ready!(this.patience.bound(cx, polled)) {
            Some(Some(Ok(frame))) => {
                let counted = this.cap.count(&frame);
                Some(
                    counted
                        .map(|()| frame)
                        .map_err(|cap| Error::HttpResponseBodySize(Some(cap))),
                )
            }
            Some(Some(Err(err))) => Some(Err(fault(&err))),
            Some(None) => None,
            None => Some(Err(Error::ConnectionReadTimeout)),
        };
        if !matches!(frame, Some(Ok(_))) {
            this.connection = None;
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
