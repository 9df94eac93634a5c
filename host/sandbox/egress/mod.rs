//! A guest's outgoing HTTP requests: to where its operator granted, counted, and with limits on each.
//!
//! They run on threads of their own, so that a guest which occupies the guest threads cannot keep a connection
//! from being served. Absent on purpose: proxies from the environment, redirects followed by the host, connections
//! shared between attempts. Each would let a request end where no grant was checked.

mod address;
mod body;
mod connect;
mod denied;
mod exchange;
mod fault;
mod patience;
mod stream;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, Uri};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SetOnce};
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::deadline::Deadline;
use super::plugin::Plugin;
use super::secrets::Unfilled;
use crate::config::{EgressLimits, MAX_HTTP_CHUNK_BYTES, Origin};
use connect::{NoConnection, connect};
pub(super) use denied::Denied;
use exchange::exchange;
pub(super) use fault::code;

/// Methods that no request may have, in any spelling: some servers care for none, and `TRACK` is IIS's `TRACE`.
const REFUSED_METHODS: [&str; 3] = ["CONNECT", "TRACE", "TRACK"];

/// The driver of a connection: runs until the answer's body is read.
type Connection = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Result<(Response<WasiBody>, Connection), Error>;

/// The way out for one attempt's requests.
pub(super) struct Egress {
    plugin: Arc<Plugin>,
    io: Handle,
    deadline: Deadline,
    sent: u32,
    /// Whether the guest has made a request, sent or not, that no grant can cover.
    drafted: bool,
    /// None where nothing is granted: such a plugin's attempts pay for no more than this.
    way: Option<Way>,
    /// The first request that no grant covers; whoever called in then ends the attempt with it.
    pub(super) denied: Option<Denied>,
}

/// What requests under way share.
struct Way {
    connections: Arc<Semaphore>,
    refused: Refused,
}

/// Says that an attempt has to end, because a request turned out to go where it may not after it was accepted.
#[derive(Clone)]
pub(super) struct Refused(Arc<SetOnce<Denied>>);

/// A request that may be sent.
struct Admitted {
    origin: Origin,
    /// Whether it may go to addresses that are not public.
    private: bool,
    /// Its place among the attempt's connections.
    count: OwnedSemaphorePermit,
    limits: EgressLimits,
    plugin: Arc<Plugin>,
    refused: Refused,
}

impl Egress {
    pub(super) fn new(plugin: Arc<Plugin>, io: Handle, deadline: Deadline) -> Self {
        let way = (!plugin.grants.http.is_empty()).then(|| Way {
            connections: Arc::new(Semaphore::new(plugin.egress.connections as usize)),
            refused: Refused(Arc::default()),
        });
        Self {
            plugin,
            io,
            deadline,
            sent: 0,
            drafted: false,
            way,
            denied: None,
        }
    }

    /// Requests sent so far.
    pub(super) fn sent(&self) -> u32 {
        self.sent
    }

    /// Connections that are open, or about to be.
    pub(super) fn open(&self) -> usize {
        let all = self.plugin.egress.connections as usize;
        self.way
            .as_ref()
            .map_or(0, |way| all.saturating_sub(way.connections.available_permits()))
    }

    /// Has the guest make a request. Where nothing is granted it makes one: that it is not sent tells the operator where
    /// it wanted to go. More would only take the host's memory.
    pub(super) fn draft(&mut self) -> Result<(), Denied> {
        if self.way.is_none() && std::mem::replace(&mut self.drafted, true) {
            return Err(Denied::ungranted(&self.plugin.name));
        }
        Ok(())
    }

    /// Tells of requests that are refused while they are under way; none if there can be none.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.way.as_ref().map(|way| way.refused.clone())
    }

    /// Checks a request against the grants and the counts, and puts secrets into its headers.
    fn admit(&mut self, request: &mut Request<WasiBody>, asked: RequestOptions) -> Result<Admitted, Error> {
        let origin = origin(request.uri())?;
        // A tunnel leads to where no grant was checked; an echo shows the handler what the host put into a header.
        if REFUSED_METHODS
            .iter()
            .any(|method| request.method().as_str().eq_ignore_ascii_case(method))
        {
            return Err(Error::HttpRequestMethodInvalid);
        }
        // What was checked goes out, not how the guest spelt it.
        let host = HeaderValue::try_from(origin.authority()).map_err(|_| Error::HttpRequestUriInvalid)?;
        request.headers_mut().insert(HOST, host);
        let (path, method) = (request.uri().path(), request.method().as_str());
        let name = &self.plugin.name;
        let private = match self.plugin.grants.cover(&origin, path, method) {
            Ok(private) => private,
            Err(gap) => return self.deny(Denied::gap(gap, &origin, path, method, name)),
        };
        let limits = self.limits(asked);
        match self.plugin.secrets.fill(request.headers_mut(), &origin) {
            Ok(()) => {}
            Err(Unfilled::TooMany) => return Err(Error::HttpRequestHeaderSectionSize(None)),
            Err(Unfilled::Elsewhere(secret, granted)) => {
                let denied = Denied::secret(&origin, secret, granted, name);
                return self.deny(denied);
            }
        }
        let way = self.way.as_ref().ok_or(Error::HttpRequestDenied)?;
        let count = Arc::clone(&way.connections).try_acquire_owned();
        let count = count.map_err(|_| Error::ConnectionLimitReached)?;
        if self.sent == limits.requests {
            return Err(Error::ConnectionLimitReached);
        }
        self.sent += 1;
        Ok(Admitted {
            origin,
            private,
            count,
            limits,
            plugin: Arc::clone(&self.plugin),
            refused: way.refused.clone(),
        })
    }

    fn deny<T>(&mut self, denied: Denied) -> Result<T, Error> {
        self.denied = Some(denied);
        Err(Error::HttpRequestDenied)
    }

    /// What a request may take: what the guest asks for, up to the plugin's limits and the time of the attempt.
    fn limits(&self, asked: RequestOptions) -> EgressLimits {
        let limits = &self.plugin.egress;
        let remaining = self.deadline.remaining();
        let within = |asked: Option<Duration>, limit: Duration| asked.unwrap_or(limit).min(limit).min(remaining);
        EgressLimits {
            connect_timeout: within(asked.connect_timeout, limits.connect_timeout),
            first_byte_timeout: within(asked.first_byte_timeout, limits.first_byte_timeout),
            between_bytes_timeout: within(asked.between_bytes_timeout, limits.between_bytes_timeout),
            ..limits.clone()
        }
    }
}

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _guest_body: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        let admitted = match self.admit(&mut request, options.unwrap_or_default()) {
            Ok(admitted) => admitted,
            Err(err) => return Box::new(async { Err(err) }),
        };
        let sending = self.io.spawn(send(request, admitted, self.io.clone()));
        let sending = AbortOnDropHandle::new(sending);
        Box::new(async { sending.await.unwrap_or_else(|_| Err(Error::ConnectionTerminated)) })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        MAX_HTTP_CHUNK_BYTES
    }
}

impl Refused {
    fn tell(&self, denied: Denied) {
        // The first counts.
        let _ = self.0.set(denied);
    }
}

/// Waits for a request to be refused; for ever where none can be.
pub(super) async fn refused(refused: Option<Refused>) -> Denied {
    match refused {
        Some(refused) => refused.0.wait().await.clone(),
        None => pending().await,
    }
}

/// Sends one request that was admitted. Runs on a thread for that; so does the connection, to its end.
async fn send(request: Request<WasiBody>, admitted: Admitted, io: Handle) -> Answer {
    let Admitted {
        origin,
        private,
        count,
        limits,
        plugin,
        refused,
    } = admitted;
    let connected = connect(
        &origin,
        private,
        &plugin.resolver,
        &plugin.lookups,
        limits.connect_timeout,
    )
    .await;
    let stream = match connected {
        Ok(stream) => stream,
        Err(NoConnection::Failed(err)) => return Err(err),
        Err(NoConnection::NotPublic(ip, class)) => {
            refused.tell(Denied::address(&origin, ip, class, &plugin.name));
            // The guest is given no answer that it could act upon before it is ended.
            return pending().await;
        }
    };
    exchange(stream, request, &limits, count, &io).await
}

/// Where a request goes. User names in it are refused: they make one host look like another.
fn origin(uri: &Uri) -> Result<Origin, Error> {
    let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    let port_is_wrong = authority.port().is_some() && authority.port_u16().is_none();
    if authority.as_str().contains('@') || port_is_wrong {
        return Err(Error::HttpRequestUriInvalid);
    }
    let https = uri.scheme() == Some(&Scheme::HTTPS);
    Origin::of_request(https, authority.host(), authority.port_u16()).ok_or(Error::HttpRequestUriInvalid)
}
