//! TCP connections that can begin with TLS later, as after SMTP's `STARTTLS` or PostgreSQL's `SSLRequest`.
//!
//! ```no_run
//! use std::io::{Read, Write};
//!
//! use kiln_handler::tcp::Stream;
//!
//! fn ping() -> std::io::Result<String> {
//!     let mut stream = Stream::connect("redis.internal", 6379)?;
//!     stream.write_all(b"PING\r\n")?;
//!     let mut answer = [0; 7];
//!     stream.read_exact(&mut answer)?;
//!     Ok(String::from_utf8_lossy(&answer).into_owned())
//! }
//! ```
//!
//! `std::net::TcpStream` works as well, and with it the crates that are built upon it: for plain connections, and for those
//! that the host makes with TLS because their grant says so. What may be reached is the operator's to grant
//! (`[[grants.tcp]]`); a connection that no grant covers ends the attempt. Outside Wasm there is no host to connect.

#[cfg(feature = "tokio")]
mod block_on;

#[cfg(feature = "tokio")]
pub use block_on::block_on;

use std::io;
use std::time::Duration;

use crate::failure::whole_ms;
use crate::raw::kiln::tcp::connections::{self, Error, ErrorKind};

/// Bytes that are read, or handed over to be written, at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A connection. Dropped, it is closed.
#[derive(Debug)]
pub struct Stream {
    number: u32,
    timeout: Option<Duration>,
}

impl Stream {
    /// Connects to a server, whose name the host resolves.
    ///
    /// # Errors
    /// When there is no connection: the name is unknown, nobody listens, it took too long, or the plugin may have no more.
    pub fn connect(host: &str, port: u16) -> io::Result<Self> {
        let stream = Self::begin(host, port)?;
        connections::connected(stream.number).map_err(told)?;
        Ok(stream)
    }

    fn begin(host: &str, port: u16) -> io::Result<Self> {
        if !cfg!(target_family = "wasm") {
            let why = "outside Wasm there is no host to connect";
            return Err(io::Error::new(io::ErrorKind::NotConnected, why));
        }
        let number = connections::connect(host, port).map_err(told)?;
        Ok(Self { number, timeout: None })
    }

    /// Has the host speak TLS from here on, once it has verified that the server has this name.
    ///
    /// # Errors
    /// When the server cannot prove its name, or bytes have come that TLS does not cover.
    pub fn start_tls(&mut self, server_name: &str) -> io::Result<()> {
        connections::start_tls(self.number, server_name).map_err(told)
    }

    /// How long a read or write may wait; without one, as long as the plugin's limits allow.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Sends no more. What the server sends can still be read.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn finish(&mut self) -> io::Result<()> {
        connections::finish(self.number).map_err(told)
    }

    /// Returns once a read, or a write, would not wait. Without a timeout the host waits when asked.
    fn await_ready(&self, to: Way) -> io::Result<()> {
        match self.timeout {
            Some(timeout) if !self.is_ready(to, timeout) => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    fn is_ready(&self, to: Way, timeout: Duration) -> bool {
        // Rounded up: the last fraction of a millisecond is no time to ask for nothing over and over.
        let ms = whole_ms(timeout);
        let one = [self.number];
        let (readable, writable): (&[u32], &[u32]) = match to {
            Way::Read => (&one, &[]),
            Way::Write => (&[], &one),
        };
        connections::wait(readable, writable, &[], Some(ms)).is_some()
    }

    fn read_some(&self, into: &mut [u8]) -> io::Result<usize> {
        let size = into.len().min(PIECE_BYTES);
        let piece = connections::read(self.number, size as u32).map_err(told)?;
        into[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }

    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE_BYTES)];
        let taken = connections::write(self.number, piece).map_err(told)?;
        Ok(taken as usize)
    }
}

/// What a connection is waited for.
#[derive(Debug, Clone, Copy)]
enum Way {
    Read,
    Write,
}

impl io::Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        self.await_ready(Way::Read)?;
        self.read_some(into)
    }
}

impl io::Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.await_ready(Way::Write)?;
        self.write_some(bytes)
    }

    /// The host sends what it was given.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        connections::close(self.number);
    }
}

fn told(err: Error) -> io::Error {
    let kind = match err.kind {
        ErrorKind::Invalid => io::ErrorKind::InvalidInput,
        ErrorKind::Connect => io::ErrorKind::ConnectionRefused,
        ErrorKind::Timeout => io::ErrorKind::TimedOut,
        ErrorKind::Network => io::ErrorKind::ConnectionReset,
        ErrorKind::Dns | ErrorKind::Tls | ErrorKind::TooMany => io::ErrorKind::Other,
    };
    io::Error::new(kind, err.message)
}
