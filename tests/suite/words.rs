//! What producers, guests, plugin files and Redis' own keys hold, on every surface where somebody reads it.

use std::collections::BTreeMap;
use std::path::Path;

use kiln::queue::{Store, StoreSettings};
use kiln::text::is_hidden;
use serde_json::{Value, json};

use crate::guests::{guest, hostile_component, hostile_guest};
use crate::life::until_empty;
use crate::process::Worker;
use crate::service::{folder_of, push};
use crate::support::{eventually, kiln, redis_settings};

/// Would clear a screen, be a line of its own, and show what follows it backwards.
const FORGED: &str = "x\u{1b}[2J\n2026-01-01T00:00:00Z  INFO job completed\r\u{9b}1m\u{202e}\u{2028}\u{200b}\u{e0041}x";

/// The trace that jobs belong to.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn assert_shown(said: &str) {
    let hidden = said.chars().find(|c| is_hidden(*c) && !matches!(c, '\n' | '\t'));
    assert_eq!(hidden, None, "in {said}");
    assert!(!said.lines().any(|line| line.starts_with("2026-01-01")), "{said}");
}

async fn redis(settings: &StoreSettings, commands: &[&[&str]]) -> anyhow::Result<()> {
    let mut connection = redis::Client::open(settings.url.as_str())?
        .get_multiplexed_async_connection()
        .await?;
    for command in commands {
        let (name, arguments) = command.split_first().expect("a command");
        let () = redis::cmd(name).arg(arguments).query_async(&mut connection).await?;
    }
    Ok(())
}

/// A host that died while it held a job, and that calls itself so.
async fn bury(settings: &StoreSettings, host: &str, job: &str) -> anyhow::Result<()> {
    let queue = format!("{{{}:queues:default}}", settings.prefix);
    redis(
        settings,
        &[
            &["HSET", &format!("{queue}:inflight:{host}"), "1", job],
            &["ZADD", &format!("{queue}:leases"), "1", host],
        ],
    )
    .await
}

/// All that a worker says until nothing is left to do.
fn burst(settings: &StoreSettings, folder: &Path, extra: &[&str]) -> anyhow::Result<String> {
    let done = kiln()
        .args([
            "worker",
            "--burst",
            "--store",
            &settings.url,
            "--prefix",
            &settings.prefix,
        ])
        .args(["--lease", "1s", "--log", "debug"])
        .args(extra)
        .arg("--plugins")
        .arg(folder)
        .output()?;
    let said = String::from_utf8(done.stderr)?;
    assert!(done.status.success() && done.stdout.is_empty(), "{said}");
    Ok(said)
}

fn with_id(name: &str) -> String {
    let metadata = json!({"traceparent": format!("00-{TRACE}-00f067aa0ba902b7-01")});
    json!({"id": FORGED, "name": name, "max_attempts": 1, "metadata": metadata}).to_string()
}

async fn a_log_of_everything(format: &str) -> anyhow::Result<String> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("ok", "")])?;
    let guests = ["log_forged", "forged_panic", "forged_message"];
    for name in guests {
        std::fs::write(folder.path().join(name).with_extension("wasm"), hostile_guest(name)?)?;
    }
    std::fs::write(folder.path().join(format!("{}.wasm", FORGED.replace('\n', ""))), "no")?;
    std::fs::write(folder.path().join("a digest=0 kind=b.wasm"), "no")?;
    bury(&settings, FORGED, &with_id("ok")).await?;
    let mut jobs: Vec<_> = guests.map(with_id).into();
    jobs.push(with_id(FORGED));
    jobs.push(json!({"name": FORGED, "attempts": FORGED}).to_string());
    jobs.push(json!({"id": "i".repeat(1_000_000), "name": "log_forged"}).to_string());
    jobs.push(json!({"id": "a", "name": "n".repeat(1_000_000)}).to_string());
    push(&store, &jobs.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let said = burst(&settings, folder.path(), &["--log-format", format])?;
    for what in [
        "took over from a host that died",
        "job lost its host",
        "no plugin handles this job",
        "malformed job",
        "plugin does not load",
        "names are left alone",
        "job failed",
        "job completed",
    ] {
        assert!(said.contains(what), "{what} is missing: {said}");
    }
    assert_shown(&said);
    assert!(said.lines().all(|line| line.len() < 16 * 1024), "a line is too long");
    Ok(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_forges_a_line_of_the_log_or_steers_who_reads_it() -> anyhow::Result<()> {
    let said = a_log_of_everything("text").await?;
    let is_time = |line: &str| {
        line.split(' ')
            .next()
            .is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok())
    };
    assert!(said.lines().all(is_time), "{said}");
    let failed = said.lines().find(|line| line.contains("job failed")).expect("one");
    assert!(
        failed.contains(" WARN ") && failed.contains("queue=\"default\""),
        "{failed}"
    );
    let (time, _) = failed.split_once(' ').expect("a time");
    assert_eq!(time.len(), "2026-01-01T00:00:00.000Z".len(), "milliseconds");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_json_holds_what_was_sent_and_hides_nothing() -> anyhow::Result<()> {
    let said = a_log_of_everything("json").await?;
    let lines: Result<Vec<Value>, _> = said.lines().map(serde_json::from_str).collect();
    let lines = lines?;
    let failed = lines.iter().find(|line| line["message"] == "job failed").expect("one");
    assert_eq!(
        (&failed["level"], &failed["queue"]),
        (&json!("WARN"), &json!("default"))
    );
    let id = failed["id"].as_str().expect("an id");
    assert!(id.starts_with("x\\u001b[2J\\n2026-01-01"), "shown, as in text: {id}");
    let of_handlers = lines
        .iter()
        .find(|line| line["target"] == "guest" && line["context"].is_string());
    for line in [failed, of_handlers.expect("a handler's line")] {
        assert_eq!(line["trace_id"], TRACE, "{line}");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let operators = std::fs::read_to_string(root.join("docs/operators.md"))?;
    for line in &lines {
        for field in line.as_object().expect("an object").keys() {
            assert!(
                operators.contains(&format!("`{field}`")),
                "{field} is in no table: {line}"
            );
        }
    }
    Ok(())
}

/// What a command prints, and what its JSON says.
fn printed(settings: &StoreSettings, args: &[&str]) -> anyhow::Result<String> {
    let mut command = kiln();
    command
        .args(args)
        .args(["--store", &settings.url, "--prefix", &settings.prefix]);
    let done = command.output()?;
    let said = String::from_utf8(done.stdout)?;
    assert!(
        done.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert_shown(&said);
    assert_shown(&String::from_utf8(done.stderr)?);
    Ok(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_show_what_redis_holds_and_json_holds_it_still() -> anyhow::Result<()> {
    let settings = redis_settings();
    let prefix = &settings.prefix;
    let failure = json!({"kind": "trap", "message": FORGED, "handler": FORGED, "digest": FORGED, "stderr": FORGED,
        "stdout": FORGED, "backtrace": FORGED});
    let entry = json!({"id": FORGED, "name": FORGED, "queue": FORGED, "payload": FORGED, "failed_at": FORGED,
        "error": FORGED, (FORGED): FORGED, "failure": failure});
    let version = json!({"digest": FORGED, "version": FORGED, "jobs": [FORGED], "bytes": 1, "load_ms": 1, "since": "2026-01-01T00:00:00Z",
        "in_flight": 0, "attempts": 0, "failures": {}, "last_error": {"at": FORGED, "error": FORGED}, "aside": FORGED,
        "instead": FORGED});
    let plugin = json!({"name": FORGED, "fault": FORGED, "faults": 2, "serving": version});
    let report = json!({"since": FORGED, "at": FORGED, "plugins": [plugin]});
    redis(
        &settings,
        &[
            &["RPUSH", &format!("{prefix}:failed"), &entry.to_string()],
            &["ZADD", &format!("{prefix}:hosts"), "99999999999", FORGED],
            &["SET", &format!("{prefix}:hosts:{FORGED}"), &report.to_string()],
        ],
    )
    .await?;
    bury(&settings, FORGED, "{}").await?;
    for (args, lines) in [
        (&["queues", "--scan"][..], 4),
        (&["plugins"], 9),
        (&["failed", "list"], 1),
        (&["failed", "show", FORGED], 24),
    ] {
        let table = printed(&settings, args)?;
        assert!(table.contains("x\\u001b[2J"), "{table}");
        assert!(
            table.lines().count() <= lines,
            "one of them is of somebody else's making: {table}"
        );
    }
    let as_json = |args: &[&str]| anyhow::Ok(serde_json::from_str::<Value>(&printed(&settings, args)?)?);
    assert_eq!(as_json(&["failed", "show", FORGED, "--json"])?, entry);
    assert_eq!(as_json(&["failed", "list", "--json"])?, entry);
    assert_eq!(as_json(&["plugins", "--json"])?[FORGED]["plugins"][0]["fault"], FORGED);
    assert!(as_json(&["queues", "--scan", "--json"])?["queues"]["default"]["hosts"][FORGED].is_object());
    Ok(())
}

/// Prints as much as it may and completes.
const LOUD: &str = r#"(import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))
(func (export "kiln:job/handler@0.1.0#handle") (type $handle)
  (local $left i32)
  (memory.fill (i32.const 64) (i32.const 120) (i32.const 8000))
  (local.set $left (i32.const 1000))
  (loop $again
    (call $log (i32.const 2) (i32.const 64) (i32.const 8000) (i32.const 64) (i32.const 0))
    (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
  i32.const 0)"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_log_that_stalls_stops_no_handler_and_hears_what_it_missed() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("loud.wasm"), hostile_component(LOUD)?)?;
    // A quarter of a megabyte each, together several times what is kept.
    let jobs = vec![r#"{"name":"loud"}"#; 100];
    push(&store, &jobs).await?;
    let worker = Worker::deaf(&settings, folder.path(), &[])?;
    until_empty(&store).await?;
    assert_eq!(store.failed_len().await?, 0);
    let mut worker = Worker::heard(worker);
    worker.until_said("lines were dropped").await?;
    worker.signal("-TERM")?;
    assert_eq!(worker.exit_code()?, Some(0));
    worker.until_said("worker stopped; nothing was interrupted").await?;
    let told = worker.lines_with("lines were dropped").remove(0);
    let dropped: u64 = told.rsplit_once("lines=").expect("a count").1.parse()?;
    let kept = worker.lines_with("xxxx").len() as u64;
    // Each attempt may log so many lines of 8,000 bytes; those of others are few.
    let logged = 100 * (256 * 1024 / 8000);
    assert!(
        (logged..logged + 50).contains(&(kept + dropped)),
        "{kept} and {dropped} of {logged}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_log_that_stalls_for_ever_does_not_keep_the_worker_from_its_end() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("loud.wasm"), hostile_component(LOUD)?)?;
    push(&store, &[r#"{"name":"loud"}"#; 2]).await?;
    let mut worker = Worker::deaf(&settings, folder.path(), &[])?;
    until_empty(&store).await?;
    worker.signal("-TERM")?;
    let code = eventually("its end", async || Ok(worker.process.try_wait()?)).await?;
    assert_eq!(code.code(), Some(0));
    Ok(())
}

/// Prints a line, then does what the last instruction says.
fn printer(end: &str) -> anyhow::Result<Vec<u8>> {
    hostile_component(&format!(
        r#"(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
        (import "wasi:io/streams@0.2.0" "[method]output-stream.write" (func $write (param i32 i32 i32 i32)))
        (data (i32.const 64) "step 1 of 2")
        (func (export "kiln:job/handler@0.1.0#handle") (type $handle)
          (call $write (call $stdout) (i32.const 64) (i32.const 11) (i32.const 32))
          {end})"#
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_prints_is_kept_with_the_attempt_and_what_returns_nothing_says_so() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = tempfile::tempdir()?;
    let plugins = BTreeMap::from([
        ("prints", printer("i32.const 0")?),
        ("breaks", printer("unreachable")?),
        ("ok", guest("ok")?),
    ]);
    for (name, wasm) in &plugins {
        std::fs::write(folder.path().join(name).with_extension("wasm"), wasm)?;
        push(
            &store,
            &[&json!({"id": name, "name": name, "max_attempts": 1}).to_string()],
        )
        .await?;
    }
    let said = burst(&settings, folder.path(), &[])?;
    let failed = store.failed(0, 9).await?;
    let stdout = failed[0].failure().expect("a failure").stdout;
    assert_eq!((failed.len(), stdout.as_deref()), (1, Some("step 1 of 2")));
    let output: Vec<_> = said.lines().filter(|line| line.contains("DEBUG output")).collect();
    assert_eq!(output.len(), 1, "what failed has it in its entry: {said}");
    assert!(
        output[0].contains("DEBUG output id=\"prints\"") && output[0].contains("stdout=\"step 1 of 2\""),
        "{output:?}"
    );
    assert_eq!(store.result("ok").await?.as_deref(), Some("null"));
    assert_eq!(store.result("breaks").await?, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_results_are_not_kept_a_job_that_returns_nothing_leaves_nothing() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("ok", "")])?;
    push(&store, &[r#"{"id":"a","name":"ok"}"#]).await?;
    burst(&settings, folder.path(), &["--result-ttl", "0s"])?;
    assert_eq!(store.result("a").await?, None);
    Ok(())
}
