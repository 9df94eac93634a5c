//! HTTP as each language's users know it: one table of requests for the clients of every language that has one.
//!
//! The handlers of `tests/handlers` take jobs such as `{"do": "http", "method": "GET", "url": "http://…"}` and answer
//! `{"status": 200, "headers": [["name", "value"], …], "body": "text"}`. The payload may also hold
//!
//! - `client`: which of the language's clients is to be used;
//! - `headers`, pairs as above, and `body`, a text;
//! - `repeat`: how many times the body is sent; then it is written piece by piece where the client can;
//! - `timeout_ms`: the timeout as the client's users set it;
//! - `check`: an answer is looked at with what the kit offers for that, before anything is answered;
//! - `add_up`: the answer's body is read piece by piece; the handler answers `{"bytes": …, "sum": of all bytes}`;
//! - `then`: with `add_up`, what is requested, and read, once a first piece was read.
//!
//! What the client tells the handler goes wrong, the handler leaves to the kit, or returns as the kit's users do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::Duration;

use kiln::config::{Grants, Limits, Resolver, SandboxSettings};
use kiln::outcome::{Attempt, Failure, FailureKind, Outcome, RetryHint};
use kiln::plugins::read_plugin;
use kiln::sandbox::{AttemptContext, Handler, Sandbox};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use crate::conformance::built;
use crate::egress::Forbidden;
use crate::sandbox::{failed, job_of, result};
use crate::servers::HttpServer;
use crate::support::{PATIENCE, compiled};

/// What is known of the clients of a language.
pub(crate) struct Clients {
    language: &'static str,
    /// The folder of its handler in `tests/handlers`.
    handler: &'static str,
    /// What `client` may be.
    names: &'static [&'static str],
    /// Whether one of them follows redirects; httpx is told to.
    follow: fn(&str) -> bool,
}

const ALL: &[Clients] = &[
    Clients {
        language: "c",
        handler: "c",
        names: &["kiln_http"],
        follow: |_| false,
    },
    Clients {
        language: "js",
        handler: "js",
        names: &["fetch"],
        follow: |_| true,
    },
    Clients {
        language: "starlingmonkey",
        handler: "starlingmonkey",
        names: &["fetch"],
        follow: |_| false,
    },
    Clients {
        language: "go",
        handler: "go",
        names: &["http.DefaultClient", "http.Transport"],
        follow: |_| true,
    },
    Clients {
        language: "rust",
        handler: "rust",
        names: &["kiln_handler::http"],
        follow: |_| true,
    },
    Clients {
        language: "python",
        handler: "python-http",
        names: &[
            "urllib.request",
            "http.client",
            "requests",
            "httpx.Client",
            "httpx.AsyncClient",
            "aiohttp",
        ],
        follow: |client| client != "http.client",
    },
    Clients {
        language: "ts",
        handler: "ts",
        names: &["fetch"],
        follow: |_| true,
    },
];

/// What a test says of one language, said of all.
macro_rules! in_every_language {
    ($($test:ident)*) => {
        in_every_language! { @ c [$($test)*] }
        in_every_language! { @ js [$($test)*] }
        in_every_language! { @ starlingmonkey [$($test)*] }
        in_every_language! { @ go [$($test)*] }
        in_every_language! { @ rust [$($test)*] }
        in_every_language! { @ python [$($test)*] }
        in_every_language! { @ ts [$($test)*] }
    };
    (@ $language:ident [$($test:ident)*]) => {
        mod $language {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() -> anyhow::Result<()> {
                    let clients = super::of(stringify!($language));
                    for client in clients.names {
                        let guest = super::guest(clients, client);
                        super::$test(&guest).await.map_err(|err| err.context(*client))?;
                    }
                    Ok(())
                }
            )*
        }
    };
}

in_every_language! {
    a_request_goes_out_and_its_answer_comes_in_as_they_were_made
    an_answer_can_be_read_while_it_is_still_being_made
    large_bodies_go_and_come_whole
    a_redirect_is_followed_as_the_client_does_it
    a_request_that_is_not_granted_ends_the_attempt
    what_may_work_later_is_tried_again
    a_status_says_whether_and_when_to_try_again
    the_clients_own_timeout_ends_a_request
    https_is_spoken_by_the_host
}

pub(crate) fn of(language: &str) -> &'static Clients {
    let mut all = ALL.iter();
    all.find(|clients| clients.language == language).expect("its clients")
}

/// A client in the handler of its language.
pub(crate) struct Guest {
    clients: &'static Clients,
    client: &'static str,
    handler: Arc<Handler>,
}

/// Its handler is loaded once for all tests.
pub(crate) fn guest(clients: &'static Clients, client: &'static str) -> Guest {
    type Handlers = Mutex<BTreeMap<&'static str, Arc<OnceLock<Arc<Handler>>>>>;
    static HANDLERS: LazyLock<Handlers> = LazyLock::new(Handlers::default);
    let slot = HANDLERS
        .lock()
        .expect("no panic")
        .entry(clients.language)
        .or_default()
        .clone();
    let load = || load(clients.handler, 0, &servers(), None).expect("a handler that loads");
    let handler = slot.get_or_init(|| Arc::new(load()));
    Guest {
        clients,
        client,
        handler: Arc::clone(handler),
    }
}

/// The same in an instance of its own, which serves so many attempts.
pub(crate) fn reusing(clients: &'static Clients, client: &'static str, attempts: u32) -> anyhow::Result<Guest> {
    let handler = Arc::new(load(clients.handler, attempts, &servers(), None)?);
    Ok(Guest {
        clients,
        client,
        handler,
    })
}

/// A client in a handler of its own, with grants of its own and the secrets in a folder.
pub(crate) fn granted(language: &str, client: &'static str, grants: &str, secrets: &Path) -> anyhow::Result<Guest> {
    let clients = of(language);
    Ok(Guest {
        clients,
        client,
        handler: Arc::new(load(clients.handler, 0, grants, Some(secrets))?),
    })
}

/// Servers at any port, by the names that `at` gives them.
fn servers() -> String {
    let grants = ["http", "https"].map(|scheme| {
        format!("[[grants.http]]\norigin = \"{scheme}://*.example\"\nmethods = [\"GET\", \"POST\", \"HEAD\"]\nprivate = true\n")
    });
    grants.concat()
}

fn load(handler: &str, reuse: u32, grants: &str, secrets: Option<&Path>) -> anyhow::Result<Handler> {
    let (bytes, mut manifest) = read_plugin(&built(handler), &Limits::default())?;
    manifest.reuse = NonZeroU32::new(reuse);
    manifest.grants = Grants::of(grants);
    let resolver = Resolver::new(|host, _| {
        Box::pin(async move {
            let port = host.trim_start_matches('p').trim_end_matches(".example");
            let port = port.parse().map_err(std::io::Error::other)?;
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
        })
    });
    let settings = SandboxSettings {
        cache_dir: Some(compiled()),
        resolver,
        secrets_dir: secrets.map(Path::to_owned),
        ..SandboxSettings::new(NonZeroU32::new(4).expect("not zero"))
    };
    Ok(Sandbox::new(&settings)?.load("clients", &bytes, &manifest)?)
}

/// The name, with the scheme, under which a server at this port can be reached.
pub(crate) fn at(port: u16) -> String {
    format!("http://p{port}.example")
}

impl Guest {
    async fn attempt(&self, job: Value) -> anyhow::Result<Attempt> {
        self.attempt_in(job, &AttemptContext::default()).await
    }

    /// An attempt at a job, a request if it does not say what it is.
    pub(crate) async fn attempt_in(&self, mut job: Value, context: &AttemptContext) -> anyhow::Result<Attempt> {
        if job["do"].is_null() {
            job["do"] = json!("http");
        }
        job["client"] = json!(self.client);
        if job["method"].is_null() {
            job["method"] = json!("GET");
        }
        let job = job_of("clients", serde_json::value::to_raw_value(&job)?);
        let attempt = self.handler.run(&job, "default", context);
        Ok(tokio::time::timeout(PATIENCE, attempt).await?)
    }

    pub(crate) async fn result(&self, job: Value) -> anyhow::Result<Value> {
        let attempt = self.attempt(job).await?;
        if let Outcome::Failed { .. } = attempt.outcome {
            anyhow::bail!("{:?}", attempt.outcome);
        }
        Ok(serde_json::from_str(&result(attempt)?.unwrap_or_default())?)
    }

    async fn failure(&self, job: Value) -> anyhow::Result<(Failure, RetryHint)> {
        failed(self.attempt(job).await?)
    }

    /// It fails, and is tried again when the policy says so.
    pub(crate) async fn assert_retries(&self, job: Value, why: &str) -> anyhow::Result<()> {
        let (failure, retry) = self.failure(job).await?;
        assert_eq!(
            (failure.kind, retry),
            (FailureKind::Error, RetryHint::ByPolicy),
            "{}: {why}: {failure:?}",
            self.client
        );
        Ok(())
    }
}

/// The value of a header in what a handler answers.
pub(crate) fn header<'a>(answer: &'a Value, name: &str) -> Option<&'a str> {
    let headers = answer["headers"].as_array()?;
    let is_it = |pair: &&Value| pair[0].as_str().is_some_and(|found| found.eq_ignore_ascii_case(name));
    headers.iter().find(is_it)?[1].as_str()
}

async fn a_request_goes_out_and_its_answer_comes_in_as_they_were_made(guest: &Guest) -> anyhow::Result<()> {
    let answer = "HTTP/1.1 201 Created\r\ncontent-type: text/plain; charset=utf-8\r\nx-tea: green\r\ncontent-length: 8\r\n\r\nt\u{eb}a \u{2615}";
    let server = HttpServer::answering(answer).await?;
    let url = at(server.port);
    let got = guest
        .result(json!({"url": format!("{url}/a%20b?c=d"), "headers": [["X-Milk", "no"], ["Accept", "text/plain"]]}))
        .await?;
    assert_eq!(
        (&got["status"], &got["body"]),
        (&json!(201), &json!("t\u{eb}a \u{2615}")),
        "{got}"
    );
    assert_eq!(header(&got, "x-tea"), Some("green"), "{got}");
    let posted = guest
        .result(json!({"method": "POST", "url": url, "body": "{\"milk\": \"ä\"}", "headers": [["content-type", "application/json"]]}))
        .await?;
    assert_eq!(posted["status"], 201, "{posted}");

    let asked = server.asked();
    let [get, post] = asked.as_slice() else {
        panic!("{}: {asked:?}", guest.client)
    };
    assert_eq!((get.method.as_str(), get.path.as_str()), ("GET", "/a%20b?c=d"));
    assert_eq!(
        (get.header("x-milk"), get.header("accept")),
        (Some("no"), Some("text/plain")),
        "{get:?}"
    );
    assert_eq!(get.header("host"), url.strip_prefix("http://"), "{get:?}");
    assert_eq!((post.method.as_str(), post.path.as_str()), ("POST", "/"));
    assert_eq!(post.body, "{\"milk\": \"ä\"}".as_bytes(), "{post:?}");
    assert_eq!(post.header("content-type"), Some("application/json"), "{post:?}");
    assert_eq!(post.header("content-length"), Some("14"), "{post:?}");

    let head = guest.result(json!({"method": "HEAD", "url": url})).await?;
    assert_eq!((&head["status"], &head["body"]), (&json!(201), &json!("")), "{head}");
    Ok(())
}

/// The server sends the rest of its answer only once it has heard that the handler has read the first piece.
async fn an_answer_can_be_read_while_it_is_still_being_made(guest: &Guest) -> anyhow::Result<()> {
    let read = Arc::new(Notify::new());
    let server = HttpServer::start(move |asked, mut connection| {
        let read = Arc::clone(&read);
        async move {
            if asked.path == "/read" {
                read.notify_one();
                return Ok(connection
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    .await?);
            }
            connection
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
                .await?;
            read.notified().await;
            Ok(connection.write_all(b"2\r\nde\r\n0\r\n\r\n").await?)
        }
    })
    .await?;
    let url = at(server.port);
    let got = guest
        .result(json!({"url": url, "add_up": true, "then": format!("{url}/read")}))
        .await?;
    assert_eq!(
        got,
        json!({"bytes": 5, "sum": "abcde".bytes().map(u64::from).sum::<u64>()})
    );
    Ok(())
}

async fn large_bodies_go_and_come_whole(guest: &Guest) -> anyhow::Result<()> {
    const BYTES: usize = 5_000_000;
    let server = HttpServer::start(|asked, mut connection| async move {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", asked.body.len());
        connection.write_all(head.as_bytes()).await?;
        Ok(connection.write_all(&asked.body).await?)
    })
    .await?;
    let job = json!({
        "method": "POST", "url": at(server.port), "body": "0123456789", "repeat": BYTES / 10, "add_up": true,
    });
    let got = guest.result(job).await?;
    assert_eq!(got, json!({"bytes": BYTES, "sum": BYTES / 10 * 525}));
    assert_eq!(server.asked()[0].body.len(), BYTES);
    Ok(())
}

async fn a_redirect_is_followed_as_the_client_does_it(guest: &Guest) -> anyhow::Result<()> {
    let tea = HttpServer::answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntea").await?;
    let moved = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}/tea\r\ncontent-length: 0\r\n\r\n",
        at(tea.port)
    );
    let server = HttpServer::answering(moved).await?;
    let got = guest.result(json!({"url": at(server.port)})).await?;
    let wanted = if (guest.clients.follow)(guest.client) {
        (json!(200), json!("tea"), 1)
    } else {
        (json!(302), json!(""), 0)
    };
    assert_eq!(
        (got["status"].clone(), got["body"].clone(), tea.asked().len()),
        wanted,
        "{got}"
    );
    Ok(())
}

async fn a_request_that_is_not_granted_ends_the_attempt(guest: &Guest) -> anyhow::Result<()> {
    let (failure, retry) = guest.failure(json!({"url": "http://tea.invalid/"})).await?;
    assert_eq!(
        (failure.kind, retry),
        (FailureKind::Denied, RetryHint::Never),
        "{failure:?}"
    );
    let told = "http request to http://tea.invalid: not granted; add [[grants.http]] origin = \"http://tea.invalid\" to \
                clients.toml";
    assert_eq!(failure.message, told);
    Ok(())
}

async fn what_may_work_later_is_tried_again(guest: &Guest) -> anyhow::Result<()> {
    let closed = Forbidden::new()?.port()?;
    guest
        .assert_retries(json!({"url": at(closed)}), "nobody listens")
        .await?;
    let unknown = json!({"url": "http://unknown.example/"});
    guest.assert_retries(unknown, "no such name").await?;
    for (answer, why) in [
        ("", "closed without an answer"),
        ("tea\r\n\r\n", "it is no HTTP"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n0123456789",
            "the body broke off",
        ),
    ] {
        let server = HttpServer::answering(answer).await?;
        guest.assert_retries(json!({"url": at(server.port)}), why).await?;
    }
    Ok(())
}

async fn a_status_says_whether_and_when_to_try_again(guest: &Guest) -> anyhow::Result<()> {
    let (error, rejected) = (FailureKind::Error, FailureKind::Rejected);
    for (status, wanted) in [
        (
            "429 Too Many\r\nretry-after: 7",
            (error, RetryHint::NotBefore(Duration::from_secs(7))),
        ),
        (
            "503 Busy\r\nretry-after: 8",
            (error, RetryHint::NotBefore(Duration::from_secs(8))),
        ),
        ("503 Busy\r\nretry-after: soon", (error, RetryHint::ByPolicy)),
        (
            "503 Busy\r\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT",
            (error, RetryHint::NotBefore(Duration::ZERO)),
        ),
        ("429 Too Many", (error, RetryHint::ByPolicy)),
        ("503 Busy\r\nretry-after: -8", (error, RetryHint::ByPolicy)),
        ("500 Broken\r\nretry-after: 9", (error, RetryHint::ByPolicy)),
        ("408 Slow\r\nretry-after: 9", (error, RetryHint::ByPolicy)),
        ("425 Early\r\nretry-after: 9", (error, RetryHint::ByPolicy)),
        ("404 None", (rejected, RetryHint::Never)),
        ("403 No", (rejected, RetryHint::Never)),
    ] {
        let server = HttpServer::answering(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")).await?;
        let url = format!("{}/secret?secret", at(server.port));
        let (failure, retry) = guest.failure(json!({"url": url, "check": true})).await?;
        assert_eq!((failure.kind, retry), wanted, "{}: {status}: {failure:?}", guest.client);
        let told = &failure.message;
        assert!(told.contains(&status[..3]) && !told.contains("secret"), "{failure:?}");
    }
    let server = HttpServer::answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntea").await?;
    let got = guest.result(json!({"url": at(server.port), "check": true})).await?;
    assert_eq!(got["body"], "tea");
    Ok(())
}

/// A server that never answers.
pub(crate) async fn silent() -> anyhow::Result<HttpServer> {
    HttpServer::start(|_, mut connection| async move {
        // Until the other side is gone.
        connection.read_u8().await?;
        Ok(())
    })
    .await
}

async fn the_clients_own_timeout_ends_a_request(guest: &Guest) -> anyhow::Result<()> {
    let silent = silent().await?;
    let job = json!({"url": at(silent.port), "timeout_ms": 150});
    guest.assert_retries(job, "it took too long").await
}

async fn https_is_spoken_by_the_host(guest: &Guest) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = at(listener.local_addr()?.port()).replace("http:", "https:");
    let server = tokio::spawn(async move {
        let mut hello = [0; 3];
        let (mut connection, _) = listener.accept().await?;
        connection.read_exact(&mut hello).await?;
        std::io::Result::Ok(hello)
    });
    guest.assert_retries(json!({"url": url}), "it hung up").await?;
    // A record of a TLS handshake.
    assert_eq!(server.await??[..2], [0x16, 3]);
    Ok(())
}
