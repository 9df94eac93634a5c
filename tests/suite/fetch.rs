//! `fetch` and the web's other APIs, of the kit for JavaScript: a real component, and real servers.
//!
//! That several things are under way at once is told by a server that answers none before it has heard of all.

use std::future::Future;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use kiln::config::{Manifest, SandboxSettings};
use kiln::outcome::Attempt;
use kiln::sandbox::{AttemptContext, Sandbox};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::egress::{Forbidden, Server, grant};
use crate::sandbox::{job_of, json, result, settings_with};
use crate::servers::http::{self, Asked};
use crate::support::{PATIENCE, compiled};

/// One attempt of the handler in JavaScript at one of its tasks (`tests/handlers/js/web.js`).
async fn attempt(manifest: &str, task: &str, mut payload: Value) -> anyhow::Result<Attempt> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/handlers/conformance-js.wasm");
    let bytes = std::fs::read(&path).with_context(|| format!("{}; run: cargo xtask plugins", path.display()))?;
    let settings = SandboxSettings {
        cache_dir: Some(compiled()),
        ..settings_with(PATIENCE)
    };
    let manifest = Manifest::parse(manifest).map_err(anyhow::Error::msg)?;
    let handler = Sandbox::new(&settings)?.load("fetch", &bytes, &manifest)?;
    payload["do"] = "web".into();
    payload["task"] = task.into();
    let job = job_of("fetch", json(&payload.to_string()));
    Ok(handler.run(&job, "default", &AttemptContext::default()).await)
}

fn granted(authority: &str) -> String {
    grant(authority, "private = true")
}

/// What a task returns that may reach this server.
async fn task(authority: &str, task: &str, mut payload: Value) -> anyhow::Result<Value> {
    payload["url"] = format!("http://{authority}/").into();
    let text = result(attempt(&granted(authority), task, payload).await?)?;
    Ok(serde_json::from_str(&text.context("a result")?)?)
}

/// A request that has come, and where its answer goes.
struct Visit {
    asked: Asked,
    connection: BufReader<TcpStream>,
}

impl Visit {
    async fn body(&mut self) -> anyhow::Result<Vec<u8>> {
        http::body(&self.asked, &mut self.connection).await
    }

    async fn say(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.connection.write_all(text.as_bytes()).await?)
    }

    async fn answer(&mut self, body: &str) -> anyhow::Result<()> {
        self.say(&format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await
    }

    async fn redirect(&mut self, status: u16, to: &str) -> anyhow::Result<()> {
        let head = format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
        self.say(&head).await
    }

    /// Waits until the other side has closed.
    async fn until_closed(&mut self) -> anyhow::Result<()> {
        let end = self.connection.read(&mut [0; 1]).await;
        ensure!(matches!(end, Ok(0) | Err(_)), "it says more: {end:?}");
        Ok(())
    }
}

/// A server that does this with what connects to it.
struct Site<T> {
    authority: String,
    story: JoinHandle<anyhow::Result<T>>,
}

/// Whom a server hears.
struct Door(TcpListener);

impl Door {
    async fn next(&self) -> anyhow::Result<Visit> {
        let mut connection = BufReader::new(self.0.accept().await?.0);
        let asked = http::head(&mut connection).await?;
        Ok(Visit { asked, connection })
    }

    /// The next one, which has to be for this path.
    async fn next_for(&self, path: &str) -> anyhow::Result<Visit> {
        let visit = self.next().await?;
        ensure!(visit.asked.path == path, "not for {path}: {:?}", visit.asked);
        Ok(visit)
    }
}

impl<T: Send + 'static> Site<T> {
    async fn open<F>(story: impl FnOnce(Door) -> F) -> anyhow::Result<Self>
    where
        F: Future<Output = anyhow::Result<T>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Ok(Self {
            authority: listener.local_addr()?.to_string(),
            story: tokio::spawn(story(Door(listener))),
        })
    }

    /// What came of it.
    async fn end(self) -> anyhow::Result<T> {
        timeout(PATIENCE, self.story).await??
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_goes_out_and_comes_back() -> anyhow::Result<()> {
    let site = Site::open(async |door| {
        let mut visit = door.next_for("/orders?page=2").await?;
        let body = visit.body().await?;
        visit.answer(r#"{"total": 3}"#).await?;
        Ok((visit.asked, String::from_utf8(body)?))
    })
    .await?;
    let url = format!("http://{}/orders?page=2", site.authority);
    let said = task(&site.authority, "json", json!({})).await?;
    assert_eq!(
        said,
        json!({"used": true, "ok": true, "url": url, "said": {"total": 3}})
    );
    let (asked, body) = site.end().await?;
    assert_eq!((&*asked.method, &*body), ("POST", r#"{"a":1}"#));
    for (name, value) in [("content-type", "application/json"), ("user-agent", "kiln")] {
        assert_eq!(asked.header(name), Some(value), "{asked:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_sent_as_multipart_and_read_from_it() -> anyhow::Result<()> {
    let site = Site::open(async |door| {
        let mut visit = door.next().await?;
        let body = String::from_utf8(visit.body().await?)?;
        let kind = visit.asked.header("content-type").context("a type")?.to_owned();
        visit
            .say(&format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await?;
        Ok(())
    })
    .await?;
    let said = task(&site.authority, "form", json!({})).await?;
    site.end().await?;
    assert_eq!(
        (&said["name"], &said["file"]),
        (&json!("Ada"), &json!(["tea.txt", "text/plain", "tea\n"]))
    );
    let text = said["text"].as_str().context("text")?;
    let part = "Content-Disposition: form-data; name=\"file\"; filename=\"tea.txt\"\r\nContent-Type: text/plain\r\n\r\ntea\n\r\n--";
    assert!(text.contains(part), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_read_while_it_comes() -> anyhow::Result<()> {
    let site = Site::open(async |door| {
        let mut stream = door.next_for("/events").await?;
        stream
            .say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            .await?;
        for (number, event) in ["tea", "grüner Tee", "茶"].into_iter().enumerate() {
            stream.say(&format!("data: {event}\n\n")).await?;
            // The next one is not sent before the handler has told that it has this one.
            door.next_for(&format!("/seen/{}", number + 1))
                .await?
                .answer("")
                .await?;
        }
        Ok(())
    })
    .await?;
    let seen = task(&site.authority, "events", json!({})).await?;
    assert_eq!(seen, json!(["tea", "grüner Tee", "茶"]));
    site.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_sent_while_it_is_made() -> anyhow::Result<()> {
    let site = Site::open(async |door| {
        let mut upload = door.next_for("/upload").await?;
        let first = http::chunk(&mut upload.connection).await?.context("a chunk")?;
        // The second piece is not made before this is answered.
        door.next_for("/arrived").await?.answer("").await?;
        let second = upload.body().await?;
        upload.answer("").await?;
        Ok([first, second].concat())
    })
    .await?;
    assert_eq!(task(&site.authority, "upload", json!({})).await?, json!(200));
    assert_eq!(site.end().await?, b"first,second");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_read_to_its_end_is_closed() -> anyhow::Result<()> {
    let site = Site::open(async |door| {
        let mut visit = door.next().await?;
        visit.say("HTTP/1.1 200 OK\r\n\r\nfirst").await?;
        visit.until_closed().await
    })
    .await?;
    let said = task(&site.authority, "some", json!({})).await?;
    assert_eq!((&said["first"], &said["used"]), (&json!("first"), &json!(true)));
    assert_eq!(said["again"]["name"], "TypeError");
    site.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_overlap_and_more_than_may_be_open_take_turns() -> anyhow::Result<()> {
    const OPEN: usize = 8;
    const COUNT: usize = 20;
    let site = Site::open(async |door| {
        let mut open = Vec::new();
        for number in 0..COUNT {
            open.push(door.next().await?);
            // None is answered before as many are here as may be.
            if open.len() == OPEN || number + 1 == COUNT {
                for mut visit in open.drain(..) {
                    let path = visit.asked.path.clone();
                    visit.answer(&path).await?;
                }
            }
        }
        Ok(())
    })
    .await?;
    let said = task(&site.authority, "parallel", json!({"count": COUNT})).await?;
    let paths: Vec<_> = (0..COUNT).map(|number| format!("/{number}")).collect();
    assert_eq!(said, json!({"answers": paths, "ticked": true}));
    site.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_ends_keeps_no_other_from_being_read() -> anyhow::Result<()> {
    let site = Site::open(async |door| {
        let mut endless = door.next_for("/endless").await?;
        endless.say("HTTP/1.1 200 OK\r\n\r\n").await?;
        let flood = tokio::spawn(async move { while endless.say(&"tea ".repeat(10_000)).await.is_ok() {} });
        door.next_for("/other").await?.answer("here").await?;
        Ok(flood.await?)
    })
    .await?;
    let said = task(&site.authority, "endless", json!({})).await?;
    assert_eq!(said, json!({"other": "here", "ended": "AbortError"}));
    site.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_keep_no_request_from_being_made() -> anyhow::Result<()> {
    const COUNT: usize = 20;
    let site = Site::open(async |door| {
        for number in 0..COUNT {
            door.next().await?.answer(&number.to_string()).await?;
        }
        Ok(())
    })
    .await?;
    let said = task(&site.authority, "unread", json!({"count": COUNT})).await?;
    let numbers: Vec<_> = (0..COUNT).map(|number| number.to_string()).collect();
    assert_eq!(said, json!(numbers));
    site.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed_as_the_standard_has_it() -> anyhow::Result<()> {
    let other = Site::open(async |door| {
        let mut visit = door.next_for("/there?a=b").await?;
        visit.answer("found").await?;
        Ok(visit.asked)
    })
    .await?;
    let to = format!("http://{}/there?a=b", other.authority);
    let site = Site::open(async move |door| {
        let mut visit = door.next_for("/").await?;
        let body = visit.body().await?;
        visit.redirect(307, "/again").await?;
        let mut again = door.next_for("/again").await?;
        ensure!(
            again.asked.method == "POST" && again.body().await? == body,
            "sent again as it was"
        );
        ensure!(again.asked.header("authorization") == Some("secret"), "the same server");
        again.redirect(302, &to).await
    })
    .await?;
    let manifest = granted(&site.authority) + &granted(&other.authority);
    let init = json!({"method": "POST", "body": "tea", "headers": {"authorization": "secret", "x-tea": "green"}});
    let payload = json!({"url": format!("http://{}/", site.authority), "init": init});
    let said = result(attempt(&manifest, "redirect", payload).await?)?.context("a result")?;
    let url = format!("http://{}/there?a=b", other.authority);
    let wanted = json!({"status": 200, "url": url, "redirected": true, "text": "found"});
    assert_eq!(serde_json::from_str::<Value>(&said)?, wanted);
    site.end().await?;
    let asked = other.end().await?;
    assert_eq!((&*asked.method, asked.header("x-tea")), ("GET", Some("green")));
    for gone in ["authorization", "content-type", "content-length"] {
        assert_eq!(asked.header(gone), None, "{asked:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_returned_refused_or_too_many() -> anyhow::Result<()> {
    let circle = "HTTP/1.1 302 Found\r\nlocation: /round\r\ncontent-length: 0\r\n\r\n";
    let server = Server::answering(circle, 1).await?;
    let manual = task(&server.authority, "redirect", json!({"init": {"redirect": "manual"}})).await?;
    assert_eq!((&manual["status"], &manual["redirected"]), (&json!(302), &json!(false)));
    server.heads().await?;

    let server = Server::answering(circle, 1).await?;
    let refused = task(&server.authority, "failing", json!({"init": {"redirect": "error"}})).await?;
    let kind = json!({"name": "TypeError", "message": "fetch failed", "kind": "redirect"});
    assert_eq!(refused, kind);

    let server = Server::answering(circle, 21).await?;
    assert_eq!(task(&server.authority, "failing", json!({})).await?, kind);
    assert_eq!(server.heads().await?.len(), 21, "the first, and twenty that it led to");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_closes_the_connection_and_rejects_with_its_reason() -> anyhow::Result<()> {
    let site = Site::open(async |door| {
        let mut silent = door.next_for("/silent").await?;
        door.next_for("/other").await?.answer("").await?;
        silent.until_closed().await
    })
    .await?;
    let said = task(&site.authority, "abort", json!({})).await?;
    let aborted = json!({"name": "AbortError", "message": "This operation was aborted", "kind": null});
    assert_eq!(said, json!([aborted, aborted]));
    site.end().await?;

    let site = Site::open(async |door| {
        let mut visit = door.next().await?;
        visit.say("HTTP/1.1 200 OK\r\n\r\nsome").await?;
        visit.until_closed().await
    })
    .await?;
    let said = task(&site.authority, "abortBody", json!({})).await?;
    assert_eq!(said, json!({"name": "Error", "message": "enough", "kind": null}));
    site.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_can_be_caught_and_has_a_kind() -> anyhow::Result<()> {
    let closed = format!("127.0.0.1:{}", Forbidden::new()?.port()?);
    let caught = task(&closed, "failing", json!({})).await?;
    assert_eq!(
        caught,
        json!({"name": "TypeError", "message": "fetch failed", "kind": "connect"})
    );
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n0123456789", 1).await?;
    let caught = task(&server.authority, "failing", json!({})).await?;
    assert_eq!(
        caught,
        json!({"name": "TypeError", "message": "fetch failed", "kind": "network"})
    );
    Ok(())
}

/// Each says what it found, and what was wanted. They are taken from web-platform-tests (`tests/data/web/README.md`).
#[tokio::test(flavor = "multi_thread")]
async fn cases_of_web_platform_tests_come_out_as_they_should() -> anyhow::Result<()> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/web");
    for name in ["url", "setters", "text", "params", "headers", "others"] {
        let cases: Value = serde_json::from_slice(&std::fs::read(folder.join(name).with_extension("json"))?)?;
        let count = cases.as_array().context("cases")?.len();
        let text = result(attempt("", "cases", json!({"kind": name, "cases": cases})).await?)?;
        let failed: Value = serde_json::from_str(&text.context("a result")?)?;
        assert_eq!(failed, json!([]), "{name}, of {count} cases");
    }
    Ok(())
}
