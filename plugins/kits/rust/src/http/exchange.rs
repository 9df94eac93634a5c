//! A request that is under way and its answer, as the host counts them.

use std::time::{Duration, Instant};

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{Error, ErrorKind};
use crate::raw::kiln::http::client;

/// Bytes that are asked for, or handed over, at once.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// Until when an answer has to be there to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    ends: Instant,
    timeout: Duration,
}

impl Deadline {
    pub(super) fn after(timeout: Duration) -> Self {
        let ends = Instant::now() + timeout;
        Self { ends, timeout }
    }

    fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    fn is_over(&self) -> Error {
        let ms = self.timeout.as_millis();
        Error::new(ErrorKind::Timeout, format!("took longer than {ms} ms"))
    }
}

/// Dropped, it is closed, and its connection with it.
#[derive(Debug)]
pub(super) struct Exchange {
    number: u32,
    deadline: Deadline,
}

impl Exchange {
    pub(super) fn start(request: &client::Request, deadline: Deadline) -> Result<Self, Error> {
        if !cfg!(target_family = "wasm") {
            let message = "outside Wasm there is no host to send requests";
            return Err(Error::new(ErrorKind::Connect, message));
        }
        let number = client::start(request)?;
        Ok(Self { number, deadline })
    }

    /// Becomes another one, in the same time. The connection is closed first: there may be no second one.
    pub(super) fn restart(&mut self, request: &client::Request) -> Result<(), Error> {
        client::close(self.number);
        self.number = client::start(request)?;
        Ok(())
    }

    /// Sends bytes of a streamed body.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        if self.deadline.left().is_zero() {
            return Err(self.deadline.is_over());
        }
        Ok(client::write(self.number, bytes)?)
    }

    /// Ends a streamed body.
    pub(super) fn finish(&self) -> Result<(), Error> {
        Ok(client::finish(self.number)?)
    }

    /// Waits for the head of the answer.
    pub(super) fn head(&self) -> Result<(StatusCode, HeaderMap), Error> {
        self.wait()?;
        let head = client::response(self.number)?;
        let odd = |_| Error::new(ErrorKind::Network, "the answer has a head that HTTP does not know");
        let mut headers = HeaderMap::new();
        for (name, value) in head.headers {
            let name = HeaderName::try_from(name).map_err(|_| odd(()))?;
            headers.append(name, HeaderValue::try_from(value).map_err(|_| odd(()))?);
        }
        let status = StatusCode::from_u16(head.status).map_err(|_| odd(()))?;
        Ok((status, headers))
    }

    /// Waits for the next piece of the answer's body, of so many bytes at most; empty at its end.
    pub(super) fn read(&self, max_bytes: usize) -> Result<Vec<u8>, Error> {
        self.wait()?;
        let max_bytes = max_bytes.min(PIECE_BYTES) as u32;
        Ok(client::read(self.number, max_bytes)?)
    }

    fn wait(&self) -> Result<(), Error> {
        // Rounded up: the last fraction of a millisecond is no time to ask for nothing over and over.
        let left = self.deadline.left().as_micros().div_ceil(1000);
        let ready = client::wait(&[self.number], Some(left.try_into().unwrap_or(u64::MAX)));
        ready.map(drop).ok_or_else(|| self.deadline.is_over())
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        client::close(self.number);
    }
}
