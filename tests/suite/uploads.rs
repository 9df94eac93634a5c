//! Bodies that a server takes slowly: no other task of the handler waits for them.

use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::clients::{Guest, at, guest, of};
use crate::servers::http;

/// More than the sockets' buffers and the host take while the server reads nothing.
const SIZE: usize = 12_000_000;

/// Reads an upload only once something else was requested, and answers with its size then.
async fn serve(connection: TcpStream, asked_more: Arc<Notify>) -> anyhow::Result<()> {
    let mut connection = BufReader::new(connection);
    let asked = http::head(&mut connection).await?;
    let answer = if asked.path == "/upload" {
        asked_more.notified().await;
        let body = http::body(&asked, &mut connection).await?;
        format!("{} {}", body.len(), body.iter().all(|byte| *byte == b'x'))
    } else {
        asked_more.notify_one();
        "tea".to_owned()
    };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
    Ok(connection.write_all((head + &answer).as_bytes()).await?)
}

async fn an_upload_to_a_server_that_reads_nothing_holds_up_nothing_else(guest: Guest) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let asked_more = Arc::new(Notify::new());
    let accepting = tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve(connection, Arc::clone(&asked_more)));
        }
    });
    let got = guest
        .result(json!({"do": "meanwhile", "url": at(port), "size": SIZE}))
        .await?;
    accepting.abort();
    assert_eq!(got, json!([format!("{SIZE} true"), "tea"]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_javascript() -> anyhow::Result<()> {
    an_upload_to_a_server_that_reads_nothing_holds_up_nothing_else(guest(of("js"), "fetch")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_httpx() -> anyhow::Result<()> {
    an_upload_to_a_server_that_reads_nothing_holds_up_nothing_else(guest(of("python"), "httpx.AsyncClient")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_aiohttp() -> anyhow::Result<()> {
    an_upload_to_a_server_that_reads_nothing_holds_up_nothing_else(guest(of("python"), "aiohttp")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_go() -> anyhow::Result<()> {
    an_upload_to_a_server_that_reads_nothing_holds_up_nothing_else(guest(of("go"), "http.DefaultClient")).await
}
