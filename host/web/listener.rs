//! Serves HTTP to a bounded number of connections, each for a bounded time.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::stall::Stalling;
use super::visit::{Open, Strangers};

/// Connections at once; further ones wait to be accepted. A handful of probes and scrapers need one each.
pub const MAX_CONNECTIONS: usize = 64;

/// Bytes of a request's line and header fields, and of what is read of it at once.
pub const MAX_HEADER_BYTES: usize = 8 * 1024;

/// Header fields of a request.
const MAX_HEADERS: usize = 64;

/// Time for a request to arrive, counted from when the connection is free for it.
pub const HEADER_TIME: Duration = Duration::from_secs(5);

/// Time a connection is kept, however it is used.
pub const CONNECTION_TIME: Duration = Duration::from_mins(1);

/// Connections of a dashboard at once.
pub const MAX_DASHBOARD_CONNECTIONS: usize = 256;

/// Time a connection of a dashboard is kept. A browser then opens another by itself.
pub const DASHBOARD_CONNECTION_TIME: Duration = Duration::from_mins(10);

/// Time a connection of a dashboard is kept over which nobody has asked who is known. Where all places are taken, the oldest
/// such connection ends at once.
pub const STRANGER_TIME: Duration = Duration::from_secs(10);

/// Time for the answer under way, once a connection is to end.
pub const LAST_ANSWER_TIME: Duration = Duration::from_secs(1);

/// Wait before connections are accepted again, after the system could not give one, as where it has no more files.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How much a listener serves at once, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    connections: usize,
    connection_time: Duration,
    /// None: everybody is as good as known.
    stranger_time: Option<Duration>,
}

impl Bounds {
    const PROBES: Self = Self {
        connections: MAX_CONNECTIONS,
        connection_time: CONNECTION_TIME,
        stranger_time: None,
    };

    /// Browsers keep up to six connections open each, one of them for as long as somebody looks.
    pub(super) const DASHBOARD: Self = Self {
        connections: MAX_DASHBOARD_CONNECTIONS,
        connection_time: DASHBOARD_CONNECTION_TIME,
        stranger_time: Some(STRANGER_TIME),
    };
}

/// A port that is taken, and not served yet.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Takes the port.
    ///
    /// # Errors
    /// When the port is taken, or the address is not this machine's.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Self)
    }

    /// The address, with the port that the system chose if it was asked to.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves until `end`. Answers under way have [`LAST_ANSWER_TIME`] then.
    pub async fn serve(self, router: Router, end: CancellationToken) {
        self.serve_within(Bounds::PROBES, router, end).await;
    }

    pub(super) async fn serve_within(self, bounds: Bounds, router: Router, end: CancellationToken) {
        let (places, connections) = (Arc::new(Semaphore::new(bounds.connections)), TaskTracker::new());
        let strangers = Arc::<Strangers>::default();
        let accepting = async {
            let mut accepts = true;
            loop {
                match self.0.accept().await {
                    Ok((stream, peer)) => {
                        accepts = true;
                        let place = place(&places, bounds, &strangers).await;
                        let (open, router, end) = (strangers.let_in(peer.ip()), router.clone(), end.clone());
                        connections.spawn(connection(stream, open, router, end, bounds, place));
                    }
                    Err(err) => {
                        // Once, and not ten times a second for as long as it lasts.
                        if std::mem::take(&mut accepts) {
                            tracing::warn!(%err, "no connection can be accepted");
                        }
                        sleep(ACCEPT_RETRY).await;
                    }
                }
            }
        };
        end.run_until_cancelled(accepting).await;
        connections.close();
        connections.wait().await;
    }
}

/// A place for a connection that was accepted, for which a stranger may have to go.
async fn place(places: &Arc<Semaphore>, bounds: Bounds, strangers: &Strangers) -> Option<OwnedSemaphorePermit> {
    if let Ok(place) = Arc::clone(places).try_acquire_owned() {
        return Some(place);
    }
    if bounds.stranger_time.is_some() {
        strangers.show_one_out();
    }
    Arc::clone(places).acquire_owned().await.ok()
}

/// Serves one connection.
async fn connection(
    stream: TcpStream,
    open: Open,
    router: Router,
    end: CancellationToken,
    bounds: Bounds,
    _place: Option<OwnedSemaphorePermit>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    let (router, visit) = (TowerToHyperService::new(router), open.visit.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(visit.clone());
        router.call(request)
    });
    let serving = http.serve_connection(TokioIo::new(Stalling::new(stream)), service);
    let mut serving = pin!(serving);
    tokio::select! {
        // Whatever is wrong with a connection is its client's affair.
        _ = serving.as_mut() => return,
        () = open.end.cancelled() => return,
        () = end.cancelled() => {}
        () = over(&open, bounds) => {}
    }
    serving.as_mut().graceful_shutdown();
    _ = timeout(LAST_ANSWER_TIME, serving).await;
}

/// Returns once a connection has been kept for as long as it may.
async fn over(open: &Open, bounds: Bounds) {
    let known_after = bounds.stranger_time.unwrap_or_default();
    sleep(known_after).await;
    if bounds.stranger_time.is_none() || !open.visit.is_strangers() {
        sleep(bounds.connection_time.saturating_sub(known_after)).await;
    }
}
