//! The handler `query`, with a real `PostgreSQL`.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use kiln::config::{Authorities, Egress, Grants, Limits, Resolver, SandboxSettings};
use kiln::outcome::{Attempt, FailureKind, RetryHint};
use kiln::plugins::read_plugin;
use kiln::sandbox::{AttemptContext, Sandbox};
use serde_json::{Value, json};

use crate::sandbox::{failed, job_of, result};
use crate::servers::Postgres;
use crate::support::{PATIENCE, compiled, plugins};

/// One attempt with a statement, the names of its parameters and a payload, over TLS.
async fn ask(statement: &str, parameters: &str, payload: Value) -> anyhow::Result<Attempt> {
    ask_with("verify", statement, parameters, payload).await
}

async fn ask_with(tls: &str, statement: &str, parameters: &str, payload: Value) -> anyhow::Result<Attempt> {
    let postgres = Postgres::shared();
    let (bytes, mut manifest) = read_plugin(&plugins().join("query.wasm"), &Limits::default())?;
    let address = format!("server.example:{}", postgres.port);
    let secrets = tempfile::tempdir()?;
    std::fs::write(secrets.path().join("PGPASSWORD"), Postgres::PASSWORD)?;
    manifest.grants = Grants::of(&format!(
        "[[grants.tcp]]\naddress = \"{address}\"\nprivate = true\n[grants.secrets.PGPASSWORD]\nexpose = \"value\""
    ));
    let config = [
        ("address", address.as_str()),
        ("user", Postgres::USER),
        ("database", "postgres"),
        ("statement", statement),
        ("parameters", parameters),
        ("max_rows", "3"),
        ("tls", tls),
    ];
    manifest.config = config.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let authorities = Authorities::read(&postgres.authority()).map_err(anyhow::Error::msg)?;
    let settings = SandboxSettings {
        cache_dir: Some(compiled()),
        secrets_dir: Some(secrets.path().to_owned()),
        egress: Egress {
            authorities,
            ..Egress::default()
        },
        resolver: Resolver::new(|_, port| Box::pin(async move { Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]) })),
        ..SandboxSettings::new(NonZeroU32::MIN)
    };
    let handler = Sandbox::new(&settings)?.load("query", &bytes, &manifest)?;
    let job = job_of("query", serde_json::value::to_raw_value(&payload)?);
    let context = AttemptContext::default();
    Ok(tokio::time::timeout(PATIENCE, handler.run(&job, "default", &context)).await?)
}

async fn answer(statement: &str, parameters: &str, payload: Value) -> anyhow::Result<Value> {
    let attempt = ask(statement, parameters, payload).await?;
    Ok(serde_json::from_str(&result(attempt)?.unwrap_or_default())?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_answers_rows_of_every_type_for_parameters_of_the_payload() -> anyhow::Result<()> {
    let statement =
        "SELECT $1::numeric AS sum, $2::text AS name, $3::timestamptz IS NULL AS never, $4::jsonb -> 'a' AS a;";
    let payload = json!({"sum": 1.25, "name": "d'Or; --", "last": null, "more": {"a": [1, true]}, "other": 1});
    let rows = json!({"rows": [{"sum": 1.25, "name": "d'Or; --", "never": true, "a": [1, true]}]});
    assert_eq!(answer(statement, "sum name last more", payload).await?, rows);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_goes_over_tls_unless_its_manifest_says_otherwise() -> anyhow::Result<()> {
    let statement = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    for (tls, over_tls) in [("verify", true), ("off", false)] {
        let attempt = ask_with(tls, statement, "", json!({})).await?;
        let answer: Value = serde_json::from_str(&result(attempt)?.unwrap_or_default())?;
        assert_eq!(answer, json!({"rows": [{"ssl": over_tls}]}), "{tls}");
    }
    Ok(())
}

/// The server stops with the first row that is too many: it would take it minutes to make them all.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_makes_no_more_rows_than_may_be_returned() -> anyhow::Result<()> {
    let all = "SELECT n FROM generate_series(1, 3) AS n";
    assert_eq!(
        answer(all, "", json!({})).await?["rows"].as_array().map(Vec::len),
        Some(3)
    );
    for (statement, why) in [
        (
            "SELECT generate_series(1, 2000000000) AS n",
            "returns more than 3 rows, which max_rows allows",
        ),
        (
            "SELECT repeat('x', 2000000) FROM generate_series(1, 2)",
            "returns rows of more than 3145728 bytes together",
        ),
    ] {
        let (failure, retry) = failed(ask(statement, "", json!({})).await?)?;
        assert_eq!(
            (failure.kind, retry),
            (FailureKind::Rejected, RetryHint::Never),
            "{failure:?}"
        );
        assert!(failure.message.contains(why), "{failure:?}");
    }
    Ok(())
}

/// What the docs say of statements.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_one_statement_that_can_stand_in_a_with() -> anyhow::Result<()> {
    for statement in [
        "VALUES (1)",
        "WITH one AS (SELECT 1 AS n) SELECT n FROM one -- a comment",
        "TABLE pg_tablespace",
        "SELECT 1;\n",
    ] {
        assert!(
            answer(statement, "", json!({})).await?["rows"].is_array(),
            "{statement}"
        );
    }
    for (statement, why) in [
        ("SELECT 1; SELECT 2", "42601"),
        ("SHOW work_mem", "42601"),
        ("EXPLAIN SELECT 1", "42601"),
    ] {
        let (failure, _) = failed(ask(statement, "", json!({})).await?)?;
        assert!(failure.message.contains(why), "{statement}: {failure:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_fails_or_returns_too_much_changes_nothing() -> anyhow::Result<()> {
    let made = answer("CREATE TABLE tea (n int PRIMARY KEY)", "", json!({})).await?;
    assert_eq!(made, json!({"rows": [], "changed": 0}));
    let insert = "INSERT INTO tea SELECT generate_series(1, $1::int)";
    let returns = format!("{insert} RETURNING n");
    for (statement, payload, why) in [
        (returns.as_str(), json!({"n": 4}), "more than 3 rows"),
        (insert, json!({"n": "many"}), "22P02"),
        (insert, json!({}), "n is missing"),
        ("INSERT INTO tea VALUES ($1), ($1)", json!({"n": 1}), "23505"),
    ] {
        let (failure, retry) = failed(ask(statement, "n", payload).await?)?;
        assert_eq!(
            (failure.kind, retry),
            (FailureKind::Rejected, RetryHint::Never),
            "{failure:?}"
        );
        assert!(failure.message.contains(why), "{failure:?}");
    }
    let (failure, retry) = failed(ask("SELECT 1 FROM milk", "", json!({})).await?)?;
    assert_eq!(
        (failure.kind, retry),
        (FailureKind::Error, RetryHint::ByPolicy),
        "{failure:?}"
    );
    assert_eq!(
        answer(insert, "n", json!({"n": 2})).await?,
        json!({"rows": [], "changed": 2})
    );
    let rows = answer("SELECT n FROM tea ORDER BY n", "", json!({})).await?;
    assert_eq!(rows, json!({"rows": [{"n": 1}, {"n": 2}]}));
    Ok(())
}
