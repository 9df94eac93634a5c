//! From a name to a connection: resolved once, every address checked, and only a checked one connected to.
//!
//! What was checked is what is connected to: a name that resolves otherwise the next moment changes nothing.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::Error;

use super::address;
use super::limits::MAX_LOOKUPS;
use super::origin::Origin;
use super::stream::Stream;
use crate::config::Resolver;

/// The turns of all attempts' look-ups.
static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

/// Made once: it holds some hundred root certificates.
static TLS: LazyLock<Result<Arc<ClientConfig>, rustls::Error>> = LazyLock::new(|| {
    let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
    tls_config(roots.collect()).map(Arc::new)
});

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NoConnection {
    /// One of the addresses is not public: which, and what it is.
    NotPublic(IpAddr, &'static str),
    /// The guest hears of it.
    Failed(Error),
}

impl From<Error> for NoConnection {
    fn from(err: Error) -> Self {
        Self::Failed(err)
    }
}

/// Connects to one of an origin's addresses, by TLS if it says so, within `limit`. `private` allows every address.
pub(super) async fn connect(
    origin: &Origin,
    private: bool,
    resolver: &Resolver,
    lookups: &Arc<Semaphore>,
    limit: Duration,
) -> Result<Stream, NoConnection> {
    let connecting = async {
        let ends = Instant::now() + limit;
        let addresses = resolve(resolver, lookups, origin)
            .await
            .map_err(|err| unresolved(&err))?;
        if !private {
            check(&addresses)?;
        }
        let stream = dial(&addresses, ends).await?;
        // Requests are written whole; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        if !origin.is_https() {
            return Ok(Stream::new(stream));
        }
        let config = TLS.clone().map_err(|_| Error::ConfigurationError)?;
        Ok(secure(config, origin.name(), stream).await?)
    };
    timeout(limit, connecting).await.map_err(|_| Error::ConnectionTimeout)?
}

/// The one look-up.
async fn resolve(resolver: &Resolver, lookups: &Arc<Semaphore>, origin: &Origin) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = (origin.name(), origin.port());
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

/// Shakes hands with a server that has to prove it is `name`.
async fn secure(config: Arc<ClientConfig>, name: &str, stream: TcpStream) -> Result<Stream, Error> {
    let name = ServerName::try_from(name.to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    connected.map(Stream::new).map_err(|err| insecure(&err))
}

fn tls_config(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
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

fn insecure(err: &io::Error) -> Error {
    match err.get_ref().and_then(|source| source.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        Some(rustls::Error::AlertReceived(alert)) => Error::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: None,
        },
        _ => Error::TlsProtocolError,
    }
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// Connects to a server that shows a certificate for `localhost`, by the root that vouches for it or by none.
    async fn shake_hands(name: &str, vouched: bool) -> Result<Vec<u8>, Error> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        if vouched {
            roots.add(made.cert.der().clone()).unwrap();
        }
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions();
        let key = made.signing_key.serialize_der().try_into().unwrap();
        let certificate = vec![made.cert.der().clone()];
        let server = server
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificate, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                stream.write_all(b"hello").await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        let config = Arc::new(tls_config(roots).unwrap());
        let mut stream = secure(config, name, TcpStream::connect(address).await.unwrap()).await?;
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        Ok(read)
    }

    #[tokio::test]
    async fn a_server_has_to_prove_its_name() {
        assert_eq!(shake_hands("localhost", true).await.unwrap(), b"hello");
        for (name, vouched) in [("localhost", false), ("a.example", true), ("127.0.0.1", true)] {
            let refused = shake_hands(name, vouched).await;
            assert!(
                matches!(refused, Err(Error::TlsCertificateError)),
                "{name}: {refused:?}"
            );
        }
    }

    #[test]
    fn the_roots_that_it_is_built_with_are_usable() {
        assert!(TLS.is_ok());
    }
}
