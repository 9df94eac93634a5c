//! Streams into and out of a file.

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::Opened;
use super::tree::Refusal;

/// Bytes that are read, or that a guest is told it may write, in one call.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// Reads a file from some place on.
pub(super) struct Reader {
    pub(super) file: Opened,
    pub(super) at: u64,
}

/// Writes a file from some place on, or at its end.
pub(super) struct Writer {
    pub(super) file: Opened,
    /// None: at the end.
    pub(super) at: Option<u64>,
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let tree = self.file.tree.lock();
        let read = tree.read(self.file.number, self.at, size.min(PIECE_BYTES));
        let bytes = Bytes::from(read.map_err(failed)?);
        if bytes.is_empty() && size > 0 {
            return Err(StreamError::Closed);
        }
        self.at += bytes.len() as u64;
        Ok(bytes)
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Writer {
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PIECE_BYTES)
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let written = self.file.tree.lock().write(self.file.number, self.at, &bytes);
        written.map_err(failed)?;
        self.at = self.at.map(|at| at + bytes.len() as u64);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
}

fn failed(refusal: Refusal) -> StreamError {
    match refusal {
        Refusal::Told(code) => StreamError::LastOperationFailed(code.into()),
        Refusal::Exceeded(exceeded) => StreamError::Trap(exceeded.into()),
    }
}
