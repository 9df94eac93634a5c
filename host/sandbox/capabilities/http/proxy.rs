//! Through a proxy: a tunnel for HTTPS, and for plain HTTP requests that name their server.

use http::header::PROXY_AUTHORIZATION;
use http::{HeaderValue, Request, Uri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wasmtime_wasi_http::{Error, WasiBody};

use super::origin::Origin;
use crate::config::Proxy;

/// Bytes of a proxy's answer: it says no more than whether there is a tunnel.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// Asks the proxy for a tunnel to a server.
pub(super) async fn tunnel(mut stream: TcpStream, proxy: &Proxy, to: &Origin) -> Result<TcpStream, Error> {
    // CONNECT names the port, even the scheme's own.
    let server = match to.name() {
        address if address.contains(':') => format!("[{address}]:{}", to.port()),
        name => format!("{name}:{}", to.port()),
    };
    let authorization = proxy.authorization();
    let authorization = authorization.map(|value| format!("proxy-authorization: {value}\r\n"));
    let request = format!(
        "CONNECT {server} HTTP/1.1\r\nhost: {server}\r\n{}\r\n",
        authorization.unwrap_or_default()
    );
    let broken = |_| Error::ConnectionTerminated;
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    match status(&answer(&mut stream).await?) {
        Some(200..=299) => Ok(stream),
        // The proxy wants other credentials. Only the operator can give them, not the guest.
        Some(407) => Err(Error::ConfigurationError),
        Some(403 | 404 | 502..=504) => Err(Error::DestinationUnavailable),
        _ => Err(Error::HttpProtocolError),
    }
}

/// The head of the proxy's answer, and not one byte more: what follows is the server's.
async fn answer(stream: &mut TcpStream) -> Result<Vec<u8>, Error> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_ANSWER_BYTES {
            return Err(Error::HttpResponseHeaderSectionSize(None));
        }
        head.push(stream.read_u8().await.map_err(|_| Error::ConnectionTerminated)?);
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let line = str::from_utf8(head).ok()?.lines().next()?;
    let rest = line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    rest.get(..3)?.parse().ok()
}

/// A request to a server of plain HTTP as a proxy takes it: with the server in its URL.
pub(super) fn named(mut request: Request<WasiBody>, proxy: &Proxy, to: &Origin) -> Result<Request<WasiBody>, Error> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder()
        .scheme("http")
        .authority(to.authority())
        .path_and_query(path);
    *request.uri_mut() = uri.build().map_err(|_| Error::HttpRequestUriInvalid)?;
    let authorization = proxy.authorization().map(HeaderValue::try_from).transpose();
    match authorization.map_err(|_| Error::ConfigurationError)? {
        Some(value) => request.headers_mut().insert(PROXY_AUTHORIZATION, value),
        // A guest's own credentials for a proxy are never sent.
        None => request.headers_mut().remove(PROXY_AUTHORIZATION),
    };
    Ok(request)
}
