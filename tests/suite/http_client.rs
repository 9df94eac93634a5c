//! `kiln:http/client`, the requests of languages that cannot carry the resources of `wasi:http`: the same grants, the same
//! bounds, and its own words for what goes wrong.

use kiln::outcome::{Failure, FailureKind, RetryHint};
use kiln::sandbox::AttemptContext;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::egress::{Forbidden, NO_CONTENT, Server, attempt, grant, head, patient};
use crate::sandbox::{failed, job_of, json, result};

/// Kinds of errors as `exchange.wat` reports them: 1 + their place in `error-kind`.
const INVALID: u32 = 1;
const CONNECT: u32 = 3;
const TIMEOUT: u32 = 5;
const NETWORK: u32 = 6;
const TOO_MANY: u32 = 8;
/// What it adds where the body broke off.
const IN_BODY: u32 = 100;

/// What became of `exchange.wat`'s requests: status, bytes of the body, pieces that it came in, error.
async fn exchange(manifest: &str, payload: &str) -> anyhow::Result<(u32, u32, u32, u32)> {
    let answer = result(attempt(&patient()?, "exchange", manifest, payload).await?)?;
    Ok(serde_json::from_str(&answer.unwrap_or_default())?)
}

async fn denied(manifest: &str, payload: &str) -> anyhow::Result<String> {
    let attempt = attempt(&patient()?, "exchange", manifest, payload).await?;
    let (Failure { kind, message, .. }, retry) = failed(attempt)?;
    assert_eq!((kind, retry), (FailureKind::Denied, RetryHint::Never), "{message}");
    Ok(message)
}

#[tokio::test]
async fn a_granted_request_goes_out_as_it_was_made_and_its_body_comes_in_pieces() -> anyhow::Result<()> {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n01234567890123456789", 1).await?;
    let manifest = grant(&server.authority, "private = true");
    let url = format!("http://{}/a%20b?c=d#fragment", server.authority);
    assert_eq!(
        exchange(&manifest, &format!("DELETE {url} 0 1")).await?,
        (200, 20, 3, 0)
    );
    let authority = server.authority.clone();
    let head = server.heads().await?.remove(0);
    assert!(head.starts_with("delete /a%20b?c=d http/1.1\r\n"), "{head}");
    for line in ["accept: text/plain\r\n".to_owned(), format!("host: {authority}\r\n")] {
        assert!(head.contains(&line), "{head}");
    }
    Ok(())
}

#[tokio::test]
async fn what_no_grant_covers_ends_the_attempt_and_names_the_grant() -> anyhow::Result<()> {
    let message = denied(&grant("b.example", ""), "GET http://a.example:8080/x 0 1").await?;
    let told = "http request to http://a.example:8080: not granted; add [[grants.http]] origin = \"http://a.example:8080\" to \
                exchange.toml";
    assert_eq!(message, told);
    let none = denied("", "GET http://a.example/ 0 1").await?;
    assert!(none.contains("add [[grants.http]]"), "{none}");
    let server = Forbidden::new()?;
    let authority = format!("127.0.0.1:{}", server.port()?);
    let late = denied(&grant(&authority, ""), &format!("GET http://{authority}/ 0 1")).await?;
    assert!(late.contains("a loopback address; add private = true"), "{late}");
    server.assert_untouched("its address is not public");
    Ok(())
}

#[tokio::test]
async fn a_request_carries_its_producers_trace_where_nobody_is_told_of_spans() -> anyhow::Result<()> {
    let server = Server::answering(NO_CONTENT, 1).await?;
    let manifest = grant(&server.authority, "private = true\ntrace = true");
    let handler = patient()?.load_with("exchange", &manifest)?;
    let mut job = job_of("exchange", json(&format!("\"GET http://{}/ 0 1\"", server.authority)));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    // What a producer wrote may be none that a header can hold.
    job.metadata = Some(json(&format!(
        r#"{{"traceparent":"{parent}","tracestate":"a=1\u000ab"}}"#
    )));
    result(handler.run(&job, "default", &AttemptContext::default()).await)?;
    let head = server.heads().await?.remove(0);
    assert!(
        head.contains(&format!("traceparent: {parent}\r\n")) && !head.contains("tracestate"),
        "{head}"
    );
    Ok(())
}

#[tokio::test]
async fn what_goes_wrong_has_a_kind() -> anyhow::Result<()> {
    let closed = format!("127.0.0.1:{}", Forbidden::new()?.port()?);
    let manifest = grant(&closed, "private = true");
    let refused = exchange(&manifest, &format!("GET http://{closed}/ 0 1")).await?;
    assert_eq!(refused, (0, 0, 0, CONNECT));
    for wrong in [
        format!("TRACE http://{closed}/ 0 1"),
        format!("GET ftp://{closed}/ 0 1"),
        format!("GET http://user@{closed}/ 0 1"),
        "GET /path 0 1".to_owned(),
        format!("G/T http://{closed}/ 0 1"),
    ] {
        assert_eq!(exchange(&manifest, &wrong).await?, (0, 0, 0, INVALID), "{wrong}");
    }
    let silent = Forbidden::new()?;
    let authority = format!("127.0.0.1:{}", silent.port()?);
    let manifest = grant(&authority, "private = true");
    let late = exchange(&manifest, &format!("GET http://{authority}/ 50 1")).await?;
    assert_eq!(late, (0, 0, 0, TIMEOUT));
    let broken = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n0123456789", 1).await?;
    let manifest = grant(&broken.authority, "private = true");
    let url = format!("GET http://{}/ 0 1", broken.authority);
    assert_eq!(exchange(&manifest, &url).await?, (200, 10, 2, IN_BODY + NETWORK));
    Ok(())
}

#[tokio::test]
async fn several_are_under_way_at_once_up_to_the_limit() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let authority = listener.local_addr()?.to_string();
    // Answers nobody before it has heard of all three.
    let server = tokio::spawn(async move {
        let mut connections = Vec::new();
        for _ in 0..3 {
            let (mut connection, _) = listener.accept().await?;
            head(&mut connection).await?;
            connections.push(connection);
        }
        connections[2].write_all(NO_CONTENT.as_bytes()).await?;
        Ok::<_, std::io::Error>(connections)
    });
    let manifest = grant(&authority, "private = true") + "[limits]\nhttp_connections = 3\n";
    let answered = exchange(&manifest, &format!("GET http://{authority}/ 0 3")).await?;
    assert_eq!(answered, (204, 0, 0, 0));
    drop(server.await??);
    let silent = Forbidden::new()?;
    let authority = format!("127.0.0.1:{}", silent.port()?);
    let manifest = grant(&authority, "private = true") + "[limits]\nhttp_connections = 3\n";
    let fourth = exchange(&manifest, &format!("GET http://{authority}/ 0 1000")).await?;
    assert_eq!(fourth, (0, 3, 0, TOO_MANY), "after three were begun");
    Ok(())
}

#[tokio::test]
async fn a_streamed_body_is_sent_piece_by_piece_and_its_answer_comes_after_it() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let authority = listener.local_addr()?.to_string();
    let server = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await?;
        let head = head(&mut connection).await?;
        let mut body = Vec::new();
        while !body.ends_with(b"0\r\n\r\n") {
            body.push(connection.read_u8().await?);
        }
        connection.write_all(NO_CONTENT.as_bytes()).await?;
        Ok::<_, std::io::Error>((head, String::from_utf8_lossy(&body).into_owned()))
    });
    let manifest = grant(&authority, "private = true");
    let answered = exchange(&manifest, &format!("PUT http://{authority}/ 0 1")).await?;
    assert_eq!(answered, (204, 0, 0, 0));
    let (head, body) = server.await??;
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    let pieces: String = body.split("\r\n").filter(|line| line.len() == 8).collect();
    assert_eq!(pieces, "01234567".repeat(3), "{body}");
    Ok(())
}
