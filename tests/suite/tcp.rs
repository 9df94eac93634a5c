//! Where a handler's TCP connections may go, and what goes over them.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kiln::config::{Authorities, Egress, Proxy, Resolver, SandboxSettings};
use kiln::outcome::{Failure, FailureKind, RetryHint};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::egress::{Forbidden, LOOPBACK, METADATA, attempt, head, patient, public, resolver, with};
use crate::sandbox::{TestHost, failed, result, settings_with};
use crate::support::PATIENCE;

/// Kinds of errors as `tcp.wat` reports them: 1 + their place in `error-kind`.
pub(crate) const INVALID: u32 = 1;
pub(crate) const CONNECT: u32 = 3;
pub(crate) const TLS: u32 = 4;
pub(crate) const TIMEOUT: u32 = 5;
const NETWORK: u32 = 6;
pub(crate) const TOO_MANY: u32 = 7;

pub(crate) fn grant(address: &str, more: &str) -> String {
    format!("[[grants.tcp]]\naddress = \"{address}\"\n{more}\n")
}

/// What became of `tcp.wat`'s steps: connections made, bytes read, times that something was ready, error.
pub(crate) async fn steps(host: &TestHost, manifest: &str, payload: &str) -> anyhow::Result<(u32, u32, u32, u32)> {
    let answer = result(attempt(host, "tcp", manifest, payload).await?)?;
    Ok(serde_json::from_str(&answer.unwrap_or_default())?)
}

async fn denied(host: &TestHost, manifest: &str, payload: &str) -> anyhow::Result<String> {
    let (Failure { kind, message, .. }, retry) = failed(attempt(host, "tcp", manifest, payload).await?)?;
    assert_eq!((kind, retry), (FailureKind::Denied, RetryHint::Never), "{message}");
    Ok(message)
}

/// The address of a server that serves one connection, and what comes of it.
pub(crate) async fn serving<T, F>(
    serve: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> anyhow::Result<(SocketAddr, JoinHandle<io::Result<T>>)>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let served = tokio::spawn(async move { serve(listener.accept().await?.0).await });
    Ok((address, served))
}

/// Reads to the end, and sends it back.
async fn echo(mut stream: TcpStream) -> io::Result<Vec<u8>> {
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await?;
    stream.write_all(&heard).await?;
    Ok(heard)
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_side_ends_its_own() -> anyhow::Result<()> {
    let (at, served) = serving(echo).await?;
    let manifest = grant(&at.to_string(), "private = true");
    let payload = format!("127.0.0.1 {} cwnssfpe", at.port());
    let attempt = attempt(&patient()?, "tcp", &manifest, &payload).await?;
    assert_eq!(attempt.report.tcp_connections, 1);
    assert_eq!(result(attempt)?.as_deref(), Some("[1,12,2,0]"));
    assert_eq!(served.await??, b"hello\nhello\n");
    Ok(())
}

#[tokio::test]
async fn a_connection_without_a_grant_names_the_grant() -> anyhow::Result<()> {
    let host = patient()?;
    let told = "tcp connection to db.internal:5432: not granted; add [[grants.tcp]] address = \"db.internal:5432\" to tcp.toml";
    for manifest in ["", &grant("db.internal:5433", ""), &grant("*.db.internal:5432", "")] {
        assert_eq!(denied(&host, manifest, "DB.internal. 5432 cr").await?, told);
    }
    let [v6, mapped] = ["::1", "::ffff:127.0.0.1"];
    for address in [v6, mapped] {
        let message = denied(
            &host,
            &grant("127.0.0.1:9", "private = true"),
            &format!("{address} 9 cr"),
        )
        .await?;
        assert!(message.contains(&format!("address = \"[{address}]:9\"")), "{message}");
    }
    Ok(())
}

#[tokio::test]
async fn every_spelling_of_a_loopback_address_is_denied_unless_it_is_granted() -> anyhow::Result<()> {
    let (host, server) = (patient()?, Forbidden::new()?);
    let port = server.port()?;
    for (name, told) in LOOPBACK {
        let manifest = grant(&format!("{name}:{port}"), "");
        let message = denied(&host, &manifest, &format!("{name} {port} cr")).await?;
        let ending = "; add private = true to that [[grants.tcp]] in tcp.toml";
        assert!(message.contains(told) && message.ends_with(ending), "{name}: {message}");
        server.assert_untouched(name);
    }
    for (name, _) in LOOPBACK.iter().filter(|(name, _)| *name != "[::1]") {
        let (at, _served) = serving(echo).await?;
        let manifest = grant(&format!("{name}:{}", at.port()), "private = true");
        let payload = format!("{name} {} csfe", at.port());
        assert_eq!(steps(&host, &manifest, &payload).await?, (1, 6, 0, 0), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn names_that_lead_into_the_hosts_own_network_are_denied() -> anyhow::Result<()> {
    let manifest = grant("*.example:80", "");
    for address in METADATA
        .iter()
        .chain(&["10.0.0.1", "[fe80::1]", "[::ffff:192.168.0.1]"])
    {
        let (resolver, _) = resolver(vec![vec![public(80), format!("{address}:80").parse()?]]);
        let message = denied(&with(resolver)?, &manifest, "a.example 80 cr").await?;
        assert!(message.contains("to a.example:80: it resolves to"), "{message}");
    }
    Ok(())
}

#[tokio::test]
async fn a_name_is_resolved_once_for_each_connection_and_checked_each_time() -> anyhow::Result<()> {
    let server = Forbidden::new()?;
    let address = server.0.local_addr()?;
    let (resolver, asked) = resolver(vec![vec![public(address.port())], vec![address]]);
    let host = with(resolver)?;
    let manifest =
        grant(&format!("rebind.example:{}", address.port()), "") + "[limits]\ntcp_connect_timeout = \"50ms\"";
    let payload = format!("rebind.example {} cw", address.port());
    let (_, _, _, error) = steps(&host, &manifest, &payload).await?;
    assert!([CONNECT, TIMEOUT].contains(&error), "{error}");
    let message = denied(&host, &manifest, &payload).await?;
    assert!(message.contains("a loopback address"), "{message}");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    server.assert_untouched("resolved to it the second time");
    Ok(())
}

#[tokio::test]
async fn what_goes_wrong_has_a_kind() -> anyhow::Result<()> {
    let host = patient()?;
    let closed = Forbidden::new()?.port()?;
    let manifest = grant(&format!("127.0.0.1:{closed}"), "private = true");
    for step in ["w", "r", "s", "f", "e", "t"] {
        let refused = steps(&host, &manifest, &format!("127.0.0.1 {closed} c{step}")).await?;
        assert_eq!(refused, (1, 0, 0, CONNECT), "{step}");
    }
    for (what, error) in [
        ("user@127.0.0.1 9 c", INVALID),
        ("127.0.0.1%2f 9 c", INVALID),
        ("*.example 9 c", INVALID),
        ("127.0.0.1 0 c", INVALID),
        ("127.0.0.1 9 r", INVALID),
    ] {
        assert_eq!(steps(&host, &manifest, what).await?, (0, 0, 0, error), "{what}");
    }
    for late in ["fs", "xs"] {
        let (at, _served) = serving(echo).await?;
        let manifest = grant(&at.to_string(), "private = true");
        let found = steps(&host, &manifest, &format!("127.0.0.1 {} cw{late}", at.port())).await?;
        assert_eq!(found, (1, 0, 0, INVALID), "{late}");
    }
    Ok(())
}

/// A certificate for `a.example`, as a server shows it, and as its authority is trusted.
fn certificate() -> anyhow::Result<(TlsAcceptor, Authorities)> {
    let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()])?;
    let key = made
        .signing_key
        .serialize_der()
        .try_into()
        .map_err(anyhow::Error::msg)?;
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(made.cert.pem().as_bytes())?;
    let authorities = Authorities::read(file.path()).map_err(anyhow::Error::msg)?;
    Ok((TlsAcceptor::from(Arc::new(config)), authorities))
}

/// A host that trusts these authorities, and resolves every name to that address.
fn trusting(authorities: Authorities, address: SocketAddr) -> anyhow::Result<TestHost> {
    TestHost::with(&SandboxSettings {
        resolver: Resolver::new(move |_, _| Box::pin(async move { Ok(vec![address]) })),
        egress: Egress {
            authorities,
            ..Egress::default()
        },
        ..settings_with(PATIENCE)
    })
}

/// Speaks TLS, says hello, and ends in good form.
async fn secret(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<Vec<u8>> {
    let mut stream = acceptor.accept(stream).await?;
    let mut heard = [0; 6];
    stream.read_exact(&mut heard).await?;
    stream.write_all(b"and hello to you").await?;
    stream.shutdown().await?;
    Ok(heard.to_vec())
}

#[tokio::test]
async fn the_host_speaks_tls_where_the_grant_says_so_and_the_server_has_to_prove_its_name() -> anyhow::Result<()> {
    let (acceptor, authorities) = certificate()?;
    for (name, authorities, found) in [
        ("a.example", authorities.clone(), (1, 16, 0, 0)),
        ("b.example", authorities, (1, 0, 0, TLS)),
        ("a.example", Authorities::default(), (1, 0, 0, TLS)),
    ] {
        let acceptor = acceptor.clone();
        let (at, served) = serving(|stream| secret(acceptor, stream)).await?;
        let manifest = grant(&format!("{name}:{}", at.port()), "private = true\ntls = true");
        let payload = format!("{name} {} cse", at.port());
        let host = trusting(authorities, at)?;
        assert_eq!(steps(&host, &manifest, &payload).await?, found, "{name}");
        assert_eq!(served.await?.is_ok(), found.3 == 0, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn tls_begins_on_an_open_connection_and_never_over_bytes_that_came_before_it() -> anyhow::Result<()> {
    let (acceptor, authorities) = certificate()?;
    // Asks for TLS with what it sends, as PostgreSQL's clients do; the answer is one byte, or with what an attacker added two.
    for (answer, found) in [(&b"S"[..], (1, 17, 0, 0)), (b"S!", (1, 2, 1, TLS))] {
        let acceptor = acceptor.clone();
        let (at, _served) = serving(async move |mut stream: TcpStream| {
            let mut asked = [0; 6];
            stream.read_exact(&mut asked).await?;
            stream.write_all(answer).await?;
            secret(acceptor, stream).await
        })
        .await?;
        let manifest = grant(&format!("a.example:{}", at.port()), "private = true");
        let (host, port) = (trusting(authorities.clone(), at)?, at.port());
        let payload = if answer.len() == 1 { "csrtse" } else { "cspt" };
        let (made, bytes, ready, error) = steps(&host, &manifest, &format!("a.example {port} {payload}")).await?;
        assert_eq!((made, ready, error), (found.0, found.2, found.3));
        assert!(error != 0 || bytes == found.1, "{bytes}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_breaks_tls_off_is_not_taken_for_one_that_ended() -> anyhow::Result<()> {
    let (acceptor, authorities) = certificate()?;
    let (at, _served) = serving(async move |stream: TcpStream| {
        let mut stream = acceptor.accept(stream).await?;
        stream.write_all(b"cut").await?;
        stream.flush().await?;
        // Ends the connection without a word of TLS.
        stream.get_mut().0.shutdown().await
    })
    .await?;
    let manifest = grant(&format!("a.example:{}", at.port()), "private = true\ntls = true");
    let found = steps(
        &trusting(authorities, at)?,
        &manifest,
        &format!("a.example {} ce", at.port()),
    )
    .await?;
    assert_eq!(found, (1, 3, 0, NETWORK));
    Ok(())
}

#[tokio::test]
async fn a_connection_to_a_public_server_goes_through_the_proxy_by_a_tunnel() -> anyhow::Result<()> {
    let (at, served) = serving(async |mut stream: TcpStream| {
        let asked = head(&mut stream).await?;
        stream
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\nwelcome")
            .await?;
        Ok(asked)
    })
    .await?;
    let host = TestHost::with(&SandboxSettings {
        egress: Egress {
            proxy: Some(Proxy::parse(&format!("http://{at}")).map_err(anyhow::Error::msg)?),
            ..Egress::default()
        },
        ..settings_with(PATIENCE)
    })?;
    let manifest = grant("db.example:5432", "");
    assert_eq!(steps(&host, &manifest, "db.example 5432 ce").await?, (1, 7, 0, 0));
    assert!(served.await??.starts_with("connect db.example:5432 http/1.1\r\n"));
    Ok(())
}

/// What became of `socket.wat`: what it read, or 100 times the step and the code of its error.
async fn socket(host: &TestHost, manifest: &str, to: &str, port: u16) -> anyhow::Result<String> {
    let answer = result(attempt(host, "socket", manifest, &format!("{to} {port}")).await?)?;
    Ok(answer.unwrap_or_default())
}

#[tokio::test]
async fn a_program_with_sockets_of_its_own_reaches_the_same_servers_by_name_and_address() -> anyhow::Result<()> {
    let answering = async |mut stream: TcpStream| {
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await?;
        stream.write_all(format!("{heard:?}").as_bytes()).await
    };
    let (at, _served) = serving(answering).await?;
    let host = trusting(Authorities::default(), at)?;
    let manifest = grant(&format!("a.example:{}", at.port()), "private = true");
    assert_eq!(socket(&host, &manifest, "A.example.", at.port()).await?, "\"hello\\n\"");
    let (at, _served) = serving(answering).await?;
    let manifest = grant(&at.to_string(), "private = true");
    assert_eq!(
        socket(&patient()?, &manifest, "127.0.0.1", at.port()).await?,
        "\"hello\\n\""
    );
    // The host speaks TLS for it.
    let (acceptor, authorities) = certificate()?;
    let (at, _served) = serving(async move |stream: TcpStream| {
        let mut stream = acceptor.accept(stream).await?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await?;
        stream.write_all(format!("{heard:?}").as_bytes()).await?;
        stream.shutdown().await
    })
    .await?;
    let manifest = grant(&format!("a.example:{}", at.port()), "private = true\ntls = true");
    let found = socket(&trusting(authorities, at)?, &manifest, "a.example", at.port()).await?;
    assert_eq!(found, "\"hello\\n\"");
    Ok(())
}

#[tokio::test]
async fn no_spelling_of_an_inner_address_gets_a_program_with_sockets_of_its_own_there() -> anyhow::Result<()> {
    let (host, server) = (patient()?, Forbidden::new()?);
    let port = server.port()?;
    let denied = async |host: &TestHost, granted: &str, to: &str, port: u16| {
        let manifest = grant(&format!("{granted}:{port}"), "");
        let (failure, _) = failed(attempt(host, "socket", &manifest, &format!("{to} {port}")).await?)?;
        assert_eq!(failure.kind, FailureKind::Denied, "{to}: {failure:?}");
        anyhow::Ok(failure.message)
    };
    for (name, told) in LOOPBACK {
        if *name == "0.0.0.0" {
            let manifest = grant(&format!("{name}:{port}"), "private = true");
            assert_eq!(
                socket(&host, &manifest, name, port).await?,
                "303",
                "as an address it is none"
            );
            continue;
        }
        let message = denied(&host, name, name, port).await?;
        let ending = "; add private = true to that [[grants.tcp]] in socket.toml";
        assert!(message.contains(told) && message.ends_with(ending), "{name}: {message}");
        server.assert_untouched(name);
    }
    for address in METADATA {
        let (resolver, _) = resolver(vec![vec![format!("{address}:80").parse()?]]);
        let message = denied(&with(resolver)?, "a.example", "a.example", 80).await?;
        assert!(
            message.contains("to a.example:80: it resolves to"),
            "{address}: {message}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_program_with_sockets_of_its_own_gets_no_further_than_its_grants() -> anyhow::Result<()> {
    let host = patient()?;
    let port = Forbidden::new()?.port()?;
    let manifest = grant(&format!("127.0.0.1:{port}"), "private = true");
    assert_eq!(
        socket(&host, &manifest, "127.0.0.1", port).await?,
        "414",
        "connection-refused"
    );
    let limits = manifest.clone() + "[limits]\ntcp_connects = 0";
    assert_eq!(
        socket(&host, &limits, "127.0.0.1", port).await?,
        "310",
        "new-socket-limit"
    );
    let server = Forbidden::new()?;
    let port = server.port()?;
    for (granted, to, told) in [
        ("a.example:1".to_owned(), "localhost", "to localhost: not granted"),
        ("a.example:1".to_owned(), "127.0.0.1", "to 127.0.0.1:"),
        ("localhost:1".to_owned(), "localhost", "to localhost:"),
        (
            format!("localhost:{port}"),
            "localhost",
            "a loopback address; add private = true",
        ),
        (
            format!("127.0.0.1:{port}"),
            "127.0.0.1",
            "a loopback address; add private = true",
        ),
        // No name had this address yet.
        (format!("localhost:{port}"), "198.18.0.1", "to 198.18.0.1:"),
    ] {
        let attempt = attempt(&host, "socket", &grant(&granted, ""), &format!("{to} {port}")).await?;
        let (Failure { kind, message, .. }, _) = failed(attempt)?;
        assert_eq!(kind, FailureKind::Denied, "{granted} {to}");
        assert!(message.contains(told), "{granted} {to}: {message}");
        server.assert_untouched(to);
    }
    Ok(())
}
