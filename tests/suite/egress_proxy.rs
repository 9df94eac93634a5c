//! Requests that leave through a proxy, and servers that prove themselves by an operator's own authority.

use std::io::Write as _;
use std::sync::Arc;

use kiln::config::{Authorities, Egress, Proxy, SandboxSettings};
use kiln::outcome::FailureKind;
use rustls::ServerConfig;
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::egress::{Forbidden, NO_CONTENT, Server, attempt, grant, head};
use crate::sandbox::{TestHost, failed, result, settings_with};
use crate::support::PATIENCE;

/// Kinds of errors as `exchange.wat` reports them.
const CONNECT: u32 = 3;
const TLS: u32 = 4;

fn host(egress: Egress) -> anyhow::Result<TestHost> {
    TestHost::with(&SandboxSettings {
        egress,
        ..settings_with(PATIENCE)
    })
}

fn through(proxy: &str) -> Egress {
    Egress {
        proxy: Some(Proxy::parse(&format!("http://{proxy}")).expect("a proxy")),
        ..Egress::default()
    }
}

/// Status and error of a GET.
async fn get(host: &TestHost, manifest: &str, url: &str) -> anyhow::Result<(u32, u32)> {
    let answer = result(attempt(host, "exchange", manifest, &format!("GET {url} 0 1")).await?)?;
    let (status, _, _, error): (u32, u32, u32, u32) = serde_json::from_str(&answer.unwrap_or_default())?;
    Ok((status, error))
}

#[tokio::test]
async fn a_request_of_plain_http_names_its_server_to_the_proxy() -> anyhow::Result<()> {
    let proxy = Server::answering(NO_CONTENT, 1).await?;
    let host = host(through(&format!("me:p%40ss@{}", proxy.authority)))?;
    let found = get(&host, &grant("a.example:8080", ""), "http://a.example:8080/x?y=1").await?;
    assert_eq!(found, (204, 0));
    let head = proxy.heads().await?.remove(0);
    assert!(
        head.starts_with("get http://a.example:8080/x?y=1 http/1.1\r\n"),
        "{head}"
    );
    for line in [
        "host: a.example:8080\r\n",
        "proxy-authorization: basic bwu6cebzcw==\r\n",
    ] {
        assert!(head.contains(line), "{head}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_granted_as_private_goes_around_the_proxy_and_what_is_not_public_goes_nowhere() -> anyhow::Result<()> {
    let proxy = Forbidden::new()?;
    let host = host(through(&format!("127.0.0.1:{}", proxy.port()?)))?;
    let server = Server::answering(NO_CONTENT, 1).await?;
    let url = format!("http://{}/", server.authority);
    assert_eq!(
        get(&host, &grant(&server.authority, "private = true"), &url).await?,
        (204, 0)
    );
    let denied = attempt(
        &host,
        "exchange",
        &grant(&server.authority, ""),
        &format!("GET {url} 0 1"),
    )
    .await?;
    let (failure, _) = failed(denied)?;
    assert_eq!(failure.kind, FailureKind::Denied, "{failure}");
    assert!(failure.message.contains("a loopback address"), "{failure}");
    proxy.assert_untouched("nothing of this is for it");
    Ok(())
}

/// A server of HTTPS that calls itself `a.example`, its certificate in PEM, and a proxy that leads there.
async fn https_behind_a_proxy() -> anyhow::Result<(Server, String)> {
    let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()])?;
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![made.cert.der().clone()],
            made.signing_key
                .serialize_der()
                .try_into()
                .map_err(anyhow::Error::msg)?,
        )?;
    let (https, proxy) = (
        TcpListener::bind("127.0.0.1:0").await?,
        TcpListener::bind("127.0.0.1:0").await?,
    );
    let (server, authority) = (https.local_addr()?, proxy.local_addr()?.to_string());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = https.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                // An answer before its request, or a close with the request unread, would be an error to the client.
                head(&mut stream).await?;
                stream.write_all(NO_CONTENT.as_bytes()).await?;
                stream.shutdown().await?;
            }
        }
        anyhow::Ok(())
    });
    let heads = tokio::spawn(async move {
        let mut heads = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = proxy.accept().await?;
            heads.push(head(&mut stream).await?);
            stream
                .write_all(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n")
                .await?;
            let mut to = TcpStream::connect(server).await?;
            // However it ends: the guest tells.
            let _ = copy_bidirectional(&mut stream, &mut to).await;
        }
        Ok(heads)
    });
    Ok((Server { authority, heads }, made.cert.pem()))
}

#[tokio::test]
async fn https_goes_through_a_tunnel_to_whom_an_own_authority_vouches_for() -> anyhow::Result<()> {
    let (proxy, certificate) = https_behind_a_proxy().await?;
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(certificate.as_bytes())?;
    let manifest = "[[grants.http]]\norigin = \"https://a.example\"\n";
    let unknown = through(&proxy.authority);
    let known = Egress {
        authorities: Authorities::read(file.path()).map_err(anyhow::Error::msg)?,
        ..unknown.clone()
    };
    assert_eq!(get(&host(unknown)?, manifest, "https://a.example/").await?, (0, TLS));
    assert_eq!(get(&host(known)?, manifest, "https://a.example/").await?, (204, 0));
    let heads = proxy.heads().await?;
    let wanted = "connect a.example:443 http/1.1\r\nhost: a.example:443\r\n\r\n";
    assert_eq!(heads, [wanted; 2]);
    Ok(())
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_away_is_an_error_of_the_request() -> anyhow::Result<()> {
    let manifest = "[[grants.http]]\norigin = \"https://a.example\"\n";
    let refusing = Server::answering("HTTP/1.1 403 Forbidden\r\n\r\n", 1).await?;
    let found = get(&host(through(&refusing.authority))?, manifest, "https://a.example/").await?;
    assert_eq!(found, (0, CONNECT));
    let closed = format!("127.0.0.1:{}", Forbidden::new()?.port()?);
    let found = get(&host(through(&closed))?, manifest, "https://a.example/").await?;
    assert_eq!(found, (0, CONNECT));
    Ok(())
}
