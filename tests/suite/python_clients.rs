//! What Python's HTTP clients promise beyond what `clients.rs` asks of those of every language.

use serde_json::json;

use crate::clients::{at, guest, of, reusing, silent};
use crate::egress::Forbidden;
use crate::servers::HttpServer;

#[tokio::test(flavor = "multi_thread")]
async fn python_overlaps_requests_in_asyncio() -> anyhow::Result<()> {
    const REQUESTS: usize = 5;
    let guest = guest(of("python"), "httpx.AsyncClient");
    // Answers nobody before it has heard of all.
    let server = HttpServer::answering_all_of(REQUESTS).await?;
    let urls: Vec<_> = (0..REQUESTS).map(|n| format!("{}/{n}", at(server.port))).collect();
    let got = guest.result(json!({"do": "gather", "urls": urls})).await?;
    assert_eq!(got, json!(["/0", "/1", "/2", "/3", "/4"]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_connections_of_a_plugin_take_turns() -> anyhow::Result<()> {
    // The limit http_connections is 8 by default.
    const REQUESTS: usize = 40;
    let guest = guest(of("python"), "httpx.AsyncClient");
    let server = HttpServer::answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntea").await?;
    let urls: Vec<_> = (0..REQUESTS).map(|n| format!("{}/{n}", at(server.port))).collect();
    let got = guest.result(json!({"do": "gather", "urls": urls})).await?;
    assert_eq!(got, json!(vec!["tea"; REQUESTS]));
    assert_eq!(server.asked().len(), REQUESTS);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn python_has_the_clock_of_asyncio() -> anyhow::Result<()> {
    let got = guest(of("python"), "asyncio").result(json!({"do": "patience"})).await?;
    assert_eq!(got, json!({"order": ["first", "second", "timeout", "called"]}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_attempt_leaves_open_is_no_connection_of_the_next_one_in_its_instance() -> anyhow::Result<()> {
    let guest = reusing(of("python"), "http.client", 2)?;
    let server = HttpServer::answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntea").await?;
    let url = at(server.port);
    for (leave, told) in [(true, "left"), (false, "tea")] {
        let got = guest
            .result(json!({"do": "linger", "url": url, "leave": leave}))
            .await?;
        assert_eq!(got, json!(told));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_clients_raise_their_own_exceptions() -> anyhow::Result<()> {
    let closed = at(Forbidden::new()?.port()?);
    let broken = HttpServer::answering("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n0123456789").await?;
    let silent = silent().await?;
    let (broken, silent, unknown) = (at(broken.port), at(silent.port), "http://unknown.example".to_owned());
    let raised = [
        (
            "urllib.request",
            [
                "urllib.error.URLError",
                "urllib.error.URLError",
                "builtins.TimeoutError",
                "builtins.ConnectionResetError",
            ],
        ),
        (
            "http.client",
            [
                "builtins.ConnectionRefusedError",
                "socket.gaierror",
                "builtins.TimeoutError",
                "builtins.ConnectionResetError",
            ],
        ),
        (
            "requests",
            [
                "requests.exceptions.ConnectionError",
                "requests.exceptions.ConnectionError",
                "requests.exceptions.ReadTimeout",
                "requests.exceptions.ChunkedEncodingError",
            ],
        ),
        (
            "httpx.Client",
            [
                "httpx.ConnectError",
                "httpx.ConnectError",
                "httpx.ReadTimeout",
                "httpx.ReadError",
            ],
        ),
        (
            "httpx.AsyncClient",
            [
                "httpx.ConnectError",
                "httpx.ConnectError",
                "httpx.ReadTimeout",
                "httpx.ReadError",
            ],
        ),
        (
            "aiohttp",
            [
                "aiohttp.client_exceptions.ClientOSError",
                "aiohttp.client_exceptions.ClientOSError",
                "builtins.TimeoutError",
                "aiohttp.client_exceptions.ClientPayloadError",
            ],
        ),
    ];
    // No more than the one that never answers is to meet a timeout.
    let jobs = [
        json!({"url": closed, "catch": true}),
        json!({"url": unknown, "catch": true}),
        json!({"url": silent, "catch": true, "timeout_ms": 1_000}),
        json!({"url": broken, "catch": true}),
    ];
    let of_clients = raised.map(async |(client, exceptions)| {
        let guest = guest(of("python"), client);
        for (job, exception) in jobs.iter().zip(exceptions) {
            let got = guest.result(job.clone()).await?;
            assert_eq!(got["raised"], exception, "{client}: {job}: {got}");
        }
        anyhow::Ok(())
    });
    futures::future::try_join_all(of_clients).await?;
    Ok(())
}
