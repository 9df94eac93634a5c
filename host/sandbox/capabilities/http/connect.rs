//! From a name to a connection: resolved once, every address checked, and only a checked one connected to.
//!
//! The host connects to the address that it has checked. A name that resolves to another one a moment later changes
//! nothing.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use wasmtime_wasi_http::Error;

use super::address;
use super::limits::MAX_LOOKUPS;
use super::origin::Origin;
use super::proxy::tunnel;
use super::rules::HttpRules;
use super::stream::Stream;
use super::tls::secure;
use crate::config::Proxy;

/// Permits for look-ups of names, shared by all attempts.
static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

/// A connection, and who is at its other end.
pub(super) struct Connected {
    pub(super) stream: Stream,
    /// The proxy at the other end, which reads the server's name in the request. None: the server itself, directly or
    /// through a tunnel.
    pub(super) proxy: Option<Proxy>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NoConnection {
    /// One of the addresses is not public: which, and what it is.
    NotPublic(IpAddr, &'static str),
    /// Any other reason. The guest is told.
    Failed(Error),
}

impl From<Error> for NoConnection {
    fn from(err: Error) -> Self {
        Self::Failed(err)
    }
}

/// Connects to an origin within `limit`, with TLS for `https`. `private` allows every address, and bypasses the proxy.
pub(super) async fn connect(
    origin: &Origin,
    private: bool,
    rules: &HttpRules,
    limit: Duration,
) -> Result<Connected, NoConnection> {
    let connecting = async {
        let ends = Instant::now() + limit;
        let proxy = rules.proxy.as_ref().filter(|_| !private);
        let stream = if let Some(proxy) = proxy {
            reach(rules, proxy, origin, ends).await?
        } else {
            let addresses = resolve(rules, origin.name(), origin.port()).await;
            let addresses = addresses.map_err(|err| unresolved(&err))?;
            if !private {
                check(&addresses)?;
            }
            dial(&addresses, ends).await?
        };
        // Requests are written whole; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        if !origin.is_https() {
            let (stream, proxy) = (Stream::new(stream), proxy.cloned());
            return Ok(Connected { stream, proxy });
        }
        let stream = match proxy {
            Some(proxy) => tunnel(stream, proxy, origin).await?,
            None => stream,
        };
        let config = rules.tls.clone().ok_or(Error::ConfigurationError)?;
        let (stream, proxy) = (secure(config, origin.name(), stream).await?, None);
        Ok(Connected { stream, proxy })
    };
    timeout(limit, connecting).await.map_err(|_| Error::ConnectionTimeout)?
}

/// Connects to the proxy, which resolves the origin's name. An origin that is an address is checked here.
async fn reach(rules: &HttpRules, proxy: &Proxy, origin: &Origin, ends: Instant) -> Result<TcpStream, NoConnection> {
    if let Ok(address) = origin.name().parse::<IpAddr>() {
        check(&[(address, origin.port()).into()])?;
    }
    let addresses = resolve(rules, proxy.host(), proxy.port()).await;
    Ok(dial(&addresses.map_err(|err| unresolved(&err))?, ends).await?)
}

/// Resolves a name, once for each connection.
async fn resolve(rules: &HttpRules, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let (resolver, lookups) = (&rules.resolver, &rules.lookups);
    if let Some(answer) = resolver.ask(host, port) {
        return answer.await;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    let own = Arc::clone(lookups).acquire_owned().await.map_err(io::Error::other)?;
    let permit = LOOKUPS.acquire().await.map_err(io::Error::other)?;
    let host = host.to_owned();
    let lookup = tokio::task::spawn_blocking(move || {
        let _permits = (own, permit);
        Ok((host.as_str(), port).to_socket_addrs()?.collect())
    });
    lookup.await.map_err(io::Error::other)?
}

/// Refuses all addresses if one is not public: a name that mixes them is no public server's.
fn check(addresses: &[SocketAddr]) -> Result<(), NoConnection> {
    let refused = addresses
        .iter()
        .find_map(|address| Some((address.ip(), address::refusal(address.ip())?)));
    match refused {
        Some((ip, class)) => Err(NoConnection::NotPublic(ip, class)),
        None => Ok(()),
    }
}

/// Connects to the first address that answers, each in its share of the time that is left.
async fn dial(addresses: &[SocketAddr], ends: Instant) -> Result<TcpStream, Error> {
    let mut failed = Error::DnsError {
        rcode: Some("no address".to_owned()),
        info_code: None,
    };
    for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let share = ends.saturating_duration_since(Instant::now()) / u32::try_from(left).unwrap_or(u32::MAX);
        failed = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(err)) => unconnected(&err),
            Err(_) => Error::ConnectionTimeout,
        };
    }
    Err(failed)
}

fn unresolved(err: &io::Error) -> Error {
    if err.kind() == io::ErrorKind::TimedOut {
        return Error::DnsTimeout;
    }
    Error::DnsError {
        rcode: Some("address not available".to_owned()),
        info_code: None,
    }
}

fn unconnected(err: &io::Error) -> Error {
    match err.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Error::DestinationIpUnroutable,
        _ => Error::DestinationUnavailable,
    }
}
