//! Why a request got no answer.

use std::fmt;
use std::io;

use crate::raw::kiln::http::client;

/// Why a request got no answer, or an answer that cannot be used. Under `?` the job is tried again.
///
/// Its text names the server and not the rest of the URL, whose path or query often is the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    /// Which request it was about: `GET https://api.example.com`.
    about: String,
}

/// What kind of [`Error`] it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is none that can be sent: its URL, its headers, its body.
    Invalid,
    /// The server's name could not be resolved.
    Dns,
    /// There is no connection: refused, unreachable.
    Connect,
    /// The server could not prove its name, or TLS failed otherwise.
    Tls,
    /// Something took longer than it may.
    Timeout,
    /// The connection broke, or the server does not keep to HTTP.
    Network,
    /// A head or a body is larger than the plugin's limits.
    TooLarge,
    /// More requests were made, or are open, than the plugin may have.
    TooMany,
    /// The answer leads on to more places than are followed.
    Redirects,
    /// The answer's body is not the JSON that was asked for.
    Json,
}

impl Error {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            about: String::new(),
        }
    }

    /// Says which request it is about.
    pub(super) fn about(mut self, about: &str) -> Self {
        self.about = about.to_owned();
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.about.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.about, self.message)
        }
    }
}

impl std::error::Error for Error {}

impl From<client::Error> for Error {
    fn from(err: client::Error) -> Self {
        let kind = match err.kind {
            client::ErrorKind::Invalid => ErrorKind::Invalid,
            client::ErrorKind::Dns => ErrorKind::Dns,
            client::ErrorKind::Connect => ErrorKind::Connect,
            client::ErrorKind::Tls => ErrorKind::Tls,
            client::ErrorKind::Timeout => ErrorKind::Timeout,
            client::ErrorKind::Network => ErrorKind::Network,
            client::ErrorKind::TooLarge => ErrorKind::TooLarge,
            client::ErrorKind::TooMany => ErrorKind::TooMany,
        };
        Self::new(kind, err.message)
    }
}

impl From<Error> for io::Error {
    fn from(err: Error) -> Self {
        let kind = match err.kind {
            ErrorKind::Timeout => io::ErrorKind::TimedOut,
            ErrorKind::Connect => io::ErrorKind::ConnectionRefused,
            ErrorKind::Network => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, err)
    }
}
