//! How guests' HTTP requests are made, and what they may take.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::{
    HTTP_BETWEEN_BYTES_TIMEOUT, HTTP_CONNECT_TIMEOUT, HTTP_FIRST_BYTE_TIMEOUT, MAX_HTTP_BODY_BYTES,
    MAX_HTTP_CONNECTIONS, MAX_HTTP_HEADER_BYTES, MAX_HTTP_REQUESTS,
};

/// What one attempt's HTTP requests may take. A handler can ask for shorter times, not for longer ones.
#[derive(Debug, Clone)]
pub struct EgressLimits {
    /// Requests.
    pub requests: u32,
    /// Connections at once. One counts until its answer's body is read to the end or dropped.
    pub connections: u32,
    /// Bytes of a request's header fields, and of an answer's head.
    pub header_bytes: usize,
    /// Bytes of a request's body, and of an answer's.
    pub body_bytes: u64,
    /// Time to resolve the name, to connect, and for the TLS handshake, together.
    pub connect_timeout: Duration,
    /// Time from then on until the answer's head is there.
    pub first_byte_timeout: Duration,
    /// Time in which some byte of a body has to move, in either direction.
    pub between_bytes_timeout: Duration,
}

impl Default for EgressLimits {
    fn default() -> Self {
        Self {
            requests: MAX_HTTP_REQUESTS,
            connections: MAX_HTTP_CONNECTIONS,
            header_bytes: MAX_HTTP_HEADER_BYTES,
            body_bytes: MAX_HTTP_BODY_BYTES,
            connect_timeout: HTTP_CONNECT_TIMEOUT,
            first_byte_timeout: HTTP_FIRST_BYTE_TIMEOUT,
            between_bytes_timeout: HTTP_BETWEEN_BYTES_TIMEOUT,
        }
    }
}

/// The addresses of a host, at a port.
type Addresses = BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

/// How the names in guests' requests become addresses: the system's way by default. A program that embeds Kiln may bring
/// its own DNS. It is asked once for each request, and every address it gives is checked.
#[derive(Clone, Default)]
pub struct Resolver(Option<Arc<dyn Fn(String, u16) -> Addresses + Send + Sync>>);

impl Resolver {
    /// One that calls `lookup` with host (an address without brackets) and port.
    pub fn new(lookup: impl Fn(String, u16) -> Addresses + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(lookup)))
    }

    /// Asks it; none if it is the system's.
    pub(crate) fn ask(&self, host: &str, port: u16) -> Option<Addresses> {
        Some(self.0.as_ref()?(host.to_owned(), port))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Resolver(own)"
        } else {
            "Resolver(system)"
        })
    }
}
