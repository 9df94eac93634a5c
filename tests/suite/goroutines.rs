//! `net/http` in Go, where all goroutines share one thread: requests overlap, timers go on, and what a context ends is called
//! off.

use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use crate::clients::{Guest, at, guest, of};
use crate::egress::Forbidden;
use crate::servers::HttpServer;

fn go() -> Guest {
    guest(of("go"), "http.DefaultClient")
}

/// Nobody is answered before all four have come; the fourth comes from a goroutine that sleeps first.
#[tokio::test(flavor = "multi_thread")]
async fn requests_of_goroutines_are_under_way_at_once_while_others_sleep_and_go_on() -> anyhow::Result<()> {
    let server = HttpServer::answering_all_of(4).await?;
    let got = go().result(json!({"do": "several", "url": at(server.port)})).await?;
    assert_eq!(got, json!(["/a", "/b", "/c", "/slept"]));
    Ok(())
}

/// The server answers the last request only once the connection of the first is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_context_is_cancelled_is_called_off() -> anyhow::Result<()> {
    let (asked_first, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let server = HttpServer::start(move |asked, mut connection| {
        let (asked_first, gone) = (Arc::clone(&asked_first), Arc::clone(&gone));
        async move {
            match asked.path.as_str() {
                "/never" => {
                    asked_first.notify_one();
                    // Until the other side is gone.
                    let _ = connection.read_u8().await;
                    gone.notify_one();
                    return Ok(());
                }
                "/now" => asked_first.notified().await,
                _ => gone.notified().await,
            }
            Ok(connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?)
        }
    })
    .await?;
    let got = go().result(json!({"do": "cancelled", "url": at(server.port)})).await?;
    assert_eq!(got, json!(["cancelled"]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goroutine_that_never_waits_keeps_no_other_from_its_answer() -> anyhow::Result<()> {
    let server = HttpServer::answering("HTTP/1.1 204 No Content\r\n\r\n").await?;
    let got = go().result(json!({"do": "spins", "url": at(server.port)})).await?;
    assert_eq!(got, "<nil>");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_answer_is_asked_for_and_unpacked() -> anyhow::Result<()> {
    const TEA: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 23\r\n\r\n\
        \x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x2b\x49\x4d\x04\x00\xb2\xd7\x86\x8e\x03\x00\x00\x00";
    let server = HttpServer::answering(TEA).await?;
    let got = go().result(json!({"method": "GET", "url": at(server.port)})).await?;
    assert_eq!((&got["status"], &got["body"]), (&json!(200), &json!("tea")), "{got}");
    assert_eq!(server.asked()[0].header("accept-encoding"), Some("gzip"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_an_error_that_the_users_of_net_http_know() -> anyhow::Result<()> {
    let go = go();
    let closed = at(Forbidden::new()?.port()?);
    let silent = Forbidden::new()?;
    let broken = HttpServer::answering("").await?;
    for (url, kind) in [
        (closed, "refused"),
        ("http://unknown.example/".to_owned(), "unknown"),
        (at(silent.port()?), "timeout"),
        (at(broken.port), "broken"),
    ] {
        let got = go.result(json!({"do": "why", "url": url})).await?;
        assert_eq!(got, json!([kind]), "{url}");
    }
    Ok(())
}
