//! An open connection: its stream, what was read ahead, and what is still to be sent.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::fault::Fault;

/// Bytes that are read ahead at most, and written at once.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;

/// The bytes of a connection, plain or by TLS.
pub(super) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

pub(super) struct Wire {
    stream: Stream,
    /// Holds what was read ahead, from `read` to `filled`. Empty until something is read.
    buffer: Vec<u8>,
    read: usize,
    filled: usize,
    /// Whether the server sends no more.
    ended: bool,
    /// What was taken from the guest and not sent yet.
    unsent: Bytes,
    finish: Finish,
}

/// Whether the guest sends more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finish {
    No,
    /// It does not, which the server is told once all is sent.
    Asked,
    Told,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            read: 0,
            filled: 0,
            ended: false,
            unsent: Bytes::new(),
            finish: Finish::No,
        }
    }

    fn has_unread(&self) -> bool {
        self.read < self.filled
    }

    /// Bytes that are still to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Ready once something can be taken, or the server sends no more. Returns how many bytes came: up to `most`, but one
    /// even if there may be none. It tells whether there is more.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Result<usize, Fault>> {
        if self.has_unread() || self.ended {
            return Poll::Ready(Ok(0));
        }
        // The server may wait for what is not sent yet. If sending fails, reading tells what the server said of it.
        let _ = self.poll_flush(cx);
        self.buffer.resize(CHUNK_BYTES, 0);
        let mut into = ReadBuf::new(&mut self.buffer[..most.clamp(1, CHUNK_BYTES)]);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut into));
        let came = into.filled().len();
        read.map_err(|err| self.fault(&err))?;
        (self.read, self.filled) = (0, came);
        self.ended = came == 0;
        Poll::Ready(Ok(came))
    }

    /// What was read ahead, up to `max_bytes`.
    pub(super) fn take(&mut self, max_bytes: usize) -> &[u8] {
        let from = self.read;
        self.read += max_bytes.min(self.filled - self.read);
        &self.buffer[from..self.read]
    }

    /// Sends some of these bytes, and returns how many.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Fault>> {
        ready!(self.poll_flush(cx))?;
        if self.finish != Finish::No {
            return Poll::Ready(Err(Fault::Wrong("it was finished, and sends no more")));
        }
        let bytes = &bytes[..bytes.len().min(CHUNK_BYTES)];
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(written.map_err(|err| self.fault(&err)))
    }

    /// Keeps bytes to be sent. All before them have to be sent already.
    pub(super) fn queue(&mut self, bytes: Bytes) {
        self.unsent = bytes;
    }

    /// Ready once everything is sent, the end too, if the guest has finished.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        while !self.unsent.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.unsent));
            let written = written.map_err(|err| self.fault(&err))?;
            let _ = self.unsent.split_to(written);
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx)).map_err(|err| self.fault(&err))?;
        if self.finish == Finish::Asked {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx)).map_err(|err| self.fault(&err))?;
            self.finish = Finish::Told;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready once there is room for some bytes.
    pub(super) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        ready!(self.poll_flush(cx))?;
        let socket = match &self.stream {
            Either::Left(plain) => plain,
            Either::Right(tls) => tls.get_ref().0,
        };
        let ready = ready!(socket.poll_write_ready(cx));
        Poll::Ready(ready.map_err(|err| self.fault(&err)))
    }

    /// Sends no more than what is to be sent already.
    pub(super) fn finish(&mut self) {
        if self.finish == Finish::No {
            self.finish = Finish::Asked;
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finish != Finish::No
    }

    /// Checks that TLS can begin.
    pub(super) fn check_plain(&self) -> Result<(), Fault> {
        if self.has_unread() {
            return Err(Fault::PlainBeforeTls);
        }
        match &self.stream {
            Either::Right(_) => Err(Fault::Wrong("the host speaks TLS over it already")),
            Either::Left(_) if self.ended || self.is_finished() || !self.unsent.is_empty() => {
                Err(Fault::Wrong("it has ended, or still sends"))
            }
            Either::Left(_) => Ok(()),
        }
    }

    /// The stream, if it is plain.
    pub(super) fn into_plain(self) -> Option<TcpStream> {
        match self.stream {
            Either::Left(plain) => Some(plain),
            Either::Right(_) => None,
        }
    }

    /// Tells the server that TLS ends here, as far as that can be done at once.
    pub(super) fn say_goodbye(&mut self) {
        if let (Either::Right(tls), Finish::No) = (&mut self.stream, self.finish) {
            let _ = Pin::new(tls).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }

    fn fault(&self, err: &std::io::Error) -> Fault {
        Fault::of(err, matches!(self.stream, Either::Right(_)))
    }
}
