//! A connection's bytes, plain or by TLS, and how long writing them may stall.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::patience::Patience;

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A connection. A server that takes no bytes for too long ends it.
pub(super) struct Stream {
    bytes: Box<dyn Bytes>,
    patience: Option<Patience>,
}

impl Stream {
    pub(super) fn new(bytes: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self {
            bytes: Box::new(bytes),
            patience: None,
        }
    }

    /// Allows a write to stall for `limit`.
    pub(super) fn stalling_at_most(self, limit: Duration) -> Self {
        Self {
            patience: Some(Patience::new(limit)),
            ..self
        }
    }

    /// What became of a write, or that it has stalled for too long.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Some(patience) = &mut self.patience else {
            return written;
        };
        patience.bound(cx, written).map(|written| {
            let stalled = || Err(io::ErrorKind::TimedOut.into());
            written.unwrap_or_else(stalled)
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.bytes).poll_write(cx, buf);
        self.bounded(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.bytes).poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.bytes).poll_shutdown(cx);
        self.bounded(cx, shut)
    }
}
