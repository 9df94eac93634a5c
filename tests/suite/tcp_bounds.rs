//! What a handler's TCP connections may take, and what ends an attempt that waits for one.

use std::time::Duration;

use kiln::outcome::{FailureKind, Outcome};
use kiln::sandbox::AttemptContext;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::egress::{Forbidden, attempt, patient};
use crate::sandbox::{TestHost, failed, job_of, json, settings_with};
use crate::tcp::{TIMEOUT, TOO_MANY, grant, serving, steps};

fn bounded(address: &str, limits: &str) -> String {
    grant(address, "private = true") + "[limits]\n" + limits
}

#[tokio::test]
async fn so_many_are_open_at_once_and_so_many_are_made() -> anyhow::Result<()> {
    let host = patient()?;
    let silent = Forbidden::new()?;
    let at = format!("127.0.0.1:{}", silent.port()?);
    let run = async |limits: &str, what: &str| {
        let payload = format!("127.0.0.1 {} {what}", silent.port()?);
        steps(&host, &bounded(&at, limits), &payload).await
    };
    assert_eq!(
        run("tcp_connections = 3", &"c".repeat(1000)).await?,
        (3, 0, 0, TOO_MANY)
    );
    assert_eq!(
        run("tcp_connects = 20", &"cx".repeat(1000)).await?,
        (20, 0, 0, TOO_MANY)
    );
    assert_eq!(run("tcp_connections = 1", &"cx".repeat(20)).await?, (20, 0, 0, 0));
    Ok(())
}

#[tokio::test]
async fn connections_count_as_memory() -> anyhow::Result<()> {
    let silent = Forbidden::new()?;
    let at = format!("127.0.0.1:{}", silent.port()?);
    let manifest = format!("max_memory = \"2MiB\"\n{}", bounded(&at, "tcp_connections = 100"));
    let payload = format!("127.0.0.1 {} {}", silent.port()?, "c".repeat(50));
    let (failure, _) = failed(attempt(&patient()?, "tcp", &manifest, &payload).await?)?;
    assert_eq!(failure.kind, FailureKind::Memory, "{failure}");
    Ok(())
}

#[tokio::test]
async fn what_never_ends_comes_to_its_limit() -> anyhow::Result<()> {
    let host = patient()?;
    // One server sends for ever, one takes everything, one sends a byte now and then, and one takes nothing.
    let (sends, _sending) = serving(async |mut stream: TcpStream| {
        loop {
            stream.write_all(&[0; 1024]).await?;
        }
        #[expect(unreachable_code, reason = "says what it returns")]
        Ok(())
    })
    .await?;
    let (takes, _taking) =
        serving(async |mut stream: TcpStream| tokio::io::copy(&mut stream, &mut tokio::io::sink()).await).await?;
    let (drips, _dripping) = serving(async |mut stream: TcpStream| {
        loop {
            stream.write_u8(0).await?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        #[expect(unreachable_code, reason = "says what it returns")]
        Ok(())
    })
    .await?;
    let silent = Forbidden::new()?;
    let stalls = silent.0.local_addr()?;
    for (at, limits, what, error) in [
        (sends, "tcp_bytes = \"1MiB\"", "ce", TOO_MANY),
        (takes, "tcp_bytes = \"1MiB\"", "cb", TOO_MANY),
        (drips, "tcp_bytes = \"20B\"", "ce", TOO_MANY),
        (stalls, "tcp_idle_timeout = \"50ms\"", "cr", TIMEOUT),
        (stalls, "tcp_idle_timeout = \"50ms\"", "cb", TIMEOUT),
        (stalls, "tcp_connect_timeout = \"50ms\"", "ct", TIMEOUT),
    ] {
        let found = steps(
            &host,
            &bounded(&at.to_string(), limits),
            &format!("127.0.0.1 {} {what}", at.port()),
        )
        .await?;
        assert_eq!((found.0, found.3), (1, error), "{limits} {what}");
    }
    Ok(())
}

/// What a limit on bytes ends goes no further than the limit.
#[tokio::test]
async fn no_byte_beyond_the_limit_is_sent() -> anyhow::Result<()> {
    let (takes, heard) = serving(async |mut stream: TcpStream| {
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.map(|_| heard)
    })
    .await?;
    let manifest = bounded(&takes.to_string(), "tcp_bytes = \"8B\"");
    let payload = format!("127.0.0.1 {} csss", takes.port());
    assert_eq!(steps(&patient()?, &manifest, &payload).await?, (1, 0, 0, TOO_MANY));
    assert_eq!(heard.await??, b"hello\nhe");
    Ok(())
}

#[tokio::test]
async fn a_wait_ends_with_its_time_or_with_the_first_that_is_ready() -> anyhow::Result<()> {
    let host = patient()?;
    let silent = Forbidden::new()?;
    let manifest = bounded(&format!("127.0.0.1:{}", silent.port()?), "tcp_idle_timeout = \"10s\"");
    let payload = format!("127.0.0.1 {} ccwpn", silent.port()?);
    assert_eq!(
        steps(&host, &manifest, &payload).await?,
        (2, 0, 1, 0),
        "it can only be written to"
    );

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    let second = tokio::spawn(async move {
        let (_first, _) = listener.accept().await?;
        let (mut second, _) = listener.accept().await?;
        second.write_all(b"hello").await?;
        second.read_u8().await
    });
    let payload = format!("127.0.0.1 {} cwcwzrx", at.port());
    assert_eq!(
        steps(&host, &bounded(&at.to_string(), ""), &payload).await?,
        (2, 5, 1, 0)
    );
    // Closing ended it.
    assert!(second.await?.is_err());
    Ok(())
}

#[tokio::test]
async fn an_attempt_that_waits_for_a_connection_ends_with_its_time_and_with_its_job() -> anyhow::Result<()> {
    let impatient = TestHost::with(&settings_with(Duration::from_millis(100)))?;
    let patient = patient()?;
    for what in ["cr", "cz", "cb", "ct"] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let at = listener.local_addr()?;
        let (manifest, payload) = (bounded(&at.to_string(), ""), format!("127.0.0.1 {} {what}", at.port()));
        let (failure, _) = failed(attempt(&impatient, "tcp", &manifest, &payload).await?)?;
        assert_eq!(failure.kind, FailureKind::Timeout, "{what}: {failure}");

        let handler = patient.load_with("tcp", &manifest)?;
        let context = AttemptContext::default();
        let job = job_of("tcp", json(&format!("{payload:?}")));
        let stop = async {
            // That of the attempt before, and its own.
            let peers = [listener.accept().await?, listener.accept().await?];
            context.stop.interrupt();
            anyhow::Ok(peers)
        };
        let (ended, peers) = tokio::join!(handler.run(&job, "default", &context), stop);
        assert!(matches!(ended.outcome, Outcome::Stopped), "{what}: {:?}", ended.outcome);
        drop(peers?);
    }
    Ok(())
}
