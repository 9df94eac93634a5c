//! What a guest writes to standard output and error: the last of it is kept, the rest counted.
//!
//! Writing never blocks and never fails, however much a guest writes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::outcome::Output;

/// Bytes that a guest is told it may write in one call. Bounds the zeroes that the host makes for one call, too.
const WRITE_BYTES: usize = 64 * 1024;

/// One of a guest's output streams. Clones write to the same place.
#[derive(Clone)]
pub(super) struct Tail(Arc<Mutex<Buffer>>);

struct Buffer {
    /// How many bytes are kept.
    keep: usize,
    /// The last bytes written. At twice `keep`, the older half is cut off in one go.
    bytes: Vec<u8>,
    dropped: u64,
}

impl Tail {
    /// Keeps the last `keep` bytes of what is written.
    pub(super) fn new(keep: usize) -> Self {
        let bytes = Vec::new();
        Self(Arc::new(Mutex::new(Buffer {
            keep,
            bytes,
            dropped: 0,
        })))
    }

    /// Takes what was written so far.
    pub(super) fn take(&self) -> Output {
        let mut buffer = self.lock();
        buffer.cut();
        let bytes = std::mem::take(&mut buffer.bytes);
        Output {
            text: String::from_utf8_lossy(&bytes).into_owned(),
            dropped_bytes: std::mem::take(&mut buffer.dropped),
        }
    }

    fn write(&self, bytes: &[u8]) {
        let mut buffer = self.lock();
        // A guest can write more than it was told it may, so copy no more than is kept.
        let excess = bytes.len().saturating_sub(buffer.keep);
        buffer.dropped += excess as u64;
        buffer.bytes.extend_from_slice(&bytes[excess..]);
        if buffer.bytes.len() >= 2 * buffer.keep {
            buffer.cut();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.0.lock()
    }
}

impl Buffer {
    /// Drops all but the last `keep` bytes.
    fn cut(&mut self) {
        let excess = self.bytes.len().saturating_sub(self.keep);
        self.bytes.drain(..excess);
        self.dropped += excess as u64;
    }
}

#[async_trait]
impl Pollable for Tail {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Tail {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        Tail::write(self, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

impl IsTerminal for Tail {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Tail {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

/// Asked for by [`StdoutStream`]; WASI 0.2 goes through [`OutputStream`].
impl AsyncWrite for Tail {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Tail::write(&self, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
