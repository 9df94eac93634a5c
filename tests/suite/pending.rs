//! `kiln_handler::http`, the client of Rust: what the table of all languages' clients does not say.

use serde_json::{Value, json};

use crate::clients::{Guest, at, guest, of};
use crate::servers::HttpServer;

fn rust() -> Guest {
    guest(of("rust"), "kiln_handler::http")
}

async fn moved(status: &str, location: &str) -> anyhow::Result<HttpServer> {
    let answer = format!("HTTP/1.1 {status}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    HttpServer::answering(answer).await
}

/// Nobody is answered before all three have come.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_were_started_are_under_way_at_once() -> anyhow::Result<()> {
    let server = HttpServer::answering_all_of(3).await?;
    let urls: Vec<_> = ["/a", "/b", "/c"].map(|path| at(server.port) + path).to_vec();
    let got = rust().result(json!({"do": "at_once", "urls": urls})).await?;
    assert_eq!(got, json!(["/a", "/b", "/c"]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_takes_the_body_along_but_no_credentials_to_another_server() -> anyhow::Result<()> {
    let tea = HttpServer::answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntea").await?;
    let post = |from: &HttpServer| {
        json!({
            "method": "POST", "url": at(from.port), "body": "milk",
            "headers": [["authorization", "Bearer x"], ["content-type", "text/plain"]],
        })
    };
    for status in ["307 There", "302 There"] {
        let server = moved(status, &at(tea.port)).await?;
        let got = rust().result(post(&server)).await?;
        assert_eq!((&got["status"], &got["body"]), (&json!(200), &json!("tea")), "{got}");
        assert_eq!(server.asked()[0].header("authorization"), Some("Bearer x"));
    }
    let asked = tea.asked();
    let said: Vec<_> = asked
        .iter()
        .map(|asked| {
            let (of, body) = (asked.header("content-type"), String::from_utf8_lossy(&asked.body));
            json!([asked.method, body, of, asked.header("authorization")])
        })
        .collect();
    let wanted = json!([["POST", "milk", "text/plain", null], ["GET", "", null, null]]);
    assert_eq!(Value::from(said), wanted);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_that_leads_to_itself_ends_after_ten() -> anyhow::Result<()> {
    let server = moved("302 Here", "/again").await?;
    let job = json!({"url": at(server.port)});
    rust().assert_retries(job, "redirected too often").await?;
    assert_eq!(server.asked().len(), 11);
    Ok(())
}
