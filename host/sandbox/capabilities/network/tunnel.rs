//! A tunnel through a proxy.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::fault::Unconnected;
use super::host::Host;
use crate::config::Proxy;

/// Bytes of a proxy's answer: it says no more than whether there is a tunnel.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// Asks the proxy for a tunnel to a server.
pub(super) async fn tunnel(
    mut stream: TcpStream,
    proxy: &Proxy,
    host: &Host,
    port: u16,
) -> Result<TcpStream, Unconnected> {
    // CONNECT names the port, even the scheme's own.
    let server = format!("{host}:{port}");
    let authorization = proxy.authorization();
    let authorization = authorization.map(|value| format!("proxy-authorization: {value}\r\n"));
    let request = format!(
        "CONNECT {server} HTTP/1.1\r\nhost: {server}\r\n{}\r\n",
        authorization.unwrap_or_default()
    );
    let broken = |_| Unconnected::Broken;
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    match status(&answer(&mut stream).await?) {
        Some(200..=299) => Ok(stream),
        Some(407) => Err(Unconnected::ProxyCredentials),
        Some(403 | 404 | 502..=504) => Err(Unconnected::Unavailable),
        _ => Err(Unconnected::Proxy),
    }
}

/// The head of the proxy's answer, and not one byte more: what follows is the server's.
async fn answer(stream: &mut TcpStream) -> Result<Vec<u8>, Unconnected> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_ANSWER_BYTES {
            return Err(Unconnected::ProxyAnswerSize);
        }
        head.push(stream.read_u8().await.map_err(|_| Unconnected::Broken)?);
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
