//! A connection's bytes, plain or by TLS, and how long writing them may stall.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::sandbox::capabilities::network::Patience;

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A connection. It ends if the server takes no bytes for too long, or sends too many before the head of its answer is
/// complete.
pub(super) struct Stream {
    bytes: Box<dyn Bytes>,
    patience: Option<Patience>,
    head: Head,
}

/// Bytes that may still be read before the head of the answer has to be complete. Interim answers (1xx) count: the library
/// skips any number of them. Clones are the same connection's.
#[derive(Clone)]
pub(super) struct Head(Arc<AtomicUsize>);

impl Head {
    /// The head is complete: what follows has bounds of its own.
    pub(super) fn is_whole(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) -> io::Result<()> {
        let left = self.0.load(Ordering::Relaxed);
        if left == usize::MAX {
            return Ok(());
        }
        let left = left.checked_sub(bytes).ok_or(io::ErrorKind::FileTooLarge)?;
        self.0.store(left, Ordering::Relaxed);
        Ok(())
    }
}

impl Stream {
    pub(super) fn new(bytes: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self {
            bytes: Box::new(bytes),
            patience: None,
            head: Head(Arc::new(AtomicUsize::new(usize::MAX))),
        }
    }

    /// Allows a write to stall for `limit`.
    pub(super) fn stalling_at_most(self, limit: Duration) -> Self {
        Self {
            patience: Some(Patience::new(limit)),
            ..self
        }
    }

    /// Allows so many bytes to be read before the head of the answer is complete.
    pub(super) fn with_head_of(self, bytes: usize) -> (Self, Head) {
        self.head.0.store(bytes, Ordering::Relaxed);
        let head = self.head.clone();
        (self, head)
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
        let before = buf.filled().len();
        let read = Pin::new(&mut self.bytes).poll_read(cx, buf);
        match read {
            Poll::Ready(Ok(())) => Poll::Ready(self.head.take(buf.filled().len() - before)),
            other => other,
        }
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
