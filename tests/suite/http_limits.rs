//! What a handler's HTTP requests may take, and what it sees of servers that misbehave.

use std::io;
use std::time::Duration;

use kiln::config::Manifest;
use kiln::job::null;
use kiln::outcome::FailureKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::egress::{Server, attempt, grant, head, patient, request};
use crate::guests::hostile_guest;
use crate::sandbox::{TestHost, failed, job_of, result};
use crate::support::PATIENCE;

/// Codes of errors as `request.wat` reports them where there is no answer: 1 + their place in `error-code`.
const READ_TIMEOUT: u32 = 10;
const LIMIT_REACHED: u32 = 12;
const INCOMPLETE: u32 = 26;
const HEAD_TOO_LARGE: u32 = 27;
const BODY_TOO_LARGE: u32 = 29;
/// What it adds where a body broke off.
const OF_BODY: u32 = 100;

/// A server that goes on writing this after the head of a request, until it is left.
async fn endless(
    start: &'static str,
    again: impl Into<Vec<u8>>,
) -> anyhow::Result<(String, JoinHandle<io::Result<()>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let authority = listener.local_addr()?.to_string();
    let again = again.into();
    let serving = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await?;
        head(&mut connection).await?;
        connection.write_all(start.as_bytes()).await?;
        loop {
            connection.write_all(&again).await?;
        }
    });
    Ok((authority, serving))
}

#[tokio::test]
async fn a_server_that_never_answers_costs_only_the_attempt() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let authority = listener.local_addr()?.to_string();
    let manifest = grant(&authority, "private = true");
    let (_, _, error) = request(&patient()?, &manifest, &format!("GET {authority} / 50")).await?;
    assert_eq!(error, READ_TIMEOUT);
    let host = TestHost::new()?;
    let attempt = attempt(&host, "request", &manifest, &format!("GET {authority} / 0")).await?;
    let took = attempt.report.duration;
    assert!((290..2_000).contains(&took.as_millis()), "{took:?}");
    for _ in 0..2 {
        let (mut connection, _) = listener.accept().await?;
        // Ends when it is left.
        tokio::time::timeout(PATIENCE, connection.read_to_end(&mut Vec::new())).await??;
    }
    Ok(())
}

#[tokio::test]
async fn an_attempt_makes_a_hundred_requests_and_no_more() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let authority = listener.local_addr()?.to_string();
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: http://{authority}\r\ncontent-length: 0\r\n\r\n");
    let serving = tokio::spawn(async move {
        for _ in 0..100 {
            let (mut connection, _) = listener.accept().await?;
            head(&mut connection).await?;
            connection.write_all(redirect.as_bytes()).await?;
        }
        io::Result::Ok(())
    });
    let manifest = grant(&authority, "private = true");
    let attempt = attempt(&patient()?, "request", &manifest, &format!("GET {authority} / 0")).await?;
    assert_eq!(attempt.report.http_requests, 100);
    assert_eq!(result(attempt)?, Some(format!("[0,0,{LIMIT_REACHED}]")));
    serving.await??;
    Ok(())
}

#[tokio::test]
async fn a_server_that_never_comes_to_the_point_is_left() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let authority = listener.local_addr()?.to_string();
    let serving = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await?;
        head(&mut connection).await?;
        // Ends when it is left.
        while connection.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_ok() {}
        anyhow::Ok(())
    });
    let manifest = grant(&authority, "private = true");
    let answer = request(&patient()?, &manifest, &format!("GET {authority} /")).await?;
    assert!(answer.0 == 0 && answer.2 > 0, "an error: {answer:?}");
    tokio::time::timeout(PATIENCE, serving).await???;
    Ok(())
}

#[tokio::test]
async fn a_server_that_answers_byte_by_byte_has_only_so_much_time() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let authority = listener.local_addr()?.to_string();
    let serving = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await?;
        head(&mut connection).await?;
        connection.write_all(b"HTTP/1.1 200 OK\r\na: ").await?;
        let mut dribble = tokio::time::interval(Duration::from_millis(5));
        // Ends when it is left.
        while connection.write_all(b"b").await.is_ok() {
            dribble.tick().await;
        }
        io::Result::Ok(())
    });
    let manifest = grant(&authority, "private = true");
    let answer = request(&patient()?, &manifest, &format!("GET {authority} / 50")).await?;
    assert_eq!(answer, (0, 0, READ_TIMEOUT));
    tokio::time::timeout(PATIENCE, serving).await???;
    Ok(())
}

#[tokio::test]
async fn a_body_that_falls_silent_breaks_off() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let authority = listener.local_addr()?.to_string();
    let serving = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await?;
        head(&mut connection).await?;
        connection
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
            .await?;
        // Ends when it is left.
        connection.read_to_end(&mut Vec::new()).await
    });
    let manifest = grant(&authority, "private = true");
    let answer = request(&patient()?, &manifest, &format!("GET {authority} / 50")).await?;
    assert_eq!(answer, (200, 3, OF_BODY + READ_TIMEOUT));
    tokio::time::timeout(PATIENCE, serving).await???;
    Ok(())
}

#[tokio::test]
async fn a_server_that_closes_half_way_is_told_from_one_that_is_done() -> anyhow::Result<()> {
    let host = patient()?;
    for (answer, expected) in [
        ("", (0, 0, INCOMPLETE)),
        ("HTTP/1.1 200", (0, 0, INCOMPLETE)),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
            (200, 3, OF_BODY + INCOMPLETE),
        ),
        ("HTTP/1.1 200 OK\r\n\r\nabc", (200, 3, 0)),
    ] {
        let server = Server::answering(answer, 1).await?;
        let manifest = grant(&server.authority, "private = true");
        let got = request(&host, &manifest, &format!("GET {} / 0", server.authority)).await?;
        assert_eq!(got, expected, "{answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_without_end_breaks_off_at_its_limit() -> anyhow::Result<()> {
    let host = patient()?;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(65536));
    for (start, again, expected) in [
        ("HTTP/1.1 200 OK\r\n", "a: b\r\n".to_owned(), (0, 0, HEAD_TOO_LARGE)),
        ("HTTP/1.1 200 OK\r\na: ", "b".to_owned(), (0, 0, HEAD_TOO_LARGE)),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 67108865\r\n\r\n",
            chunk.clone(),
            (0, 0, BODY_TOO_LARGE),
        ),
    ] {
        let (authority, serving) = endless(start, again).await?;
        let manifest = grant(&authority, "private = true");
        assert_eq!(
            request(&host, &manifest, &format!("GET {authority} / 0")).await?,
            expected,
            "{start}"
        );
        assert!(
            tokio::time::timeout(PATIENCE, serving).await??.is_err(),
            "the connection is closed"
        );
    }
    let (authority, serving) = endless("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk).await?;
    let manifest = grant(&authority, "private = true");
    let (status, bytes, error) = request(&host, &manifest, &format!("GET {authority} / 0")).await?;
    assert_eq!((status, error), (200, OF_BODY + BODY_TOO_LARGE));
    assert!((67_000_000..=67_108_864).contains(&bytes), "{bytes}");
    assert!(
        tokio::time::timeout(PATIENCE, serving).await??.is_err(),
        "the connection is closed"
    );
    Ok(())
}

#[tokio::test]
async fn a_request_body_without_end_breaks_off_at_its_limit() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let authority = listener.local_addr()?.to_string();
    let serving = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await?;
        tokio::io::copy(&mut connection, &mut tokio::io::sink()).await
    });
    let manifest = grant(&authority, "private = true");
    let answer = result(attempt(&patient()?, "upload", &manifest, &authority).await?)?;
    assert_eq!(answer.as_deref(), Some("\"18\""), "HTTP-request-body-size");
    let received = tokio::time::timeout(PATIENCE, serving).await???;
    assert!((67_000_000..68_500_000).contains(&received), "{received}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_takes_no_body_is_given_up() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let authority = listener.local_addr()?.to_string();
    let accepting = tokio::spawn(async move { listener.accept().await });
    let manifest = grant(&authority, "private = true");
    let answer = result(attempt(&patient()?, "upload", &manifest, &authority).await?)?;
    assert_eq!(answer.as_deref(), Some("\"11\""), "connection-write-timeout");
    accepting.await??;
    Ok(())
}

#[tokio::test]
async fn a_request_beyond_the_connections_at_once_gets_an_error() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let authority = listener.local_addr()?.to_string();
    let serving = tokio::spawn(async move {
        let mut open = Vec::new();
        for _ in 0..8 {
            let (mut connection, _) = listener.accept().await?;
            head(&mut connection).await?;
            connection
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
                .await?;
            open.push(connection);
        }
        for mut connection in open {
            // Ends when it is left.
            connection.read_to_end(&mut Vec::new()).await?;
        }
        io::Result::Ok(())
    });
    let manifest = grant(&authority, "private = true");
    let attempt = attempt(&patient()?, "hoard", &manifest, &authority).await?;
    assert_eq!(attempt.report.http_requests, 8);
    assert_eq!(result(attempt)?.as_deref(), Some("10802"), "8 answers, 2 errors");
    tokio::time::timeout(PATIENCE, serving).await???;
    Ok(())
}

#[tokio::test]
async fn a_request_cannot_fill_the_hosts_memory_with_its_method() -> anyhow::Result<()> {
    assert_eq!(
        result(TestHost::new()?.run("long_method").await?)?.as_deref(),
        Some("1")
    );
    Ok(())
}

#[tokio::test]
async fn what_the_host_keeps_for_a_guests_handles_counts_as_its_memory() -> anyhow::Result<()> {
    let host = patient()?;
    let manifest = format!("max_memory = \"16MiB\"\n{}", grant("a.example", ""));
    let hoarder = host.sandbox.load(
        "hoard_requests",
        &hostile_guest("hoard_requests")?,
        &Manifest::parse(&manifest).map_err(anyhow::Error::msg)?,
    )?;
    let attempt = host.attempt(&hoarder, &job_of("hoard_requests", null())).await;
    let peak = attempt.report.peak_memory_bytes;
    let (failure, _) = failed(attempt)?;
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (
            FailureKind::Memory,
            "wanted 16.0 MiB of memory; the limit max_memory is 16.0 MiB"
        )
    );
    assert!((15 << 20..=16 << 20).contains(&peak), "{peak}");
    Ok(())
}
