//! One table of jobs for every language: what a handler can answer, is told and may ask, and how it crashes.
//!
//! `tests/handlers/LANGUAGE` holds a handler for each, written with the kit of its language; `cargo xtask test` builds
//! them with `kiln build`.
//!
//! What handlers reach by grant has tables of its own, for all languages whose kit has it:
//!
//! | reach | languages | table |
//! |---|---|---|
//! | HTTP, and its denial | all six, and StarlingMonkey | `clients.rs` |
//! | requests that the host signs | all six | `objects.rs`; the other ways to sign, which no handler can tell apart: `signing.rs` |
//! | TCP, and its denial | Python, Go, Rust, C | `connections.rs` |
//! | state | all six | here, and `state/` |
//! | follow-up jobs | all six | `flow/` |

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use futures::FutureExt as _;
use kiln::config::{Grants, Limits, SandboxSettings};
use kiln::job::Job;
use kiln::outcome::{Attempt, Failure, FailureKind, Outcome, RetryHint};
use kiln::plugins::read_plugin;
use kiln::queue::{StateStore, Store, StoreSettings};
use kiln::sandbox::{AttemptContext, Handler, Sandbox};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::support::{compiled, kiln};

/// What a test says of one language, said of all.
macro_rules! in_every_language {
    ($($test:ident)*) => {
        in_every_language! { @ rust [$($test)*] }
        in_every_language! { @ js [$($test)*] }
        in_every_language! { @ starlingmonkey [$($test)*] }
        in_every_language! { @ ts [$($test)*] }
        in_every_language! { @ python [$($test)*] }
        in_every_language! { @ go [$($test)*] }
        in_every_language! { @ c [$($test)*] }
    };
    (@ $language:ident [$($test:ident)*]) => {
        mod $language {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() -> anyhow::Result<()> {
                    let guest = super::guest(stringify!($language));
                    super::$test(&guest).await
                }
            )*
        }
    };
}

in_every_language! {
    a_payload_comes_and_goes_byte_for_byte
    every_answer_arrives_as_it_was_given
    a_payload_that_does_not_fit_fails_for_good_and_names_the_field
    json_nested_too_deeply_fails_for_good
    text_and_numbers_are_read_and_written_right
    the_job_is_told_whole
    the_context_serves_logs_progress_config_and_environment
    attempts_share_neither_state_nor_chance
    a_crash_is_a_trap_in_the_words_of_its_language
    a_handler_that_sleeps_is_stopped_in_time
    a_thousand_attempts_leave_nothing_behind
}

#[tokio::test(flavor = "multi_thread")]
async fn values_outlast_attempts_and_are_written_on_completion_in_every_language() -> anyhow::Result<()> {
    for language in ["rust", "js", "starlingmonkey", "ts", "python", "go", "c"] {
        let guest = guest(language);
        let attempt = guest.run(r#"{"do":"state","key":"k"}"#).await?;
        let writes = serde_json::to_value(&attempt.asked.writes)?;
        let found: Value = serde_json::from_str(&result(language, attempt).context(language)?)?;
        let wanted = json!({
            "before": null, "read": {"text": "tea ☕", "n": 1}, "absent": false, "swapped": true, "stale": false,
            "counted": 42, "keys": ["k", "k/n"], "gone": null, "once": ["done", "done"], "calls": 1,
        });
        assert_eq!(found, wanted, "{language}");
        let adds = json!([{
            "bucket": "plugin:conformance:things",
            "quota": {"bytes": 16 * 1024 * 1024, "keys": 10_000},
            "changes": [{"key": "jobs", "action": {"add": 1}}],
        }]);
        assert_eq!(writes, adds, "{language}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_tmp_are_an_attempts_own_in_every_language_that_has_files() -> anyhow::Result<()> {
    for language in ["rust", "python", "go", "c"] {
        let guest = guest(language);
        for _ in 0..2 {
            let found = guest.result(&json!({"do": "files"})).await.context(language)?;
            let wanted = json!({
                "before": [], "text": "tea ☕ and more", "names": ["folder", "two.txt"], "far": false, "outside": false,
            });
            assert_eq!(found, wanted, "{language}");
        }
    }
    let python = guest("python");
    let found = python.result(&json!({"do": "archive", "name": "tea.txt"})).await?;
    assert_eq!(found, json!({"length": 1000, "left": []}));
    let cells = json!([["tea", 450], ["cup", 8.5]]);
    let found = python.result(&json!({"do": "workbook", "cells": cells})).await?;
    assert_eq!(found, json!({ "cells": cells }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn python_has_its_codecs_while_a_job_runs() -> anyhow::Result<()> {
    let guest = guest("python");
    for (codec, hex, text) in [
        ("cp437", "8190", "üÉ"),
        ("cp1250", "bee6", "ľć"),
        ("idna", "786e2d2d346361", "ä"),
        ("koi8_r", "d4", "т"),
        ("utf_32_be", "000000e4", "ä"),
        ("shift_jis", "8365", "テ"),
    ] {
        let found = guest.result(&json!({"do": "decode", "codec": codec, "hex": hex})).await;
        assert_eq!(found?, json!({ "text": text }), "{codec}");
    }
    let found = guest.result(&json!({"do": "zip", "name": "tea.txt"})).await?;
    assert_eq!(found, json!({"names": ["tea.txt"]}));
    Ok(())
}

/// A language's handler, loaded once for all tests.
pub(crate) struct Guest {
    language: &'static str,
    handler: Handler,
}

pub(crate) fn built(language: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/handlers");
    let path = folder.join(format!("conformance-{language}.wasm"));
    assert!(
        path.is_file(),
        "{} is not built; run: cargo xtask plugins",
        path.display()
    );
    path
}

pub(crate) fn guest(language: &'static str) -> Arc<Guest> {
    type Guests = Mutex<BTreeMap<&'static str, Arc<OnceLock<Arc<Guest>>>>>;
    static GUESTS: LazyLock<Guests> = LazyLock::new(Guests::default);
    let slot = GUESTS.lock().expect("no panic").entry(language).or_default().clone();
    let load = || Arc::new(load(language).expect("a handler that loads"));
    slot.get_or_init(load).clone()
}

fn load(language: &'static str) -> anyhow::Result<Guest> {
    let (bytes, mut manifest) = read_plugin(&built(language), &Limits::default())?;
    manifest.config.insert("greeting".to_owned(), "grüß dich".to_owned());
    manifest.grants = Grants::of(
        "[grants.state.things]\n[grants.jobs]\nnames = [\"after\"]\nqueues = [\"other\"]\n[grants.env]\nSHOP = \"tea & more\"",
    );
    let memory = StoreSettings::new("memory:");
    let store = Store::open(&memory).now_or_never().expect("nothing to wait for")?;
    let settings = SandboxSettings {
        state: Some(Arc::new(StateStore::beside(&store, &memory))),
        cache_dir: Some(compiled()),
        ..SandboxSettings::new(NonZeroU32::new(4).expect("not zero"))
    };
    let handler = Sandbox::new(&settings)?.load("conformance", &bytes, &manifest)?;
    Ok(Guest { language, handler })
}

impl Guest {
    async fn attempt(&self, job: &Job) -> Attempt {
        self.handler.run(job, "default", &AttemptContext::default()).await
    }

    /// One attempt at a job with this payload, as text.
    pub(crate) async fn run(&self, payload: &str) -> anyhow::Result<Attempt> {
        Ok(self.attempt(&job(payload)?).await)
    }

    async fn result(&self, payload: &Value) -> anyhow::Result<Value> {
        let attempt = self.run(&payload.to_string()).await?;
        Ok(serde_json::from_str(
            &result(self.language, attempt).expect("a result"),
        )?)
    }

    async fn failure(&self, payload: &Value) -> anyhow::Result<(Failure, RetryHint)> {
        match self.run(&payload.to_string()).await?.outcome {
            Outcome::Failed { failure, retry } => Ok((failure, retry)),
            other => panic!("{}: {payload}: not failed: {other:?}", self.language),
        }
    }
}

fn job(payload: &str) -> anyhow::Result<Job> {
    Ok(Job::new(
        "conformance",
        "default",
        RawValue::from_string(payload.to_owned())?,
    ))
}

pub(crate) fn result(language: &str, attempt: Attempt) -> Option<String> {
    match attempt.outcome {
        Outcome::Completed { result } => result,
        other => panic!("{language}: not completed: {other:?}; {:?}", attempt.report.stderr),
    }
}

async fn a_payload_comes_and_goes_byte_for_byte(guest: &Guest) -> anyhow::Result<()> {
    let long = format!(r#"{{"do":"echo","text":"{}"}}"#, "ä€𝄞\\n ".repeat(80_000));
    let payloads = [
        "null",
        "true",
        "-0.0",
        "12345678901234567890",
        r#""text""#,
        "[]",
        r#"[1,null,{"do":"crash"}]"#,
        "{}",
        r#"{"b":1,"a":2,"b":3}"#,
        r#"{"do":"echo","number":9007199254740993,"big":1e400,"tiny":0.1000000000000000055511151231257827}"#,
        r#"{ "do" : "echo" , "escapes" : "\u0000\u001f\"\\\/\ud834\udd1e", "plain":"ä€𝄞" }"#,
        &long,
    ];
    for payload in payloads {
        let result = result(guest.language, guest.run(payload).await?);
        let shown = |text: &str| text.chars().take(80).collect::<String>();
        assert!(
            result.as_deref() == Some(payload),
            "{}: {:?}",
            shown(payload),
            result.as_deref().map(shown)
        );
    }
    // Half a character comes, too, and goes as far as the host, which takes no such result.
    let half = guest.run(r#"{"do":"echo","lone":"\ud834"}"#).await?.outcome;
    assert!(
        matches!(&half, Outcome::Failed { failure, .. } if failure.message.ends_with("a lone surrogate, which is no character")),
        "{half:?}"
    );
    Ok(())
}

async fn every_answer_arrives_as_it_was_given(guest: &Guest) -> anyhow::Result<()> {
    assert_eq!(result(guest.language, guest.run(r#"{"do":"none"}"#).await?), None);

    let message = "the \"teapot\" ☕ is empty";
    let cases = [
        (
            json!({"do": "retry", "message": message}),
            FailureKind::Error,
            RetryHint::ByPolicy,
        ),
        (
            json!({"do": "error", "message": message}),
            FailureKind::Error,
            RetryHint::ByPolicy,
        ),
        (
            json!({"do": "retry-after", "message": message, "ms": 90_061_001}),
            FailureKind::Error,
            RetryHint::NotBefore(Duration::from_millis(90_061_001)),
        ),
        (
            json!({"do": "permanent", "message": message}),
            FailureKind::Rejected,
            RetryHint::Never,
        ),
        (
            json!({"do": "permanent", "message": ""}),
            FailureKind::Rejected,
            RetryHint::Never,
        ),
    ];
    for (payload, kind, retry) in cases {
        let (failure, hint) = guest.failure(&payload).await?;
        let wanted = (kind, retry, payload["message"].as_str().expect("text"));
        assert_eq!((failure.kind, hint, failure.message.as_str()), wanted, "{payload}");
    }

    let long = guest.result(&json!({"do": "bulk", "size": 1_000_000})).await?;
    assert_eq!(long["text"].as_str().map(str::len), Some(1_000_000));
    Ok(())
}

async fn a_payload_that_does_not_fit_fails_for_good_and_names_the_field(guest: &Guest) -> anyhow::Result<()> {
    let of_another_type = [
        (json!({"do": "typed", "text": "tea", "count": "three"}), "count"),
        (json!({"do": "typed", "text": 5, "count": 3}), "text"),
    ];
    let missing = [
        (json!({"do": "typed", "text": "tea"}), "count"),
        (json!({"do": "typed", "text": null, "count": 3}), "text"),
    ];
    // To Go's JSON, what is missing is zero.
    let missing = missing.into_iter().filter(|_| guest.language != "go");
    for (payload, field) in of_another_type.into_iter().chain(missing) {
        let (failure, retry) = guest.failure(&payload).await?;
        assert_eq!(
            (failure.kind, retry),
            (FailureKind::Rejected, RetryHint::Never),
            "{payload}"
        );
        let message = &failure.message;
        assert!(
            message.starts_with("payload: ") && message.contains(field),
            "{payload}: {message}"
        );
    }
    let (failure, retry) = guest.failure(&json!({"do": "dance"})).await?;
    assert_eq!((failure.message.as_str(), retry), ("unknown: dance", RetryHint::Never));
    Ok(())
}

async fn json_nested_too_deeply_fails_for_good(guest: &Guest) -> anyhow::Result<()> {
    for levels in [200, 1_000, 50_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[\"\\\"]\",", "]")] {
            let deep = format!("{}1{}", open.repeat(levels), close.repeat(levels));
            let attempt = guest
                .run(&format!(r#"{{"do":"typed","text":{deep},"count":1}}"#))
                .await?;
            let Outcome::Failed { failure, retry } = attempt.outcome else {
                panic!("{levels} levels of {open}: not failed")
            };
            assert_eq!(
                (failure.kind, retry),
                (FailureKind::Rejected, RetryHint::Never),
                "{levels} levels of {open}: {failure:?}"
            );
            assert!(failure.message.starts_with("payload: "), "{failure:?}");

            let mut job = job(r#"{"do":"describe"}"#)?;
            job.metadata = Some(RawValue::from_string(format!(r#"{{"deep":{deep}}}"#))?);
            match guest.attempt(&job).await.outcome {
                Outcome::Failed { failure, .. } => assert_eq!(failure.kind, FailureKind::Rejected, "{failure:?}"),
                // It need not be read.
                Outcome::Completed { .. } => assert_eq!(guest.language, "c"),
                Outcome::Stopped => panic!("nobody stopped it"),
            }
        }
    }
    // Brackets in a text, and beside one another, are no levels.
    let brackets = "[{\"\\".repeat(5_000);
    let found = guest
        .result(&json!({"do": "typed", "text": brackets, "count": 1, "more": vec![json!([]); 5_000]}))
        .await?;
    assert_eq!(found["text"], json!(brackets));
    Ok(())
}

async fn text_and_numbers_are_read_and_written_right(guest: &Guest) -> anyhow::Result<()> {
    for (text, length) in [
        ("", 0),
        ("tea", 3),
        ("\u{0}\u{1f}\"\\/\n\t\u{7f}\u{2028}", 9),
        ("ä€𝄞👨‍👩‍👧", 8),
        (&"𝄞".repeat(50_000), 50_000),
    ] {
        let found = guest.result(&json!({"do": "typed", "text": text, "count": 41})).await?;
        assert_eq!(found["length"], json!(length), "{found}");
        assert!(found["text"] == text && found["count"] == 42, "{found}");
    }
    // Escaped, as other producers write it.
    let attempt = guest
        .run(r#"{"do":"typed","text":"\ud834\udd1e\u00e4\/","count":-1}"#)
        .await?;
    let found: Value = serde_json::from_str(&result(guest.language, attempt).expect("a result"))?;
    assert_eq!(found, json!({"text": "𝄞ä/", "length": 3, "count": 0}));
    Ok(())
}

async fn the_job_is_told_whole(guest: &Guest) -> anyhow::Result<()> {
    let mut job = job(r#"{"do":"describe"}"#)?;
    job.attempts = 2;
    job.max_attempts = 7;
    job.metadata = Some(RawValue::from_string(
        r#"{"tenant":"ä","list":[1,{"x":null}]}"#.to_owned(),
    )?);
    let found = result(guest.language, guest.attempt(&job).await).expect("a result");
    let mut found: Value = serde_json::from_str(&found)?;
    let created = found["created_at_ms"].take().as_f64().expect("a number");
    let age_ms = now_ms() - created;
    assert!((0.0..60_000.0).contains(&age_ms), "{age_ms}");
    let wanted = json!({
        "id": job.id, "name": "conformance", "queue": "default", "attempt": 3, "max_attempts": 7, "created_at_ms": null,
        "metadata": {"tenant": "ä", "list": [1, {"x": null}]},
    });
    assert_eq!(found, wanted);
    Ok(())
}

async fn the_context_serves_logs_progress_config_and_environment(guest: &Guest) -> anyhow::Result<()> {
    let logged = guest.run(r#"{"do":"log","message":"tea ☕"}"#).await?;
    assert_eq!(logged.report.stdout.text.trim_end(), "tea ☕");
    assert_eq!(logged.report.log_lines.kept, 4);

    let progress = guest.run(r#"{"do":"progress"}"#).await?;
    assert_eq!(progress.report.progress_percent, Some(50));
    let found: Value = serde_json::from_str(&result(guest.language, progress).expect("a result"))?;
    assert_eq!(found, json!({"remaining": true, "cancelled": false}));

    for (ask, value) in [
        (json!({"do": "config", "key": "greeting"}), json!("grüß dich")),
        (json!({"do": "config", "key": "farewell"}), Value::Null),
        (json!({"do": "env", "name": "SHOP"}), json!("tea & more")),
        (json!({"do": "env", "name": "HOME"}), Value::Null),
    ] {
        assert_eq!(guest.result(&ask).await?, json!({ "value": value }), "{ask}");
    }

    // With their levels and words, as an operator reads them.
    let shown = kiln()
        .args(["--log", "debug", "run", "--cache-dir"])
        .arg(compiled())
        .arg(built(guest.language))
        .arg(r#"{"do":"log","message":"tea ☕"}"#)
        .output()?;
    let shown = String::from_utf8(shown.stderr)?;
    for level in ["DEBUG", "INFO", "WARN", "ERROR"] {
        let is_told = |line: &str| line.contains(level) && line.contains("tea ☕");
        assert!(shown.lines().any(is_told), "{level}: {shown}");
    }
    Ok(())
}

async fn attempts_share_neither_state_nor_chance(guest: &Guest) -> anyhow::Result<()> {
    let random = json!({"do": "random"});
    let (first, second) = (guest.result(&random).await?, guest.result(&random).await?);
    assert!(first["value"].is_number() && first != second, "{first} {second}");
    for _ in 0..2 {
        assert_eq!(guest.result(&json!({"do": "count"})).await?, json!({"count": 1}));
    }
    let told = guest.result(&json!({"do": "clock"})).await?["ms"]
        .as_f64()
        .expect("a number");
    assert!((now_ms() - told).abs() < 60_000.0, "{told}");
    Ok(())
}

async fn a_crash_is_a_trap_in_the_words_of_its_language(guest: &Guest) -> anyhow::Result<()> {
    let (failure, retry) = guest
        .failure(&json!({"do": "crash", "message": "the teapot ☕ broke"}))
        .await?;
    assert_eq!(
        (failure.kind, retry),
        (FailureKind::Trap, RetryHint::ByPolicy),
        "{failure:?}"
    );
    assert!(failure.message.contains("the teapot ☕ broke"), "{failure:?}");
    assert!(!failure.message.contains('\n'), "{failure:?}");
    // The line that crashed, where the language knows it.
    let source = match guest.language {
        "rust" => "src/lib.rs:",
        "js" | "starlingmonkey" => "handler.js:",
        "ts" => "handler.ts:",
        "python" => "handler.py\", line ",
        "go" => "main.go:",
        _ => "",
    };
    let told = format!("{}\n{}", failure.message, failure.stderr.unwrap_or_default());
    assert!(told.contains(source), "{told}");
    Ok(())
}

async fn a_handler_that_sleeps_is_stopped_in_time(guest: &Guest) -> anyhow::Result<()> {
    assert_eq!(
        result(guest.language, guest.run(r#"{"do":"nap","ms":20}"#).await?),
        None
    );
    let mut job = job(r#"{"do":"nap","ms":60000}"#)?;
    job.timeout_ns = 300_000_000;
    let outcome = guest.attempt(&job).await.outcome;
    assert!(
        matches!(&outcome, Outcome::Failed { failure, .. } if failure.kind == FailureKind::Timeout),
        "{outcome:?}"
    );
    Ok(())
}

/// In one host, each in a sandbox of its own: neither they nor the host grow.
async fn a_thousand_attempts_leave_nothing_behind(guest: &Guest) -> anyhow::Result<()> {
    let job = job(&json!({"do": "typed", "text": "tea ☕".repeat(1_000), "count": 1}).to_string())?;
    let mut peaks = Vec::new();
    for _ in 0..1_000 {
        let attempt = guest.attempt(&job).await;
        peaks.push(attempt.report.peak_memory_bytes);
        result(guest.language, attempt);
    }
    assert_eq!(peaks.iter().min(), peaks.iter().max());
    Ok(())
}

fn now_ms() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs_f64()
        * 1_000.0
}
