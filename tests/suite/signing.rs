//! Requests that the host signs: their handler holds no key, and says no more than where they go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln::config::SandboxSettings;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::egress::{attempt, denied, grant, request};
use crate::sandbox::{TestHost, result, settings_with};
use crate::servers::{Asked, HttpServer};
use crate::support::PATIENCE;

/// The error of `exchange.wat` for a broken connection.
const NETWORK: u32 = 6;

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// A host whose only secret is called `KEY`.
fn keeping(value: &str) -> anyhow::Result<(TestHost, tempfile::TempDir)> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("KEY"), value)?;
    let settings = SandboxSettings {
        secrets_dir: Some(dir.path().to_owned()),
        ..settings_with(PATIENCE)
    };
    Ok((TestHost::with(&settings)?, dir))
}

/// A manifest that grants a server on this machine, and how requests to it are signed.
fn signed(port: u16, terms: &str) -> String {
    let authority = format!("127.0.0.1:{port}");
    let http = grant(&authority, "private = true");
    format!("{http}[grants.secrets.KEY]\norigin = \"http://{authority}\"\n{terms}\n")
}

/// Status and error of a request over `kiln:http`; with the method PUT its body is streamed, "01234567" three times.
async fn exchange(host: &TestHost, manifest: &str, method: &str, port: u16) -> anyhow::Result<(u32, u32)> {
    let payload = format!("{method} http://127.0.0.1:{port}/a%20b?c=d 0 1");
    let answer = result(attempt(host, "exchange", manifest, &payload).await?)?;
    let (status, _, _, error): (_, u32, u32, _) = serde_json::from_str(&answer.unwrap_or_default())?;
    Ok((status, error))
}

fn asked_once(server: &HttpServer) -> Asked {
    let asked = server.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    asked.into_iter().next().expect("one")
}

#[tokio::test]
async fn a_streamed_body_is_held_until_it_is_signed() -> anyhow::Result<()> {
    let (host, _dir) = keeping("It's a Secret to Everybody\n")?;
    let server = HttpServer::answering(NO_CONTENT).await?;
    let manifest = signed(
        server.port,
        "expose = \"hmac-sha256\"\nheader = \"x-hub-signature-256\"\nformat = \"sha256={hex}\"",
    );
    assert_eq!(exchange(&host, &manifest, "PUT", server.port).await?, (204, 0));
    let asked = asked_once(&server);
    assert_eq!(asked.body, b"01234567".repeat(3));
    assert_eq!(asked.header("content-length"), Some("24"), "{asked:?}");
    // As `printf 012345670123456701234567 | openssl dgst -sha256 -hmac "It's a Secret to Everybody"` has it.
    assert_eq!(
        asked.header("x-hub-signature-256"),
        Some("sha256=cf5eb4ad17146fd7cf0b4ca8a1be9e4fb747af8c95b4e4d8f1f73a37747c16d5")
    );
    Ok(())
}

#[tokio::test]
async fn requests_of_wasi_http_are_signed_and_their_own_authorization_is_replaced() -> anyhow::Result<()> {
    let (host, _dir) = keeping("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\n")?;
    let server = HttpServer::answering(NO_CONTENT).await?;
    let manifest = signed(
        server.port,
        "expose = \"sigv4\"\nregion = \"eu-central-1\"\naccess_key_id = \"AKIDEXAMPLE\"",
    );
    let payload = format!("GET 127.0.0.1:{} /a%20b 0 AWS4-HMAC-SHA256", server.port);
    assert_eq!(request(&host, &manifest, &payload).await?, (204, 0, 0));
    let asked = asked_once(&server);
    let authorization = asked.header("authorization").unwrap_or_default();
    let date = &asked.header("x-amz-date").unwrap_or_default()[..8];
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{date}/eu-central-1/s3/aws4_request, \
         SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="
    );
    let signature = authorization.strip_prefix(&scope).unwrap_or_default();
    let is_digest = signature.len() == 64 && signature.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_digest, "{asked:?}");
    let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(asked.header("x-amz-content-sha256"), Some(of_nothing));
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_too_large_to_be_signed_is_not_sent() -> anyhow::Result<()> {
    let (host, _dir) = keeping("k")?;
    let server = HttpServer::answering(NO_CONTENT).await?;
    let terms = "expose = \"hmac-sha256\"\nheader = \"x-signature\"\n[limits]\nhttp_signed_body_bytes = \"16KiB\"";
    let manifest = signed(server.port, terms);
    let answer = result(attempt(&host, "upload", &manifest, &format!("127.0.0.1:{}", server.port)).await?)?;
    // 1 + the place of HTTP-request-body-size among the error codes.
    assert_eq!(answer.as_deref(), Some("\"18\""));
    assert!(server.asked().is_empty());
    Ok(())
}

/// A server that gives out the tokens `token-1`, `token-2`, … and how many there were.
async fn tokens() -> anyhow::Result<(HttpServer, Arc<AtomicUsize>)> {
    let given = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&given);
    let server = HttpServer::start(move |_, mut connection| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            let token = json!({"access_token": format!("token-{number}"), "token_type": "Bearer", "expires_in": 3600});
            let token = token.to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", token.len());
            Ok(connection.write_all((head + &token).as_bytes()).await?)
        }
    })
    .await?;
    Ok((server, given))
}

fn oauth(port: u16, tokens: u16, more: &str) -> String {
    let terms = format!(
        "expose = \"oauth2\"\ntoken_url = \"http://127.0.0.1:{tokens}/token\"\nclient_id = \"kiln\"\n\
         token_private = true\n{more}"
    );
    signed(port, &terms)
}

#[tokio::test]
async fn one_token_serves_all_attempts_of_a_plugin() -> anyhow::Result<()> {
    let (host, _dir) = keeping("s3cret")?;
    let (tokens, given) = tokens().await?;
    let api = HttpServer::answering(NO_CONTENT).await?;
    let manifest = oauth(api.port, tokens.port, "scope = \"orders.read\"");
    let handler = host.load_with("exchange", &manifest)?;
    let job = crate::sandbox::job_of(
        "exchange",
        serde_json::value::to_raw_value(&format!("GET http://127.0.0.1:{}/ 0 3", api.port))?,
    );
    for _ in 0..2 {
        crate::sandbox::assert_completes(&host.attempt(&handler, &job).await);
    }
    assert_eq!(given.load(Ordering::SeqCst), 1);
    assert!(api.asked().len() >= 2, "an attempt ends with the first answer");
    for asked in api.asked() {
        assert_eq!(asked.header("authorization"), Some("Bearer token-1"), "{asked:?}");
    }
    let asked = asked_once(&tokens);
    assert_eq!(asked.header("authorization"), Some("Basic a2lsbjpzM2NyZXQ="));
    assert_eq!(asked.body, b"grant_type=client_credentials&scope=orders.read");
    Ok(())
}

#[tokio::test]
async fn a_token_that_an_api_does_not_take_is_replaced_once() -> anyhow::Result<()> {
    let (host, _dir) = keeping("s3cret")?;
    let (tokens, given) = tokens().await?;
    let api = HttpServer::start(|asked, mut connection| async move {
        let status = match asked.header("authorization") {
            Some("Bearer token-2") if asked.path == "/a%20b?c=d" => "204 No Content",
            _ => "401 Unauthorized",
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        Ok(connection.write_all(answer.as_bytes()).await?)
    })
    .await?;
    let manifest = oauth(api.port, tokens.port, "");
    assert_eq!(exchange(&host, &manifest, "GET", api.port).await?, (204, 0));
    assert_eq!(given.load(Ordering::SeqCst), 2);
    // Each load begins anew; here the API says no whatever the token, and the handler hears of it.
    let payload = format!("GET http://127.0.0.1:{}/no 0 1", api.port);
    let no = result(attempt(&host, "exchange", &manifest, &payload).await?)?;
    assert_eq!(no.as_deref(), Some("[401,0,0,0]"));
    assert_eq!(given.load(Ordering::SeqCst), 4);
    Ok(())
}

#[tokio::test]
async fn a_token_server_that_gives_none_is_a_fault_of_the_network() -> anyhow::Result<()> {
    let (host, _dir) = keeping("s3cret")?;
    let api = HttpServer::answering(NO_CONTENT).await?;
    let refusing =
        HttpServer::answering("HTTP/1.1 401 No\r\ncontent-length: 27\r\n\r\n{\"error\": \"invalid_client\"}").await?;
    let manifest = oauth(api.port, refusing.port, "");
    assert_eq!(exchange(&host, &manifest, "GET", api.port).await?, (0, NETWORK));
    assert!(api.asked().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_token_server_has_to_be_public_unless_its_operator_says_otherwise() -> anyhow::Result<()> {
    let (host, _dir) = keeping("s3cret")?;
    let api = HttpServer::answering(NO_CONTENT).await?;
    let terms = "expose = \"oauth2\"\ntoken_url = \"https://127.0.0.1/token\"\nclient_id = \"kiln\"";
    let payload = format!("GET 127.0.0.1:{} / 0 Bearer", api.port);
    assert_eq!(
        denied(&host, &signed(api.port, terms), &payload).await?,
        "token for the secret KEY: https://127.0.0.1 resolves to 127.0.0.1, a loopback address; add token_private = true \
         to [grants.secrets.KEY] in request.toml"
    );
    assert!(api.asked().is_empty());
    Ok(())
}
