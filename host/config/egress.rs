//! How guests' HTTP requests are made, and what they may take.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::{Limit, Limits, MAX_HTTP_CHUNK_BYTES};

/// How many times the limit on a head's bytes both heads of a request take at most. A list of fields takes eight times its
/// text where the fields are as small as can be.
const HEADS_FACTOR: usize = 16;

/// Chunks of bodies that wait: two in the request's own queue, one on either side of the connection.
const EXCHANGE_CHUNKS: usize = 4;

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

impl EgressLimits {
    /// Bytes that the host keeps for one request under way at most: both heads, which take several times their text in
    /// memory, and what of the bodies waits to be moved on.
    #[must_use]
    pub fn exchange_bytes(&self) -> usize {
        self.header_bytes
            .saturating_mul(HEADS_FACTOR)
            .saturating_add(EXCHANGE_CHUNKS * MAX_HTTP_CHUNK_BYTES)
    }
}

impl From<&Limits> for EgressLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            requests: limits.count(Limit::HttpRequests),
            connections: limits.count(Limit::HttpConnections),
            header_bytes: limits.size(Limit::HttpHeaderBytes),
            body_bytes: limits.get(Limit::HttpBodyBytes),
            connect_timeout: limits.time(Limit::HttpConnectTimeout),
            first_byte_timeout: limits.time(Limit::HttpFirstByteTimeout),
            between_bytes_timeout: limits.time(Limit::HttpBetweenBytesTimeout),
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
