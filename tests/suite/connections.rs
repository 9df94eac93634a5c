//! TCP as each language's users know it, with real servers: one table of acts for the clients of every language.
//!
//! The handlers of `tests/handlers/LANGUAGE-tcp` take jobs such as `{"do": "greet", "client": "socket", "host": …, "port": …}`:
//!
//! - `greet` reads a line before it writes one, and answers with that and the next: `{"greeting": …, "answer": …}`;
//! - `upload` sends `text` so many times (`repeat`), then no more, and reads to the end: `{"bytes": …, "sum": of all bytes}`;
//! - `upgrade` asks for TLS with a line, and goes on with it once the server, called `name`, consents;
//! - `several` greets so many times (`n`) at once;
//! - `sql` and `import` put rows into `PostgreSQL`, and get some; `redis` sets and counts; `mail` sends a message.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use kiln::config::{Authorities, Egress, Grants, Limits, Resolver, SandboxSettings};
use kiln::outcome::{Attempt, FailureKind, Outcome, RetryHint};
use kiln::plugins::read_plugin;
use kiln::sandbox::{AttemptContext, Handler, Sandbox};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Barrier;

use crate::conformance::built;
use crate::egress::Forbidden;
use crate::sandbox::{failed, job_of, result};
use crate::servers::mail::{MailServer, Tls as Mail};
use crate::servers::tcp::TcpServer;
use crate::servers::{Postgres, Tls};
use crate::support::{PATIENCE, compiled, shared_redis};

/// What all servers are called, whatever their port.
const HOST: &str = "server.example";

/// What is known of the clients of a language, by what they can do.
struct Clients {
    language: &'static str,
    plain: &'static [&'static str],
    /// Those of the above that begin with TLS later; that of the others is the grant's.
    upgrade: &'static [&'static str],
    /// Those that have several connections under way at once.
    several: &'static [&'static str],
    sql: &'static [&'static str],
    redis: &'static [&'static str],
    mail: &'static [&'static str],
}

const ALL: &[Clients] = &[
    Clients {
        language: "python",
        plain: &["socket", "asyncio"],
        upgrade: &["socket", "asyncio"],
        several: &["asyncio"],
        sql: &["pg8000", "pg8000 over TLS"],
        redis: &["redis", "redis.asyncio"],
        mail: &["smtplib"],
    },
    Clients {
        language: "go",
        plain: &["net"],
        upgrade: &["net"],
        several: &["net"],
        sql: &["pgx"],
        redis: &["redigo"],
        mail: &["net/smtp"],
    },
    Clients {
        language: "rust",
        plain: &["std::net"],
        upgrade: &["kiln_handler::tcp"],
        several: &["kiln_handler::tcp"],
        sql: &["tokio-postgres"],
        redis: &["redis"],
        mail: &[],
    },
    Clients {
        language: "js",
        plain: &["net"],
        upgrade: &["net"],
        several: &["net"],
        sql: &["pg", "pg over TLS"],
        redis: &["ioredis"],
        mail: &[],
    },
    Clients {
        language: "c",
        plain: &["kiln_tcp"],
        upgrade: &["kiln_tcp"],
        several: &[],
        sql: &[],
        redis: &["kiln_tcp"],
        mail: &[],
    },
];

/// The tests of each language: those for which it has clients.
macro_rules! of_each_language {
    ($($language:ident: $($test:ident)*;)*) => {
        $(
            mod $language {
                $(
                    #[tokio::test(flavor = "multi_thread")]
                    async fn $test() -> anyhow::Result<()> {
                        super::$test(super::of(stringify!($language))).await
                    }
                )*
            }
        )*
    };
}

of_each_language! {
    python:
        the_server_may_speak_first much_is_sent_and_read_to_the_end a_connection_that_is_not_granted_ends_the_attempt
        what_may_work_later_is_tried_again the_clients_own_timeout_ends_a_read the_host_speaks_tls_where_the_grant_says_so
        tls_begins_once_both_sides_agree connections_are_under_way_at_once a_database_is_asked_with_parameters
        five_thousand_rows_are_imported redis_keeps_and_counts a_message_is_mailed;
    go:
        the_server_may_speak_first much_is_sent_and_read_to_the_end a_connection_that_is_not_granted_ends_the_attempt
        what_may_work_later_is_tried_again the_clients_own_timeout_ends_a_read the_host_speaks_tls_where_the_grant_says_so
        tls_begins_once_both_sides_agree connections_are_under_way_at_once a_database_is_asked_with_parameters
        five_thousand_rows_are_imported redis_keeps_and_counts a_message_is_mailed a_read_that_has_begun_is_interrupted;
    rust:
        the_server_may_speak_first much_is_sent_and_read_to_the_end a_connection_that_is_not_granted_ends_the_attempt
        what_may_work_later_is_tried_again the_clients_own_timeout_ends_a_read the_host_speaks_tls_where_the_grant_says_so
        tls_begins_once_both_sides_agree connections_are_under_way_at_once a_database_is_asked_with_parameters
        five_thousand_rows_are_imported redis_keeps_and_counts;
    js:
        the_server_may_speak_first much_is_sent_and_read_to_the_end a_connection_that_is_not_granted_ends_the_attempt
        what_may_work_later_is_tried_again the_clients_own_timeout_ends_a_read the_host_speaks_tls_where_the_grant_says_so
        tls_begins_once_both_sides_agree connections_are_under_way_at_once a_database_is_asked_with_parameters
        five_thousand_rows_are_imported redis_keeps_and_counts;
    c:
        the_server_may_speak_first much_is_sent_and_read_to_the_end a_connection_that_is_not_granted_ends_the_attempt
        what_may_work_later_is_tried_again the_clients_own_timeout_ends_a_read the_host_speaks_tls_where_the_grant_says_so
        tls_begins_once_both_sides_agree redis_keeps_and_counts;
}

/// What a language has clients for. A test of none would hold whatever happened.
fn some(clients: &'static [&'static str]) -> &'static [&'static str] {
    assert!(
        !clients.is_empty(),
        "no client of the language does this: it has no such test"
    );
    clients
}

fn of(language: &str) -> &'static Clients {
    let mut all = ALL.iter();
    all.find(|clients| clients.language == language).expect("its clients")
}

/// The handler of a language, and where it may connect.
struct Guest(Handler);

impl Clients {
    fn guest(&self, port: u16) -> anyhow::Result<Guest> {
        self.guest_with(port, "", None)
    }

    /// With more in its grant, and an authority that is trusted.
    fn guest_with(&self, port: u16, more: &str, authority: Option<&std::path::Path>) -> anyhow::Result<Guest> {
        let plugin = built(&format!("{}-tcp", self.language));
        let (bytes, mut manifest) = read_plugin(&plugin, &Limits::default())?;
        let addresses = [HOST, "unknown.example"];
        let grants =
            addresses.map(|host| format!("[[grants.tcp]]\naddress = \"{host}:{port}\"\nprivate = true\n{more}\n"));
        manifest.grants = Grants::of(&grants.concat());
        manifest.timeout = Some(PATIENCE);
        let mut egress = Egress::default();
        if let Some(authority) = authority {
            egress.authorities = Authorities::read(authority).map_err(anyhow::Error::msg)?;
        }
        let settings = SandboxSettings {
            cache_dir: Some(compiled()),
            egress,
            resolver: Resolver::new(|host, port| {
                Box::pin(async move {
                    let known = (host == HOST).then(|| vec![SocketAddr::from(([127, 0, 0, 1], port))]);
                    known.ok_or_else(|| std::io::Error::other("no such name"))
                })
            }),
            ..SandboxSettings::new(NonZeroU32::new(4).expect("not zero"))
        };
        Ok(Guest(Sandbox::new(&settings)?.load(
            "connections",
            &bytes,
            &manifest,
        )?))
    }
}

impl Guest {
    async fn attempt(&self, job: Value) -> anyhow::Result<Attempt> {
        let job = job_of("connections", serde_json::value::to_raw_value(&job)?);
        let context = AttemptContext::default();
        Ok(tokio::time::timeout(PATIENCE, self.0.run(&job, "default", &context)).await?)
    }

    async fn result(&self, job: Value) -> anyhow::Result<Value> {
        let attempt = self.attempt(job.clone()).await?;
        if let Outcome::Failed { .. } = attempt.outcome {
            anyhow::bail!("{job}: {:?}", attempt.outcome);
        }
        Ok(serde_json::from_str(&result(attempt)?.unwrap_or_default())?)
    }

    /// The attempt fails at its one connection, and is worth another.
    async fn assert_retries(&self, job: Value, why: &str) -> anyhow::Result<()> {
        let attempt = self.attempt(job.clone()).await?;
        let connections = attempt.report.tcp_connections;
        let (failure, retry) = failed(attempt)?;
        assert_eq!(
            (failure.kind, retry, connections),
            (FailureKind::Error, RetryHint::ByPolicy, 1),
            "{job}: {why}: {failure:?}"
        );
        Ok(())
    }
}

/// Says something, hears a line, and says it again.
async fn greets(connection: impl AsyncRead + AsyncWrite + Unpin) -> anyhow::Result<()> {
    let mut connection = BufReader::new(connection);
    connection.write_all(b"220 tea\n").await?;
    connection.flush().await?;
    let mut line = String::new();
    connection.read_line(&mut line).await?;
    connection.write_all(line.as_bytes()).await?;
    Ok(connection.shutdown().await?)
}

fn greeting(client: &str, port: u16) -> (Value, Value) {
    let job = json!({"do": "greet", "client": client, "host": HOST, "port": port, "text": "milk ☕"});
    (job, json!({"greeting": "220 tea", "answer": "milk ☕"}))
}

async fn the_server_may_speak_first(clients: &Clients) -> anyhow::Result<()> {
    let server = TcpServer::start(greets).await?;
    let guest = clients.guest(server.port)?;
    for client in some(clients.plain) {
        let (job, answer) = greeting(client, server.port);
        assert_eq!(guest.result(job).await?, answer, "{client}");
    }
    Ok(())
}

/// The server answers nothing before it has heard that no more comes.
async fn much_is_sent_and_read_to_the_end(clients: &Clients) -> anyhow::Result<()> {
    const BYTES: usize = 5_000_000;
    let server = TcpServer::start(async |mut connection: TcpStream| {
        let mut bytes = Vec::new();
        connection.read_to_end(&mut bytes).await?;
        connection.write_all(&bytes).await?;
        Ok(connection.shutdown().await?)
    })
    .await?;
    let guest = clients.guest(server.port)?;
    for client in some(clients.plain) {
        let job = json!({
            "do": "upload", "client": client, "host": HOST, "port": server.port, "text": "0123456789", "repeat": BYTES / 10,
        });
        assert_eq!(
            guest.result(job).await?,
            json!({"bytes": BYTES, "sum": BYTES / 10 * 525}),
            "{client}"
        );
    }
    Ok(())
}

async fn a_connection_that_is_not_granted_ends_the_attempt(clients: &Clients) -> anyhow::Result<()> {
    let forbidden = Forbidden::new()?;
    let port = forbidden.port()?;
    let guest = clients.guest(1)?;
    for client in some(clients.plain) {
        let (failure, retry) = failed(guest.attempt(greeting(client, port).0).await?)?;
        assert_eq!(
            (failure.kind, retry),
            (FailureKind::Denied, RetryHint::Never),
            "{client}: {failure:?}"
        );
        assert!(failure.message.contains("[[grants.tcp]]"), "{failure:?}");
    }
    forbidden.assert_untouched("nothing of this is granted");
    Ok(())
}

async fn what_may_work_later_is_tried_again(clients: &Clients) -> anyhow::Result<()> {
    let server = TcpServer::start(async |mut connection: TcpStream| {
        connection.write_all(b"220 tea\n").await?;
        // Makes that it closes with a reset.
        connection.set_zero_linger()?;
        connection.read_u8().await?;
        Ok(())
    })
    .await?;
    let guest = clients.guest(server.port)?;
    let closed = Forbidden::new()?.port()?;
    let refused = clients.guest(closed)?;
    for client in some(clients.plain) {
        refused
            .assert_retries(greeting(client, closed).0, "nobody listens")
            .await?;
        let (mut unknown, _) = greeting(client, server.port);
        unknown["host"] = json!("unknown.example");
        guest.assert_retries(unknown, "no such name").await?;
        guest
            .assert_retries(greeting(client, server.port).0, "it hung up")
            .await?;
    }
    Ok(())
}

async fn the_clients_own_timeout_ends_a_read(clients: &Clients) -> anyhow::Result<()> {
    let silent = TcpServer::start(async |mut connection: TcpStream| {
        // Until the other side is gone.
        connection.read_u8().await?;
        Ok(())
    })
    .await?;
    let guest = clients.guest(silent.port)?;
    for client in some(clients.plain) {
        let (mut job, _) = greeting(client, silent.port);
        job["timeout_ms"] = json!(150);
        guest.assert_retries(job, "it took too long").await?;
    }
    Ok(())
}

fn acceptor(tls: &Tls) -> anyhow::Result<tokio_rustls::TlsAcceptor> {
    use rustls::pki_types::pem::PemObject as _;
    let certificates = rustls::pki_types::CertificateDer::pem_file_iter(tls.server_certificate())?;
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(tls.server_key())?;
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates.collect::<Result<_, _>>()?, key)?;
    Ok(Arc::new(config).into())
}

async fn the_host_speaks_tls_where_the_grant_says_so(clients: &Clients) -> anyhow::Result<()> {
    let tls = Tls::new()?;
    let acceptor = acceptor(&tls)?;
    let server = TcpServer::start(move |connection| {
        let acceptor = acceptor.clone();
        async move { greets(acceptor.accept(connection).await?).await }
    })
    .await?;
    let guest = clients.guest_with(server.port, "tls = true", Some(&tls.authority()))?;
    let doubtful = clients.guest_with(server.port, "tls = true", None)?;
    for client in some(clients.plain) {
        let (job, answer) = greeting(client, server.port);
        assert_eq!(guest.result(job.clone()).await?, answer, "{client}");
        doubtful.assert_retries(job, "nobody vouches for the server").await?;
    }
    Ok(())
}

async fn tls_begins_once_both_sides_agree(clients: &Clients) -> anyhow::Result<()> {
    let tls = Tls::new()?;
    let acceptor = acceptor(&tls)?;
    let server = TcpServer::start(move |mut connection: TcpStream| {
        let acceptor = acceptor.clone();
        async move {
            let mut asked = [0; 9];
            connection.read_exact(&mut asked).await?;
            anyhow::ensure!(asked == *b"STARTTLS\n");
            connection.write_all(b"go on\n").await?;
            let mut secured = BufReader::new(acceptor.accept(connection).await?);
            let mut line = String::new();
            secured.read_line(&mut line).await?;
            secured.write_all(line.as_bytes()).await?;
            Ok(secured.shutdown().await?)
        }
    })
    .await?;
    let guest = clients.guest_with(server.port, "", Some(&tls.authority()))?;
    for client in some(clients.upgrade) {
        let mut job = json!({
            "do": "upgrade", "client": client, "host": HOST, "port": server.port, "text": "milk", "name": HOST,
        });
        assert_eq!(guest.result(job.clone()).await?, json!({"answer": "milk"}), "{client}");
        job["name"] = json!("another.example");
        guest.assert_retries(job, "it is not called that").await?;
    }
    Ok(())
}

/// The server greets nobody before all have come.
async fn connections_are_under_way_at_once(clients: &Clients) -> anyhow::Result<()> {
    const CONNECTIONS: usize = 4;
    let all = Arc::new(Barrier::new(CONNECTIONS));
    let server = TcpServer::start(move |connection| {
        let all = Arc::clone(&all);
        async move {
            all.wait().await;
            greets(connection).await
        }
    })
    .await?;
    let guest = clients.guest(server.port)?;
    for client in some(clients.several) {
        let (mut job, answer) = greeting(client, server.port);
        (job["do"], job["n"]) = (json!("several"), json!(CONNECTIONS));
        assert_eq!(guest.result(job).await?, json!(vec![answer; CONNECTIONS]), "{client}");
    }
    Ok(())
}

/// By a deadline that is set meanwhile and by closing; not by one that was replaced as it ran out.
async fn a_read_that_has_begun_is_interrupted(clients: &Clients) -> anyhow::Result<()> {
    let server = TcpServer::start(async |mut connection: TcpStream| {
        connection.write_u8(7).await?;
        // Until the other side is gone.
        connection.read_u8().await?;
        Ok(())
    })
    .await?;
    let attempt = clients
        .guest(server.port)?
        .attempt(json!({"do": "interrupted", "host": HOST, "port": server.port}))
        .await?;
    assert_eq!(attempt.report.tcp_connections, 1, "none where its time is over before");
    let told: Value = serde_json::from_str(&result(attempt)?.unwrap_or_default())?;
    let all = json!({"undialled": true, "replaced": true, "meanwhile": true, "closed": true});
    assert_eq!(told, all);
    Ok(())
}

async fn a_database_is_asked_with_parameters(clients: &Clients) -> anyhow::Result<()> {
    let postgres = Postgres::shared();
    let guest = clients.guest_with(postgres.port, "", Some(&postgres.authority()))?;
    for client in some(clients.sql) {
        let job = json!({
            "do": "sql", "client": client, "host": HOST, "port": postgres.port, "n": 41, "text": "d'Or; --",
        });
        let found = json!({"rows": [[42, "d'Or; --", null]], "code": "42P01"});
        assert_eq!(guest.result(job).await?, found, "{client}");
    }
    Ok(())
}

async fn five_thousand_rows_are_imported(clients: &Clients) -> anyhow::Result<()> {
    const ROWS: i64 = 5_000;
    let postgres = Postgres::shared();
    let guest = clients.guest(postgres.port)?;
    let client = some(clients.sql)[0];
    let table = format!("imported_by_{}", clients.language);
    let job = json!({
        "do": "import", "client": client, "host": HOST, "port": postgres.port, "table": table, "rows": ROWS,
    });
    let sums = json!({"sums": [ROWS, ROWS * (ROWS - 1) / 2]});
    assert_eq!(guest.result(job).await?, sums, "{client}");
    Ok(())
}

async fn redis_keeps_and_counts(clients: &Clients) -> anyhow::Result<()> {
    let port = shared_redis().port();
    let guest = clients.guest(port)?;
    for client in some(clients.redis) {
        let key = format!("{client}-{:016x}", fastrand::u64(..));
        let job = json!({
            "do": "redis", "client": client, "host": HOST, "port": port, "key": key, "text": "tea☕", "n": 20,
        });
        assert_eq!(
            guest.result(job).await?,
            json!({"text": "tea☕", "counted": 20}),
            "{client}"
        );
    }
    Ok(())
}

async fn a_message_is_mailed(clients: &Clients) -> anyhow::Result<()> {
    let tls = Tls::new()?;
    let acceptor = acceptor(&tls)?;
    for (speaks, more) in [(Mail::Never, ""), (Mail::Always, "tls = true"), (Mail::Offered, "")] {
        let server = MailServer::start(speaks, &acceptor).await?;
        let guest = clients.guest_with(server.port, more, Some(&tls.authority()))?;
        for client in some(clients.mail) {
            let job = json!({
                "do": "mail", "client": client, "host": HOST, "port": server.port, "to": "you@example.com", "text": "tea time",
                "starttls": speaks == Mail::Offered,
            });
            if speaks == Mail::Offered && *client == "net/smtp" {
                guest
                    .assert_retries(job, "its TLS is that of Go, which finds no authorities")
                    .await?;
                continue;
            }
            assert_eq!(
                guest.result(job).await?,
                json!({"refused": {}}),
                "{client}, TLS {speaks:?}"
            );
            let mail = server.take();
            assert!(
                mail.contains("Subject: tea time\r\n") && mail.ends_with("tea time\r\n.\r\n"),
                "{client}: {mail}"
            );
        }
    }
    Ok(())
}
