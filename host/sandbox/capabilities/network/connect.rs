//! From a name to a connection: resolved once, every address checked, and only a checked one connected to.
//!
//! The host connects to the address that it has checked. A name that resolves to another one a moment later changes
//! nothing.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::address;
use super::fault::Unconnected;
use super::host::Host;
use super::tunnel::tunnel;
use crate::config::{Proxy, Resolver};

/// Look-ups of names at once, over all attempts. A look-up cannot be cancelled: it holds a thread until it ends, even
/// when its attempt is long over.
const MAX_LOOKUPS: usize = 64;

/// Look-ups at once of one plugin: its name server may be slow, and must not hold up the other plugins.
const MAX_LOOKUPS_OF_PLUGIN: usize = 8;

/// Permits for look-ups of names, shared by all attempts.
static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

/// How the connections of one plugin leave the host.
pub(in crate::sandbox::capabilities) struct Network {
    resolver: Resolver,
    proxy: Option<Proxy>,
    /// Permits for the plugin's look-ups of names.
    lookups: Arc<Semaphore>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(in crate::sandbox::capabilities) enum NoConnection {
    /// One of the addresses is not public: which, and what it is.
    NotPublic(IpAddr, &'static str),
    /// Any other reason. The guest is told.
    Failed(Unconnected),
}

impl From<Unconnected> for NoConnection {
    fn from(why: Unconnected) -> Self {
        Self::Failed(why)
    }
}

impl Network {
    pub(in crate::sandbox::capabilities) fn new(resolver: Resolver, proxy: Option<Proxy>) -> Self {
        Self {
            resolver,
            proxy,
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS_OF_PLUGIN)),
        }
    }

    /// Connects to a server before `ends`; through the proxy, if there is one, by a tunnel. `private` allows every address,
    /// and bypasses the proxy.
    pub(in crate::sandbox::capabilities) async fn connect(
        &self,
        host: &Host,
        port: u16,
        private: bool,
        ends: Instant,
    ) -> Result<TcpStream, NoConnection> {
        match self.reach(host, port, private, ends).await? {
            (stream, Some(proxy)) => Ok(tunnel(stream, proxy, host, port).await?),
            (stream, None) => Ok(stream),
        }
    }

    /// Connects to a server, or to the proxy, if there is one; and returns which proxy. `private` allows every address,
    /// and bypasses the proxy.
    pub(in crate::sandbox::capabilities) async fn reach(
        &self,
        host: &Host,
        port: u16,
        private: bool,
        ends: Instant,
    ) -> Result<(TcpStream, Option<&Proxy>), NoConnection> {
        let proxy = self.proxy.as_ref().filter(|_| !private);
        let stream = if let Some(proxy) = proxy {
            // The proxy resolves names. An address is checked here.
            if let Ok(address) = host.name().parse::<IpAddr>() {
                check(&[(address, port).into()])?;
            }
            dial(&self.resolve(proxy.host(), proxy.port()).await?, ends).await?
        } else {
            let addresses = self.resolve(host.name(), port).await?;
            if !private {
                check(&addresses)?;
            }
            dial(&addresses, ends).await?
        };
        // Requests are written whole; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        Ok((stream, proxy))
    }

    /// Resolves a name, once for each connection.
    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Unconnected> {
        self.addresses(host, port).await.map_err(|err| unresolved(&err))
    }

    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Some(answer) = self.resolver.ask(host, port) {
            return answer.await;
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![(address, port).into()]);
        }
        let own = Arc::clone(&self.lookups)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let permit = LOOKUPS.acquire().await.map_err(io::Error::other)?;
        let host = host.to_owned();
        let lookup = tokio::task::spawn_blocking(move || {
            let _permits = (own, permit);
            Ok((host.as_str(), port).to_socket_addrs()?.collect())
        });
        lookup.await.map_err(io::Error::other)?
    }
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
async fn dial(addresses: &[SocketAddr], ends: Instant) -> Result<TcpStream, Unconnected> {
    let mut failed = Unconnected::Unresolved;
    for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let share = ends.saturating_duration_since(Instant::now()) / u32::try_from(left).unwrap_or(u32::MAX);
        failed = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(err)) => unconnected(&err),
            Err(_) => Unconnected::Timeout,
        };
    }
    Err(failed)
}

fn unresolved(err: &io::Error) -> Unconnected {
    if err.kind() == io::ErrorKind::TimedOut {
        return Unconnected::LookupTimeout;
    }
    Unconnected::Unresolved
}

fn unconnected(err: &io::Error) -> Unconnected {
    match err.kind() {
        io::ErrorKind::ConnectionRefused => Unconnected::Refused,
        io::ErrorKind::TimedOut => Unconnected::Timeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Unconnected::Unroutable,
        _ => Unconnected::Unavailable,
    }
}
