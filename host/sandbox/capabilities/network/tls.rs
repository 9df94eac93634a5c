//! TLS, as a client: whom it trusts.

use std::io;
use std::sync::{Arc, LazyLock};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fault::Unconnected;
use crate::config::Authorities;

/// Made once: it holds some hundred root certificates.
static TLS: LazyLock<Result<ClientConfig, rustls::Error>> = LazyLock::new(|| tls_config(roots_of_the_web()));

fn roots_of_the_web() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

/// A TLS configuration that trusts these authorities beside those of the Web, to speak one of `protocols`; none: whatever
/// the port is for.
pub(in crate::sandbox::capabilities) fn tls(
    authorities: &Authorities,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = if authorities.is_empty() {
        TLS.clone()?
    } else {
        let mut roots = roots_of_the_web();
        for certificate in authorities.iter() {
            roots.add(certificate.clone())?;
        }
        tls_config(roots)?
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Shakes hands with a server that has to prove it is `name`.
pub(in crate::sandbox::capabilities) async fn secure(
    config: Arc<ClientConfig>,
    name: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Unconnected> {
    let name = ServerName::try_from(name.to_owned()).map_err(|_| Unconnected::NoServerName)?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    connected.map_err(|err| insecure(&err))
}

fn tls_config(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn insecure(err: &io::Error) -> Unconnected {
    match err.get_ref().and_then(|source| source.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_)) => Unconnected::Certificate,
        Some(rustls::Error::AlertReceived(alert)) => Unconnected::Alert(u8::from(*alert)),
        _ => Unconnected::Tls,
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
    async fn shake_hands(name: &str, vouched: bool) -> Result<Vec<u8>, Unconnected> {
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
            assert!(matches!(refused, Err(Unconnected::Certificate)), "{name}: {refused:?}");
        }
    }

    #[test]
    fn the_roots_that_it_is_built_with_are_usable() {
        assert!(TLS.is_ok());
    }
}
