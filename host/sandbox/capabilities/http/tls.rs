//! TLS, as a client: whom it trusts.

use std::io;
use std::sync::{Arc, LazyLock};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::Error;

use super::stream::Stream;
use crate::config::Authorities;

/// Made once: it holds some hundred root certificates.
static TLS: LazyLock<Result<Arc<ClientConfig>, rustls::Error>> =
    LazyLock::new(|| tls_config(roots_of_the_web()).map(Arc::new));

fn roots_of_the_web() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

/// A TLS configuration that trusts these authorities beside those of the Web.
pub(super) fn tls(authorities: &Authorities) -> Result<Arc<ClientConfig>, rustls::Error> {
    if authorities.is_empty() {
        return TLS.clone();
    }
    let mut roots = roots_of_the_web();
    for certificate in authorities.iter() {
        roots.add(certificate.clone())?;
    }
    tls_config(roots).map(Arc::new)
}

/// Shakes hands with a server that has to prove it is `name`.
pub(super) async fn secure(config: Arc<ClientConfig>, name: &str, stream: TcpStream) -> Result<Stream, Error> {
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
