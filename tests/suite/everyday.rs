//! Handlers as users write them: one that reads a language model's answer while it is being made, and one that crawls a
//! site.
//!
//! `tests/handlers/js/chat.js`, and `chat.py` and `crawl.py` in `tests/handlers/python-http`.

use std::sync::Arc;

use kiln::outcome::{FailureKind, RetryHint};
use kiln::sandbox::{AttemptContext, Listener, LogLine, Speaker};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::clients::{Guest, at, guest, of};
use crate::sandbox::{failed, result};
use crate::servers::HttpServer;

/// What the model answers, piece by piece.
const PIECES: [&str; 4] = ["Grüner ", "Tee:\n\n", "☕ ", "und 茶."];

/// Counts what a handler tells of its progress.
#[derive(Debug)]
struct Heard(watch::Sender<usize>);

impl Listener for Heard {
    fn log(&self, _: &Speaker<'_>, _: &LogLine<'_>) {}

    fn progress(&self, _: &Speaker<'_>, _: u8, _: &str) {
        self.0.send_modify(|count| *count += 1);
    }
}

/// A language model, and whom it waits for: no piece is sent before the handler has told that it has the one before.
async fn model(breaks_off: bool) -> anyhow::Result<(HttpServer, AttemptContext)> {
    let heard = Arc::new(Heard(watch::Sender::new(0)));
    let context = AttemptContext {
        listener: Some(Arc::clone(&heard) as Arc<dyn Listener>),
        ..AttemptContext::default()
    };
    let server = HttpServer::start(move |_, mut connection| {
        let mut heard = heard.0.subscribe();
        async move {
            connection
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                .await?;
            for (before, piece) in PIECES.iter().enumerate() {
                heard.wait_for(|count| *count >= before).await?;
                let event = json!({"choices": [{"delta": {"content": piece}}]});
                say(&mut connection, &format!(": still there\n\ndata: {event}\n\n")).await?;
            }
            heard.wait_for(|count| *count >= PIECES.len()).await?;
            if !breaks_off {
                say(&mut connection, "data: [DONE]\n\n").await?;
                connection.write_all(b"0\r\n\r\n").await?;
            }
            Ok(())
        }
    })
    .await?;
    Ok((server, context))
}

/// Sends text in two chunks, the first of which ends within a character if one has several bytes.
async fn say(connection: &mut BufReader<TcpStream>, text: &str) -> anyhow::Result<()> {
    let half = text
        .bytes()
        .position(|byte| byte >= 0xc0)
        .map_or(text.len() / 2, |first| first + 1);
    let (first, second) = text.as_bytes().split_at(half);
    for chunk in [first, second] {
        connection
            .write_all(format!("{:x}\r\n", chunk.len()).as_bytes())
            .await?;
        connection.write_all(chunk).await?;
        connection.write_all(b"\r\n").await?;
        connection.flush().await?;
    }
    Ok(())
}

/// The handlers that talk with a model.
fn talkers() -> [Guest; 3] {
    let python = |client| guest(of("python"), client);
    [
        guest(of("js"), "fetch"),
        python("httpx.AsyncClient"),
        python("urllib.request"),
    ]
}

fn question(server: &HttpServer) -> Value {
    json!({"do": "chat", "url": at(server.port), "question": "Which tea?"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_models_answer_is_read_while_it_is_being_made() -> anyhow::Result<()> {
    for guest in talkers() {
        let (server, context) = model(false).await?;
        let attempt = guest.attempt_in(question(&server), &context).await?;
        let told = attempt.report.progress_percent;
        let answer: Value = serde_json::from_str(&result(attempt)?.unwrap_or_default())?;
        assert_eq!(answer, json!({"text": PIECES.concat(), "pieces": PIECES.len()}));
        assert_eq!(told, Some(4));
        let asked = server.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        let body: Value = serde_json::from_slice(&asked[0].body)?;
        assert_eq!(
            (&body["stream"], &body["messages"][0]["content"]),
            (&json!(true), &json!("Which tea?"))
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_models_answer_that_breaks_off_is_worth_another_attempt() -> anyhow::Result<()> {
    for guest in talkers() {
        let (server, context) = model(true).await?;
        let (failure, retry) = failed(guest.attempt_in(question(&server), &context).await?)?;
        assert_eq!(
            (failure.kind, retry),
            (FailureKind::Error, RetryHint::ByPolicy),
            "{failure:?}"
        );
    }
    Ok(())
}

/// Pages that lead to one another, to themselves, elsewhere, and to what is not there.
async fn site() -> anyhow::Result<HttpServer> {
    HttpServer::start(|asked, mut connection| async move {
        let page = |title: &str, links: &str| {
            let html = format!("<html><title>{title}</title><body>{links}</body></html>");
            let length = html.len();
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {length}\r\n\r\n{html}"
            )
        };
        let moved = |to: &str| format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
        let answer = match asked.path.as_str() {
            "/" => page(
                "Tea",
                "<a href='/green'>Green</a> <a href=black/#top>Black</a> <a href='/gone?a=b&amp;c'>Gone</a> \
                 <a href='/leaves'>Leaves</a> <a href='mailto:tea@shop.invalid'>Mail</a> <a name=end>",
            ),
            "/green" => page(
                "Grüner Tee",
                "<a href='/#end'>Back</a> <a href='green'>Here</a> <a href='/old'>Old</a>",
            ),
            "/black/" => page(
                "Black",
                "<a href='../green'>Green</a> <a href='//shop.invalid/tea'>Buy</a> <a href='pot'>Pot</a>",
            ),
            "/black/pot" => {
                "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 20\r\n\r\n<a href='/picture'> "
                    .to_owned()
            }
            "/old" => moved("/round"),
            "/round" => moved("/old"),
            "/leaves" => moved("http://leaves.invalid/"),
            _ => "HTTP/1.1 404 None\r\ncontent-length: 0\r\n\r\n".to_owned(),
        };
        Ok(connection.write_all(answer.as_bytes()).await?)
    })
    .await
}

fn crawl(server: &HttpServer, most: usize, everywhere: bool) -> Value {
    json!({"do": "crawl", "url": format!("{}/", at(server.port)), "most": most, "everywhere": everywhere})
}

/// The paths that it was asked for, in order of their names.
fn visited(server: &HttpServer) -> Vec<String> {
    let mut paths: Vec<_> = server.asked().into_iter().map(|asked| asked.path).collect();
    paths.sort();
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_crawled_each_page_once_and_no_further() -> anyhow::Result<()> {
    let crawler = guest(of("python"), "httpx.AsyncClient");
    let server = site().await?;
    let found = crawler.result(crawl(&server, 100, false)).await?;
    let wanted = json!({
        "pages": {"/": "Tea", "/black/": "Black", "/green": "Grüner Tee"},
        "gone": ["/gone"],
        "outside": ["http://leaves.invalid/", "http://shop.invalid/tea"],
        "left": 0,
    });
    assert_eq!(found, wanted);
    let pages = [
        "/",
        "/black/",
        "/black/pot",
        "/gone?a=b&c",
        "/green",
        "/leaves",
        "/old",
        "/round",
    ];
    assert_eq!(visited(&server), pages);

    let server = site().await?;
    let found = crawler.result(crawl(&server, 3, false)).await?;
    assert_eq!((server.asked().len(), &found["left"]), (3, &json!(3)), "{found}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crawler_that_goes_everywhere_gets_no_further_than_its_grants() -> anyhow::Result<()> {
    let crawler = guest(of("python"), "httpx.AsyncClient");
    let server = site().await?;
    let attempt = crawler
        .attempt_in(crawl(&server, 100, true), &AttemptContext::default())
        .await?;
    let (failure, retry) = failed(attempt)?;
    assert_eq!(
        (failure.kind, retry),
        (FailureKind::Denied, RetryHint::Never),
        "{failure:?}"
    );
    let ways = ["leaves.invalid", "shop.invalid"].map(|host| {
        format!(
            "http request to http://{host}: not granted; add [[grants.http]] origin = \"http://{host}\" to clients.toml"
        )
    });
    assert!(ways.contains(&failure.message), "{failure:?}");
    Ok(())
}
