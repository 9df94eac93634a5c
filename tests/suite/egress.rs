//! Where a handler's HTTP requests may go.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln::config::{Resolver, SandboxSettings};
use kiln::outcome::{Attempt, Failure, FailureKind, RetryHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::guests::{component_of, guests_folder};
use crate::sandbox::{TestHost, failed, job_of, json, result, settings_with};
use crate::support::PATIENCE;

/// Codes of errors as `request.wat` reports them where there is no answer: 1 + their place in `error-code`.
const CONNECTION_REFUSED: u32 = 7;
const METHOD_INVALID: u32 = 19;
const URI_INVALID: u32 = 20;

/// A host whose attempts have time enough.
pub(crate) fn patient() -> anyhow::Result<TestHost> {
    with(Resolver::default())
}

pub(crate) fn with(resolver: Resolver) -> anyhow::Result<TestHost> {
    TestHost::with(&SandboxSettings {
        resolver,
        ..settings_with(PATIENCE)
    })
}

pub(crate) fn grant(authority: &str, more: &str) -> String {
    format!("[[grants.http]]\norigin = \"http://{authority}\"\n{more}\n")
}

pub(crate) async fn attempt(host: &TestHost, guest: &str, manifest: &str, payload: &str) -> anyhow::Result<Attempt> {
    let handler = host.load_with(guest, manifest)?;
    let job = job_of(guest, json(&format!("{payload:?}")));
    Ok(host.attempt(&handler, &job).await)
}

/// What became of `request.wat`'s request: status, bytes of the body, error.
pub(crate) async fn request(host: &TestHost, manifest: &str, payload: &str) -> anyhow::Result<(u32, u32, u32)> {
    let answer = result(attempt(host, "request", manifest, payload).await?)?;
    Ok(serde_json::from_str(&answer.unwrap_or_default())?)
}

pub(crate) async fn denied(host: &TestHost, manifest: &str, payload: &str) -> anyhow::Result<String> {
    let (Failure { kind, message, .. }, retry) = failed(attempt(host, "request", manifest, payload).await?)?;
    assert_eq!((kind, retry), (FailureKind::Denied, RetryHint::Never), "{message}");
    Ok(message)
}

/// A server that nobody may connect to.
pub(crate) struct Forbidden(pub(crate) StdListener);

impl Forbidden {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let listener = StdListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    pub(crate) fn port(&self) -> anyhow::Result<u16> {
        Ok(self.0.local_addr()?.port())
    }

    pub(crate) fn assert_untouched(&self, why: &str) {
        let err = self.0.accept().expect_err(why);
        assert_eq!(err.kind(), io::ErrorKind::WouldBlock, "{why}");
    }
}

/// A server that answers every request with these bytes and closes; it yields the heads of the requests.
pub(crate) struct Server {
    pub(crate) authority: String,
    pub(crate) heads: JoinHandle<anyhow::Result<Vec<String>>>,
}

impl Server {
    /// Takes this many connections.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>, connections: usize) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let authority = listener.local_addr()?.to_string();
        let answer = answer.into();
        let heads = tokio::spawn(async move {
            let mut heads = Vec::new();
            for _ in 0..connections {
                let (mut connection, _) = listener.accept().await?;
                heads.push(head(&mut connection).await?);
                connection.write_all(&answer).await?;
            }
            Ok(heads)
        });
        Ok(Self { authority, heads })
    }

    pub(crate) async fn heads(self) -> anyhow::Result<Vec<String>> {
        tokio::time::timeout(PATIENCE, self.heads).await??
    }
}

pub(crate) async fn head(connection: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).to_lowercase())
}

pub(crate) const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[tokio::test]
async fn a_request_without_a_grant_names_the_grant() -> anyhow::Result<()> {
    let host = patient()?;
    let attempt = attempt(&host, "fetch", &grant("b.example", ""), "a.example:8080").await?;
    let (failure, _) = failed(attempt)?;
    assert_eq!(failure.kind, FailureKind::Denied);
    assert_eq!(
        failure.message,
        "http request to http://a.example:8080: not granted; \
         add [[grants.http]] origin = \"http://a.example:8080\" to fetch.toml"
    );
    Ok(())
}

#[tokio::test]
async fn a_granted_request_gets_its_answer() -> anyhow::Result<()> {
    let server = Server::answering(NO_CONTENT, 1).await?;
    let manifest = grant(&server.authority, "private = true");
    let attempt = attempt(&patient()?, "fetch", &manifest, &server.authority).await?;
    assert_eq!(attempt.report.http_requests, 1);
    assert_eq!(result(attempt)?.as_deref(), Some("204"));
    let authority = server.authority.clone();
    let head = server.heads().await?.remove(0);
    assert!(
        head.starts_with("get / http/1.1\r\n") && head.contains(&authority),
        "{head}"
    );
    Ok(())
}

#[tokio::test]
async fn path_and_method_have_to_be_granted_too() -> anyhow::Result<()> {
    let host = patient()?;
    let server = Server::answering(NO_CONTENT, 2).await?;
    let at = &server.authority;
    let manifest = grant(at, "path = \"/v1\"\nmethods = [\"GET\"]\nprivate = true");
    for path in ["/v1", "/v1/x?y"] {
        assert_eq!(request(&host, &manifest, &format!("GET {at} {path} 0")).await?.0, 204);
    }
    for (what, told) in [
        (
            "GET {} /v10 0",
            "/v10: its path is not granted; add [[grants.http]] origin = \"",
        ),
        ("GET {} - 0", "/: its path is not granted"),
        ("GET {} /v1/..%2fx 0", "no path covers"),
        ("GET {} /v1/%%32%65%%32%65/x 0", "no path covers"),
        ("GET {} /v1/%e2%80%a5/x 0", "no path covers"),
        ("GET {} /v1/\u{2025}/x 0", "no path covers"),
        (
            "POST {} /v1 0",
            "its method is not granted; add \"POST\" to methods of that [[grants.http]]",
        ),
        ("get {} /v1 0", "its method is not granted"),
    ] {
        let message = denied(&host, &manifest, &what.replace("{}", at)).await?;
        assert!(
            message.contains(told) && message.ends_with("request.toml"),
            "{what}: {message}"
        );
    }
    Ok(())
}

/// The guest's header has thirteen characters: these are other servers' names for the same.
#[tokio::test]
async fn a_header_that_names_another_path_or_method_has_to_be_granted_too() -> anyhow::Result<()> {
    let host = patient()?;
    let text = std::fs::read_to_string(guests_folder().join("request.wat"))?;
    for (header, narrow, wide, told) in [
        (
            "x-rewrite-url",
            "path = \"/v1\"",
            "methods = [\"GET\"]",
            "without path covers",
        ),
        (
            "x_rewrite_uri",
            "path = \"/v1\"",
            "methods = [\"GET\"]",
            "without path covers",
        ),
        (
            "x-http-method",
            "methods = [\"GET\"]",
            "path = \"/v1\"",
            "without methods covers",
        ),
    ] {
        let component = component_of("guest", &text.replace("\"authorization\"", &format!("{header:?}")))?;
        let run = async |at: &str, more: &str| {
            let handler = host.load_component("request", &component, &grant(at, &format!("{more}\nprivate = true")))?;
            let job = job_of("request", json(&format!("\"GET {at} /v1/x 0 /v2\"")));
            anyhow::Ok(host.attempt(&handler, &job).await)
        };
        let server = Forbidden::new()?;
        let (failure, _) = failed(run(&format!("127.0.0.1:{}", server.port()?), narrow).await?)?;
        assert_eq!(failure.kind, FailureKind::Denied, "{header}");
        assert!(
            failure.message.contains(header) && failure.message.contains(told),
            "{}",
            failure.message
        );
        server.assert_untouched(header);
        let server = Server::answering(NO_CONTENT, 1).await?;
        let answer = result(run(&server.authority, wide).await?)?;
        assert!(answer.is_some_and(|answer| answer.starts_with("[204,")), "{header}");
    }
    Ok(())
}

#[tokio::test]
async fn a_request_without_a_path_asks_for_the_root() -> anyhow::Result<()> {
    let server = Server::answering(NO_CONTENT, 2).await?;
    let manifest = grant(&server.authority, "private = true");
    for path in ["-", "?q"] {
        let payload = format!("GET {} {path} 0", server.authority);
        assert_eq!(request(&patient()?, &manifest, &payload).await?, (204, 0, 0));
    }
    let heads = server.heads().await?;
    assert!(
        heads[0].starts_with("get / http") && heads[1].starts_with("get /?q http"),
        "{heads:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_server_is_told_the_host_that_was_checked_and_not_how_the_guest_spelt_it() -> anyhow::Result<()> {
    let server = Server::answering(NO_CONTENT, 1).await?;
    let address: SocketAddr = server.authority.parse()?;
    let (resolver, _) = resolver(vec![vec![address]]);
    let manifest = grant("a.example", "private = true");
    let answer = request(&with(resolver)?, &manifest, "GET A.EXAMPLE.:80 / 0").await?;
    assert_eq!(answer, (204, 0, 0));
    let head = server.heads().await?.remove(0);
    assert!(head.contains("\r\nhost: a.example\r\n"), "{head}");
    Ok(())
}

/// Addresses at which clouds serve credentials.
pub(crate) const METADATA: &[&str] = &[
    "168.63.129.16",
    "169.254.169.254",
    "100.100.100.200",
    "192.0.0.192",
    "[fd00:ec2::254]",
];

#[tokio::test]
async fn an_address_at_which_a_cloud_serves_credentials_is_denied() -> anyhow::Result<()> {
    for address in METADATA {
        let (resolver, _) = resolver(vec![vec![format!("{address}:80").parse()?]]);
        let message = denied(&with(resolver)?, &grant("a.example", ""), "GET a.example / 0").await?;
        assert!(message.contains("it resolves to"), "{message}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_request_gets_an_error() -> anyhow::Result<()> {
    let host = patient()?;
    let manifest = grant("a.example", "") + &grant("*.example", "");
    for (what, error) in [
        ("GET user@a.example / 0", URI_INVALID),
        ("GET a.example%2f / 0", URI_INVALID),
        ("GET *.example / 0", URI_INVALID),
        ("CONNECT a.example / 0", METHOD_INVALID),
        ("trace a.example / 0", METHOD_INVALID),
        ("TRACK a.example / 0", METHOD_INVALID),
        ("Track a.example / 0", METHOD_INVALID),
    ] {
        assert_eq!(request(&host, &manifest, what).await?, (0, 0, error), "{what}");
    }
    Ok(())
}

/// Spellings of addresses of this host, and what is said of what they resolve to.
pub(crate) const LOOPBACK: &[(&str, &str)] = &[
    ("127.0.0.1", "127.0.0.1, a loopback address"),
    ("2130706433", "127.0.0.1, a loopback address"),
    ("0x7f.1", "127.0.0.1, a loopback address"),
    ("017700000001", "127.0.0.1, a loopback address"),
    ("127.1", "127.0.0.1, a loopback address"),
    ("localhost", "a loopback address"),
    ("LOCALHOST.", "a loopback address"),
    ("0", "0.0.0.0, an address of this host"),
    ("0.0.0.0", "0.0.0.0, an address of this host"),
    ("[::ffff:7f00:1]", "::ffff:127.0.0.1, a loopback address"),
    ("[::1]", "::1, a loopback address"),
];

#[tokio::test]
async fn every_spelling_of_a_loopback_address_is_denied_unless_it_is_granted() -> anyhow::Result<()> {
    let host = patient()?;
    let server = Forbidden::new()?;
    let port = server.port()?;
    for (name, told) in LOOPBACK {
        let manifest = grant(&format!("{}:{port}", name.trim_end_matches('.')), "");
        let message = denied(&host, &manifest, &format!("GET {name}:{port} / 0")).await?;
        assert!(message.contains(told), "{name}: {message}");
        let ending = "; add private = true to that [[grants.http]] in request.toml";
        assert!(message.ends_with(ending), "{message}");
        server.assert_untouched(name);
    }
    let server = Server::answering(NO_CONTENT, LOOPBACK.len() - 1).await?;
    let (_, port) = server.authority.rsplit_once(':').unwrap_or_default();
    for (name, _) in LOOPBACK.iter().filter(|(name, _)| *name != "[::1]") {
        let manifest = grant(&format!("{}:{port}", name.trim_end_matches('.')), "private = true");
        let answer = request(&host, &manifest, &format!("GET {name}:{port} / 0")).await?;
        assert_eq!(answer, (204, 0, 0), "{name}");
    }
    Ok(())
}

/// A resolver that gives these answers in turn, and how often it was asked.
pub(crate) fn resolver(answers: Vec<Vec<SocketAddr>>) -> (Resolver, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let resolver = Resolver::new(move |_, _| {
        let answer = answers[count.fetch_add(1, Ordering::Relaxed)].clone();
        Box::pin(async { Ok(answer) })
    });
    (resolver, asked)
}

/// Public by its number, and in nobody's use since 2006.
pub(crate) fn public(port: u16) -> SocketAddr {
    format!("[3ffe::1]:{port}").parse().expect("an address")
}

#[tokio::test]
async fn a_name_with_one_private_address_among_public_ones_is_denied() -> anyhow::Result<()> {
    let server = Forbidden::new()?;
    let port = server.port()?;
    let addresses = vec![
        public(port),
        SocketAddr::from(([10, 0, 0, 1], port)),
        server.0.local_addr()?,
    ];
    let (resolver, _) = resolver(vec![addresses]);
    let manifest = grant("*.example", "");
    let message = denied(&with(resolver)?, &manifest, "GET mixed.example / 0").await?;
    assert!(
        message.contains("it resolves to 10.0.0.1, a private address"),
        "{message}"
    );
    server.assert_untouched("denied");
    Ok(())
}

#[tokio::test]
async fn a_name_is_resolved_once_for_each_request_and_checked_each_time() -> anyhow::Result<()> {
    let server = Forbidden::new()?;
    let address = server.0.local_addr()?;
    let (resolver, asked) = resolver(vec![vec![public(address.port())], vec![address]]);
    let host = with(resolver)?;
    let manifest = grant("rebind.example", "");
    let (status, _, error) = request(&host, &manifest, "GET rebind.example / 50").await?;
    assert!(status == 0 && error > 0, "{status} {error}");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let message = denied(&host, &manifest, "GET rebind.example / 50").await?;
    assert!(message.contains("a loopback address"), "{message}");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    server.assert_untouched("resolved to it the second time");
    Ok(())
}

#[tokio::test]
async fn every_checked_address_is_tried_in_turn() -> anyhow::Result<()> {
    let server = Server::answering(NO_CONTENT, 1).await?;
    let closed = {
        let listener = StdListener::bind("127.0.0.1:0")?;
        listener.local_addr()?
    };
    let (resolver, _) = resolver(vec![vec![closed, server.authority.parse()?], vec![closed]]);
    let host = with(resolver)?;
    let manifest = grant("a.example", "private = true");
    assert_eq!(request(&host, &manifest, "GET a.example / 0").await?, (204, 0, 0));
    assert_eq!(
        request(&host, &manifest, "GET a.example / 0").await?,
        (0, 0, CONNECTION_REFUSED)
    );
    Ok(())
}

#[tokio::test]
async fn a_redirect_is_the_handlers_to_follow_and_checked_like_any_request() -> anyhow::Result<()> {
    let host = patient()?;
    let forbidden = Forbidden::new()?;
    let port = forbidden.port()?;
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: http://localhost:{port}\r\ncontent-length: 0\r\n\r\n");
    let server = Server::answering(redirect, 2).await?;
    let payload = format!("GET {} / 0", server.authority);
    let manifest = grant(&server.authority, "private = true");
    let message = denied(&host, &manifest, &payload).await?;
    assert!(
        message.contains("localhost") && message.contains("not granted"),
        "{message}"
    );
    let manifest = manifest + &grant(&format!("localhost:{port}"), "");
    let message = denied(&host, &manifest, &payload).await?;
    assert!(message.contains("a loopback address"), "{message}");
    forbidden.assert_untouched("only redirected to");
    Ok(())
}
