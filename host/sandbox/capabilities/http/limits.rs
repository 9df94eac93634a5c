//! What one attempt's HTTP requests may take.

use std::time::Duration;

use crate::config::{Limit, Limits};

/// Bytes of an HTTP method's name. The longest in use have about twenty.
pub(super) const MAX_METHOD_BYTES: usize = 64;

/// Bytes of a request's body that are handed over at once.
pub(super) const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// Memory that a request's two heads take at most, as a multiple of the limit on one head's bytes. A list of the
/// smallest possible fields takes eight times its text.
const HEADS_FACTOR: usize = 16;

/// Chunks of bodies that wait: two in the request's own queue, one on either side of the connection.
const EXCHANGE_CHUNKS: usize = 4;

/// What one attempt's HTTP requests may take. A handler can ask for shorter times, not for longer ones.
#[derive(Debug, Clone)]
pub(super) struct HttpLimits {
    /// Requests.
    pub(super) requests: u32,
    /// Connections at once. One counts until its answer's body is read to the end or dropped.
    pub(super) connections: u32,
    /// Bytes of a request's header fields, and of an answer's head.
    pub(super) header_bytes: usize,
    /// Bytes of a request's body, and of an answer's.
    pub(super) body_bytes: u64,
    /// Bytes of a body that a signature covers.
    pub(super) signed_body_bytes: usize,
    /// Whether the host holds bodies whole, since signatures cover them.
    pub(super) hold_bodies: bool,
    /// Time to resolve the name, to connect, and for the TLS handshake, together.
    pub(super) connect_timeout: Duration,
    /// Time from the connection to the answer's head.
    pub(super) first_byte_timeout: Duration,
    /// Time in which some byte of a body has to move, in either direction.
    pub(super) between_bytes_timeout: Duration,
}

impl HttpLimits {
    /// Bytes that the host keeps for one request under way at most: both heads, which take several times their text in
    /// memory, what of the bodies waits to be moved on, and a body that a signature covers.
    pub(super) fn exchange_bytes(&self) -> usize {
        let held = if self.hold_bodies { self.signed_body_bytes } else { 0 };
        self.header_bytes
            .saturating_mul(HEADS_FACTOR)
            .saturating_add(EXCHANGE_CHUNKS * MAX_CHUNK_BYTES)
            .saturating_add(held)
    }
}

impl From<&Limits> for HttpLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            requests: limits.count(Limit::HttpRequests),
            connections: limits.count(Limit::HttpConnections),
            header_bytes: limits.size(Limit::HttpHeaderBytes),
            body_bytes: limits.get(Limit::HttpBodyBytes),
            signed_body_bytes: limits.size(Limit::HttpSignedBodyBytes),
            hold_bodies: false,
            connect_timeout: limits.time(Limit::HttpConnectTimeout),
            first_byte_timeout: limits.time(Limit::HttpFirstByteTimeout),
            between_bytes_timeout: limits.time(Limit::HttpBetweenBytesTimeout),
        }
    }
}
