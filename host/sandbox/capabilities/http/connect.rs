//! A connection to an origin, or to the proxy that leads there.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use wasmtime_wasi_http::Error;

use super::origin::Origin;
use super::rules::HttpRules;
use super::stream::Stream;
use crate::config::Proxy;
use crate::sandbox::capabilities::network::{NoConnection, Unconnected, secure};

/// A connection, and who is at its other end.
pub(super) struct Connected {
    pub(super) stream: Stream,
    /// The proxy at the other end, which reads the server's name in the request. None: the server itself, directly or
    /// through a tunnel.
    pub(super) proxy: Option<Proxy>,
}

/// Connects to an origin within `limit`, with TLS for `https`. `private` allows every address, and bypasses the proxy.
pub(super) async fn connect(
    origin: &Origin,
    private: bool,
    rules: &HttpRules,
    limit: Duration,
) -> Result<Connected, NoConnection> {
    let connecting = async {
        let (ends, host, port) = (Instant::now() + limit, origin.host(), origin.port());
        if !origin.is_https() {
            let (stream, proxy) = rules.network.reach(host, port, private, ends).await?;
            let (stream, proxy) = (Stream::new(stream), proxy.cloned());
            return Ok(Connected { stream, proxy });
        }
        let stream = rules.network.connect(host, port, private, ends).await?;
        let config = rules.tls.clone().ok_or(Unconnected::Tls)?;
        let stream = Stream::new(secure(config, host.name(), stream).await?);
        Ok(Connected { stream, proxy: None })
    };
    timeout(limit, connecting).await.map_err(|_| Unconnected::Timeout)?
}

/// What a guest is told of it.
impl From<Unconnected> for Error {
    fn from(why: Unconnected) -> Self {
        let unresolved = |why: &str| Self::DnsError {
            rcode: Some(why.to_owned()),
            info_code: None,
        };
        match why {
            Unconnected::Unresolved => unresolved("address not available"),
            Unconnected::LookupTimeout => Self::DnsTimeout,
            Unconnected::Refused => Self::ConnectionRefused,
            Unconnected::Unroutable => Self::DestinationIpUnroutable,
            Unconnected::Unavailable => Self::DestinationUnavailable,
            Unconnected::Timeout => Self::ConnectionTimeout,
            Unconnected::Broken => Self::ConnectionTerminated,
            Unconnected::Certificate => Self::TlsCertificateError,
            Unconnected::Alert(alert) => Self::TlsAlertReceived {
                alert_id: Some(alert),
                alert_message: None,
            },
            Unconnected::Tls => Self::TlsProtocolError,
            Unconnected::NoServerName => Self::HttpRequestUriInvalid,
            Unconnected::ProxyCredentials => Self::ConfigurationError,
            Unconnected::ProxyAnswerSize => Self::HttpResponseHeaderSectionSize(None),
            Unconnected::Proxy => Self::HttpProtocolError,
        }
    }
}
