//! What can go wrong with a connection, and what a guest is told of it.

use std::io;

use crate::sandbox::bindings::kiln::tcp::connections::{Error, ErrorKind};
use crate::sandbox::capabilities::network::Unconnected;

/// What went wrong with a connection, or with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no connection, or no TLS on it.
    Unconnected(Unconnected),
    /// It broke.
    Broken,
    /// The server ended it without ending TLS. Something may be missing that an attacker cut off.
    Truncated,
    /// What came was not TLS, or forged.
    Forged,
    /// Bytes came before TLS began.
    PlainBeforeTls,
    /// No byte came, or none was taken, for too long.
    Idle,
    /// Too many are open.
    TooManyOpen,
    /// Too many were made.
    TooManyMade,
    /// Too many bytes went over the attempt's connections.
    TooManyBytes,
    /// A call that its state, or any, does not allow: why.
    Wrong(&'static str),
}

impl From<Unconnected> for Fault {
    fn from(why: Unconnected) -> Self {
        Self::Unconnected(why)
    }
}

impl Fault {
    /// The fault of a connection that could not be read from or written to.
    pub(super) fn of(err: &io::Error, by_tls: bool) -> Self {
        match err.kind() {
            io::ErrorKind::UnexpectedEof if by_tls => Self::Truncated,
            io::ErrorKind::InvalidData if by_tls => Self::Forged,
            _ => Self::Broken,
        }
    }
}

/// What a guest is told, in the words of `kiln:tcp/connections`.
impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let (kind, message) = match fault {
            Fault::Unconnected(why) => unconnected(why),
            Fault::Broken => (ErrorKind::Network, "the connection broke"),
            Fault::Truncated => (ErrorKind::Network, "the server ended the connection without ending TLS"),
            Fault::Forged => (ErrorKind::Tls, "TLS failed"),
            Fault::PlainBeforeTls => (
                ErrorKind::Tls,
                "the server sent bytes before TLS began, for which nobody vouches",
            ),
            Fault::Idle => (ErrorKind::Timeout, "no byte moved for as long as tcp_idle_timeout"),
            Fault::TooManyOpen => (ErrorKind::TooMany, "more connections are open than tcp_connections"),
            Fault::TooManyMade => (ErrorKind::TooMany, "more connections were made than tcp_connects"),
            Fault::TooManyBytes => (
                ErrorKind::TooMany,
                "more bytes went over its connections than tcp_bytes",
            ),
            Fault::Wrong(why) => (ErrorKind::Invalid, why),
        };
        Self {
            kind,
            message: message.to_owned(),
        }
    }
}

fn unconnected(why: Unconnected) -> (ErrorKind, &'static str) {
    match why {
        Unconnected::Unresolved => (ErrorKind::Dns, "the server's name is not known"),
        Unconnected::LookupTimeout => (ErrorKind::Dns, "resolving the server's name took too long"),
        Unconnected::Refused => (ErrorKind::Connect, "connection refused"),
        Unconnected::Unroutable | Unconnected::Unavailable => (ErrorKind::Connect, "the server cannot be reached"),
        Unconnected::Timeout => (ErrorKind::Timeout, "connecting took too long"),
        Unconnected::Broken => (ErrorKind::Network, "the connection broke"),
        Unconnected::Certificate => (
            ErrorKind::Tls,
            "the server's certificate does not prove its name, or its authority is not known to the host (see --egress-ca)",
        ),
        Unconnected::Alert(_) | Unconnected::Tls => (ErrorKind::Tls, "TLS failed"),
        Unconnected::NoServerName => (ErrorKind::Invalid, "no certificate can be for that name"),
        Unconnected::ProxyCredentials => (ErrorKind::Connect, "the proxy wants other credentials"),
        Unconnected::ProxyAnswerSize | Unconnected::Proxy => (ErrorKind::Connect, "the proxy makes no tunnel there"),
    }
}
