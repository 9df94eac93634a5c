//! What a guest writes to standard output and error: the last of it is kept, the rest counted.
//!
//! Writing never blocks and never fails, however much a guest writes.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::config::MAX_OUTPUT_BYTES;

/// Bytes a guest may write in one call, and so the most the host allocates for it.
const WRITE_BYTES: usize = 64 * 1024;

/// What is left of a guest's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// The last of it, at most [`MAX_OUTPUT_BYTES`]; what is not UTF-8 is replaced.
    pub text: String,
    /// Bytes before that, which were dropped.
    pub dropped_bytes: u64,
}

/// One of a guest's output streams. Clones write to the same place.
#[derive(Clone, Default)]
pub(super) struct Tail(Arc<Mutex<Buffer>>);

#[derive(Default)]
struct Buffer {
    /// The last bytes, and up to as many again that are cut off in one go.
    bytes: Vec<u8>,
    dropped: u64,
}

impl Tail {
    /// Takes what was written so far.
    pub(super) fn take(&self) -> Output {
        let mut buffer = std::mem::take(&mut *self.lock());
        buffer.cut();
        Output {
            text: String::from_utf8_lossy(&buffer.bytes).into_owned(),
            dropped_bytes: buffer.dropped,
        }
    }

    fn write(&self, bytes: &[u8]) {
        let mut buffer = self.lock();
        buffer.bytes.extend_from_slice(bytes);
        if buffer.bytes.len() >= 2 * MAX_OUTPUT_BYTES {
            buffer.cut();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// Drops all but the last [`MAX_OUTPUT_BYTES`].
    fn cut(&mut self) {
        let excess = self.bytes.len().saturating_sub(MAX_OUTPUT_BYTES);
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
