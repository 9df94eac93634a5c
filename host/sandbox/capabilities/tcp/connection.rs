//! One connection, from the time that it is asked for.
//!
//! It is made on the I/O threads. From then on the guest that waits for it polls it, on the guest's thread and in its time:
//! nothing is read that nobody asks for, and nothing waits to be sent that the guest could not wait for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::fault::Fault;
use super::wire::{CHUNK_BYTES, Stream, Wire};
use crate::sandbox::capabilities::network::Patience;

/// Bytes that the host keeps for one connection at most: what was read ahead, what is to be sent, and as much again, in
/// both directions, for TLS.
pub(super) const CONNECTION_BYTES: usize = 4 * CHUNK_BYTES;

/// Makes a connection, or one that is secure of one that is not.
pub(super) type Making = AbortOnDropHandle<Result<Stream, Fault>>;

/// The fault of a call with a connection that is closed, or never was one.
pub(super) const NOT_OPEN: Fault = Fault::Wrong("no such connection is open");

pub(super) struct Connection {
    state: State,
    reading: Patience,
    writing: Patience,
    bytes_left: Arc<AtomicU64>,
}

enum State {
    Making(Making),
    Open(Box<Wire>),
    Failed(Fault),
}

impl State {
    /// Waits until the connection stands.
    fn poll_wire(&mut self, cx: &mut Context<'_>) -> Poll<Result<&mut Wire, Fault>> {
        if let Self::Making(making) = self {
            let made = ready!(Pin::new(making).poll(cx));
            *self = match made.unwrap_or(Err(Fault::Broken)) {
                Ok(stream) => Self::Open(Box::new(Wire::new(stream))),
                Err(fault) => Self::Failed(fault),
            };
        }
        Poll::Ready(match self {
            Self::Open(wire) => Ok(wire),
            Self::Failed(fault) => Err(*fault),
            // Not while it is made: that was waited for.
            Self::Making(_) => Err(Fault::Broken),
        })
    }
}

impl Connection {
    /// `bytes_left` is what all connections of the attempt may still move.
    pub(super) fn new(making: Making, idle: Duration, bytes_left: Arc<AtomicU64>) -> Self {
        Self {
            state: State::Making(making),
            reading: Patience::new(idle),
            writing: Patience::new(idle),
            bytes_left,
        }
    }

    /// Ready once the connection stands.
    pub(super) fn poll_connected(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.state.poll_wire(cx).map_ok(|_| ())
    }

    /// Ready once there is something to take, or the server sends no more.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let most = self.left();
        let wire = ready!(self.state.poll_wire(cx))?;
        let unsent = wire.unsent();
        let came = wire.poll_fill(cx, most);
        if wire.unsent() < unsent {
            self.writing.reset();
        }
        let came = ready!(bounded(&mut self.reading, cx, came));
        let counted = came.and_then(|bytes| self.count(bytes));
        Poll::Ready(self.settle(counted))
    }

    /// What has come, up to `max_bytes`. Nothing: the server sends no more, or nothing was waited for.
    pub(super) fn take(&mut self, max_bytes: usize) -> &[u8] {
        match &mut self.state {
            State::Open(wire) => wire.take(max_bytes),
            _ => &[],
        }
    }

    /// Sends some of these bytes, and returns how many.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Fault>> {
        let left = self.left();
        if left == 0 && !bytes.is_empty() {
            return Poll::Ready(self.settle(Err(Fault::TooManyBytes)));
        }
        let bytes = &bytes[..bytes.len().min(left)];
        let written = ready!(self.poll_sending(cx, |wire, cx| wire.poll_write(cx, bytes)));
        // The server may answer only now, however long ago the guest began to listen.
        self.reading.reset();
        let counted = written.and_then(|bytes| self.count(bytes).map(|()| bytes));
        Poll::Ready(self.settle(counted))
    }

    /// Ready once there is room for some bytes, for [`CHUNK_BYTES`] of them in [`Self::queue`].
    pub(super) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.poll_sending(cx, Wire::poll_writable)
    }

    /// Ready once everything is sent.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.poll_sending(cx, Wire::poll_flush)
    }

    /// Polls what sends. The time for it begins anew with each piece that goes, of all that waits to be sent.
    fn poll_sending<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Wire, &mut Context<'_>) -> Poll<Result<T, Fault>>,
    ) -> Poll<Result<T, Fault>> {
        let wire = ready!(self.state.poll_wire(cx))?;
        let unsent = wire.unsent();
        let sent = poll(wire, cx);
        if wire.unsent() < unsent {
            self.writing.reset();
        }
        let sent = ready!(bounded(&mut self.writing, cx, sent));
        Poll::Ready(self.settle(sent))
    }

    /// Keeps bytes to be sent as soon as there is room. Those before them have to be sent.
    pub(super) fn queue(&mut self, bytes: Bytes) -> Result<(), Fault> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.reading.reset();
        let counted = self.count(bytes.len());
        self.settle(counted)?;
        match &mut self.state {
            State::Open(wire) => {
                wire.queue(bytes);
                Ok(())
            }
            State::Making(_) => Err(Fault::Broken),
            State::Failed(fault) => Err(*fault),
        }
    }

    /// Sends no more than what is kept to be sent.
    pub(super) fn finish(&mut self) {
        if let State::Open(wire) = &mut self.state {
            wire.finish();
        }
    }

    /// Whether the guest sends no more.
    pub(super) fn is_finished(&self) -> bool {
        matches!(&self.state, State::Open(wire) if wire.is_finished())
    }

    /// Begins TLS. From then on the connection is one that is being made.
    pub(super) fn start_tls(&mut self, secure: impl FnOnce(TcpStream) -> Making) -> Result<(), Fault> {
        let plain = match &self.state {
            State::Open(wire) => wire.check_plain(),
            _ => Ok(()),
        };
        self.settle(plain)?;
        let state = std::mem::replace(&mut self.state, State::Failed(Fault::Broken));
        self.state = match state {
            State::Open(wire) => wire
                .into_plain()
                .map_or(State::Failed(Fault::Broken), |stream| State::Making(secure(stream))),
            other => other,
        };
        Ok(())
    }

    /// Ends it, whatever is still to be sent.
    pub(super) fn close(&mut self) {
        if let State::Open(wire) = &mut self.state {
            wire.say_goodbye();
        }
        self.state = State::Failed(NOT_OPEN);
    }

    /// Stops the clocks: the guest does not wait.
    pub(super) fn pause(&mut self) {
        self.reading.pause();
        self.writing.pause();
    }

    /// Bytes that may still move.
    fn left(&self) -> usize {
        usize::try_from(self.bytes_left.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// Counts bytes that have moved.
    fn count(&self, bytes: usize) -> Result<(), Fault> {
        let less = |left: u64| left.checked_sub(bytes as u64);
        let counted = self.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        counted.map(|_| ()).map_err(|_| Fault::TooManyBytes)
    }

    /// Ends the connection if something went wrong with it.
    fn settle<T>(&mut self, told: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(fault) = told
            && !matches!(fault, Fault::Wrong(_))
        {
            self.state = State::Failed(fault);
        }
        told
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// What was polled, or that it has been pending for too long.
fn bounded<T>(patience: &mut Patience, cx: &mut Context<'_>, polled: Poll<Result<T, Fault>>) -> Poll<Result<T, Fault>> {
    patience.bound(cx, polled).map(|done| done.unwrap_or(Err(Fault::Idle)))
}
