//! A guest's outgoing HTTP requests: to the origins its operator granted, counted, and with a time limit each.
//!
//! They run on the host's control threads, so that a guest which occupies the guest threads cannot keep a connection
//! from being served. Absent on purpose: proxies from the environment, redirects followed by the host, connections
//! shared between attempts. Each would let a request end where no grant was checked.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Response, Uri};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, default_send_request};

use super::deadline::Deadline;
use super::plugin::Plugin;
use crate::config::{HTTP_TIMEOUT, MAX_HTTP_CHUNK_BYTES, MAX_HTTP_REQUESTS, Origin};

/// The driver of a connection: runs until the answer's body is read.
type Connection = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Result<(Response<WasiBody>, Connection), Error>;

/// A request that no grant covers. It ends the attempt: kind `denied`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("http request to {origin}: not granted; add [[grants.http]] origin = \"{origin}\" to {plugin}.toml")]
pub(super) struct Denied {
    origin: Origin,
    plugin: String,
}

/// The way out for one attempt's requests.
pub(super) struct Egress {
    plugin: Arc<Plugin>,
    control: Handle,
    deadline: Deadline,
    sent: u32,
    /// The first request that no grant covers; whoever called in then ends the attempt with it.
    pub(super) denied: Option<Denied>,
}

impl Egress {
    pub(super) fn new(plugin: Arc<Plugin>, control: Handle, deadline: Deadline) -> Self {
        Self {
            plugin,
            control,
            deadline,
            sent: 0,
            denied: None,
        }
    }

    /// Requests sent so far.
    pub(super) fn sent(&self) -> u32 {
        self.sent
    }

    /// Checks a request against the grants and the count.
    fn admit(&mut self, uri: &Uri) -> Result<(), Error> {
        let origin = origin(uri)?;
        if !self.plugin.http.iter().any(|grant| grant.origin.covers(&origin)) {
            self.denied = Some(Denied {
                origin,
                plugin: self.plugin.name.clone(),
            });
            return Err(Error::HttpRequestDenied);
        }
        if self.sent == MAX_HTTP_REQUESTS {
            return Err(Error::ConnectionLimitReached);
        }
        self.sent += 1;
        Ok(())
    }

    /// The time a request may take: what the guest asks for or the default, within the attempt's.
    fn options(&self, asked: Option<RequestOptions>) -> RequestOptions {
        let asked = asked.unwrap_or_default();
        let remaining = self.deadline.remaining();
        let within = |asked: Option<Duration>, default: Duration| Some(asked.unwrap_or(default).min(remaining));
        RequestOptions {
            connect_timeout: within(asked.connect_timeout, HTTP_TIMEOUT),
            first_byte_timeout: within(asked.first_byte_timeout, remaining),
            between_bytes_timeout: within(asked.between_bytes_timeout, HTTP_TIMEOUT),
        }
    }
}

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _guest_body: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        if let Err(err) = self.admit(request.uri()) {
            return Box::new(async { Err(err) });
        }
        let sending = self
            .control
            .spawn(send(request, self.options(options), self.control.clone()));
        let sending = AbortOnDropHandle::new(sending);
        Box::new(async { sending.await.unwrap_or_else(|_| Err(Error::ConnectionTerminated)) })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        MAX_HTTP_CHUNK_BYTES
    }
}

/// Sends one request that was admitted. Runs on a control thread; so does the connection, to its end.
///
/// This is the place to look at addresses: resolve the name, check each address, then connect to a checked one.
async fn send(request: Request<WasiBody>, options: RequestOptions, control: Handle) -> Answer {
    // Covers the TLS handshake, for which the library has no limit of its own.
    let limit = [options.connect_timeout, options.first_byte_timeout]
        .into_iter()
        .flatten()
        .sum();
    let sent = tokio::time::timeout(limit, default_send_request(request, Some(options))).await;
    let (response, connection) = sent.map_err(|_| Error::ConnectionTimeout)??;
    let connection = AbortOnDropHandle::new(control.spawn(connection));
    let connection: Pin<Box<_>> = Box::pin(async { connection.await.unwrap_or(Err(Error::ConnectionTerminated)) });
    Ok((response.map(WasiBody::new), Box::new(connection)))
}

/// Where a request goes. User names in it are refused: they make one host look like another.
fn origin(uri: &Uri) -> Result<Origin, Error> {
    let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return Err(Error::HttpRequestUriInvalid);
    }
    Ok(Origin::new(
        uri.scheme() == Some(&Scheme::HTTPS),
        authority.host(),
        authority.port_u16(),
    ))
}
