//! Guests are hostile: nothing that one does reaches another, or the host.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use kiln::config::{Limit, Manifest, SandboxSettings, Source};
use kiln::job::{Job, null};
use kiln::outcome::{Attempt, Failure, FailureKind, Outcome, RetryHint};
use kiln::sandbox::{AttemptContext, Handler, Sandbox};
use serde_json::value::RawValue;

use crate::guests::{guest, hostile_component};

/// A sandbox, and a handler beside the one under test that has to keep working.
pub(crate) struct TestHost {
    pub(crate) sandbox: Sandbox,
    pub(crate) neighbour: Handler,
}

impl TestHost {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::with(&settings())
    }

    pub(crate) fn with(settings: &SandboxSettings) -> anyhow::Result<Self> {
        let sandbox = Sandbox::new(settings)?;
        let neighbour = sandbox.load("ok", &guest("ok")?, &Manifest::default())?;
        Ok(Self { sandbox, neighbour })
    }

    pub(crate) fn load(&self, name: &str) -> anyhow::Result<Handler> {
        self.load_with(name, "")
    }

    pub(crate) fn load_with(&self, name: &str, manifest: &str) -> anyhow::Result<Handler> {
        self.load_component(name, &guest(name)?, manifest)
    }

    pub(crate) fn load_component(&self, name: &str, component: &[u8], manifest: &str) -> anyhow::Result<Handler> {
        let manifest = Manifest::parse(manifest).map_err(anyhow::Error::msg)?;
        Ok(self.sandbox.load(name, component, &manifest)?)
    }

    /// Runs one attempt beside one of the neighbour's, which has to complete during it and after it.
    pub(crate) async fn attempt(&self, handler: &Handler, job: &Job) -> Attempt {
        let context = AttemptContext::default();
        let other = job_of("neighbour", null());
        let (attempt, during) = tokio::join!(
            handler.run(job, "default", &context),
            self.neighbour.run(&other, "default", &context)
        );
        assert_completes(&during);
        assert_completes(&self.neighbour.run(&other, "default", &context).await);
        attempt
    }

    pub(crate) async fn run(&self, name: &str) -> anyhow::Result<Attempt> {
        let handler = self.load(name)?;
        Ok(self.attempt(&handler, &job_of(name, null())).await)
    }

    pub(crate) async fn failure(&self, name: &str) -> anyhow::Result<(Failure, RetryHint)> {
        failed(self.run(name).await?)
    }

    pub(crate) fn refusal(&self, bytes: &[u8]) -> String {
        match self.sandbox.load("plugin", bytes, &Manifest::default()) {
            Ok(_) => panic!("it loads"),
            Err(err) => err.to_string(),
        }
    }
}

pub(crate) fn settings() -> SandboxSettings {
    settings_with(Duration::from_millis(300))
}

/// Settings under which an attempt may take so long.
pub(crate) fn settings_with(timeout: Duration) -> SandboxSettings {
    let mut settings = SandboxSettings::new(NonZeroU32::new(8).unwrap());
    let ms = u64::try_from(timeout.as_millis()).unwrap();
    settings.limits.set(Limit::Timeout, ms, ms, Source::Host);
    settings
}

pub(crate) fn job_of(name: &str, payload: Box<RawValue>) -> Job {
    Job::new(name, "default", payload)
}

pub(crate) fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

pub(crate) fn assert_completes(attempt: &Attempt) {
    assert!(
        matches!(attempt.outcome, Outcome::Completed { .. }),
        "{:?}",
        attempt.outcome
    );
}

pub(crate) fn result(attempt: Attempt) -> anyhow::Result<Option<String>> {
    match attempt.outcome {
        Outcome::Completed { result } => Ok(result),
        other => anyhow::bail!("not completed: {other:?}"),
    }
}

pub(crate) fn failed(attempt: Attempt) -> anyhow::Result<(Failure, RetryHint)> {
    match attempt.outcome {
        Outcome::Failed { failure, retry } => Ok((failure, retry)),
        other => anyhow::bail!("not failed: {other:?}"),
    }
}

#[tokio::test]
async fn a_handler_completes_without_a_result() -> anyhow::Result<()> {
    let attempt = TestHost::new()?.run("ok").await?;
    assert!(attempt.report.instantiate.is_some());
    assert_eq!(attempt.report.peak_memory_bytes, 128 * 1024);
    assert_eq!(result(attempt)?, None);
    Ok(())
}

#[tokio::test]
async fn the_payload_reaches_the_handler_byte_for_byte() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let payload = r#"{"b":1.0,  "a":12345678901234567890,"a":"\u00e9"}"#;
    let attempt = host.attempt(&host.load("echo")?, &job_of("echo", json(payload))).await;
    assert_eq!(result(attempt)?.as_deref(), Some(payload));
    Ok(())
}

#[tokio::test]
async fn half_a_character_is_no_result() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let echo = host.load("echo")?;
    let whole = host.attempt(&echo, &job_of("echo", json(r#""\ud83d\ude00""#))).await;
    assert_eq!(result(whole)?.as_deref(), Some(r#""\ud83d\ude00""#));
    let (failure, retry) = failed(host.attempt(&echo, &job_of("echo", json(r#""\ud800""#))).await)?;
    assert_eq!((failure.kind, retry), (FailureKind::Rejected, RetryHint::Never));
    assert_eq!(
        failure.message,
        "returned ok with a result that is not JSON: a lone surrogate, which is no character"
    );
    Ok(())
}

#[tokio::test]
async fn retry_leaves_the_time_to_the_policy() -> anyhow::Result<()> {
    let (failure, retry) = TestHost::new()?.failure("retry").await?;
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Error, "busy"));
    assert_eq!(retry, RetryHint::ByPolicy);
    Ok(())
}

#[tokio::test]
async fn retry_after_names_the_time() -> anyhow::Result<()> {
    let (failure, retry) = TestHost::new()?.failure("retry_after").await?;
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (FailureKind::Error, "too many requests")
    );
    assert_eq!(retry, RetryHint::NotBefore(Duration::from_millis(1500)));
    Ok(())
}

#[tokio::test]
async fn permanent_is_never_tried_again() -> anyhow::Result<()> {
    let (failure, retry) = TestHost::new()?.failure("permanent").await?;
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (FailureKind::Rejected, "no such user")
    );
    assert_eq!(retry, RetryHint::Never);
    Ok(())
}

#[tokio::test]
async fn a_backtrace_begins_where_the_author_is_at_home() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let text = r#"
        (func $_RNvCs1234_7___rustc17rust_begin_unwind unreachable)
        (func $_ZN4core9panicking9panic_fmt17h0123456789abcdefE (call $_RNvCs1234_7___rustc17rust_begin_unwind))
        (func $_ZN3tea4brew17h0123456789abcdefE (call $_ZN4core9panicking9panic_fmt17h0123456789abcdefE))
        (func $handle (export "kiln:job/handler@0.1.0#handle") (type $handle)
            (call $_ZN3tea4brew17h0123456789abcdefE) unreachable)"#;
    let handler = host
        .sandbox
        .load("tea", &hostile_component(text)?, &Manifest::default())?;
    let (failure, _) = failed(host.attempt(&handler, &job_of("tea", null())).await)?;
    let backtrace = failure.backtrace.unwrap_or_default();
    let frames: Vec<_> = backtrace.lines().map(|line| line.rsplit(" - ").next()).collect();
    assert_eq!(
        frames,
        [
            Some("<unknown>!tea::brew"),
            Some("<unknown>!handle"),
            Some("  above these: 2 of its language's runtime"),
        ]
    );
    assert!(backtrace.starts_with("    2: "), "{backtrace}");
    Ok(())
}

#[tokio::test]
async fn a_trap_is_named_and_says_where() -> anyhow::Result<()> {
    let (failure, retry) = TestHost::new()?.failure("trap").await?;
    assert_eq!(failure.kind, FailureKind::Trap);
    assert_eq!(failure.message, "wasm `unreachable` instruction executed");
    assert!(
        failure.backtrace.as_deref().unwrap_or_default().contains("handle"),
        "{:?}",
        failure.backtrace
    );
    assert_eq!(
        (failure.handler.as_str(), failure.digest.len(), failure.attempt),
        ("trap", 64, 1)
    );
    assert_eq!(retry, RetryHint::ByPolicy);
    Ok(())
}

#[tokio::test]
async fn a_panic_says_what_it_said() -> anyhow::Result<()> {
    let (failure, _) = TestHost::new()?.failure("panic").await?;
    assert_eq!(failure.kind, FailureKind::Trap);
    assert_eq!(failure.message, "panicked at src/lib.rs:7:9: no such user: 42");
    assert!(failure.stderr.unwrap_or_default().contains("RUST_BACKTRACE"));
    Ok(())
}

#[tokio::test]
async fn an_endless_start_function_times_out() -> anyhow::Result<()> {
    let attempt = TestHost::new()?.run("spin_start").await?;
    assert_eq!(attempt.report.instantiate, None);
    assert_eq!(failed(attempt)?.0.kind, FailureKind::Timeout);
    Ok(())
}

#[tokio::test]
async fn the_shortest_time_limit_counts() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let mut job = job_of("spin", null());
    let (failure, _) = failed(
        host.attempt(&host.load_with("spin", r#"timeout = "40ms""#)?, &job)
            .await,
    )?;
    assert_eq!(failure.message, "took longer than 40ms, the timeout in spin.toml");
    job.timeout_ns = 20_000_000;
    let (failure, _) = failed(
        host.attempt(&host.load_with("spin", r#"timeout = "40ms""#)?, &job)
            .await,
    )?;
    assert_eq!(failure.message, "took longer than 20ms, the timeout of its job");
    Ok(())
}

#[tokio::test]
async fn a_job_that_names_no_timeout_has_its_manifests() -> anyhow::Result<()> {
    let host = TestHost::with(&SandboxSettings::new(NonZeroU32::MIN))?;
    let job = job_of("remaining", null());
    for (manifest, seconds) in [(r#"timeout = "50s""#, 50_000), ("", 30_000)] {
        let attempt = host.attempt(&host.load_with("remaining", manifest)?, &job).await;
        let Outcome::Completed { result: Some(left_ms) } = attempt.outcome else {
            panic!("{:?}", attempt.outcome);
        };
        let left_ms: u64 = left_ms.trim_matches('"').parse()?;
        assert!((seconds - 10_000..=seconds).contains(&left_ms), "{manifest}: {left_ms}");
    }
    Ok(())
}

#[tokio::test]
async fn growing_beyond_the_limit_fails_as_memory() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let handler = host.load_with("grow", r#"max_memory = "4 MiB""#)?;
    let attempt = host.attempt(&handler, &job_of("grow", null())).await;
    assert!(attempt.report.peak_memory_bytes <= ByteSize::mib(4).as_u64());
    let (failure, _) = failed(attempt)?;
    assert_eq!(failure.kind, FailureKind::Memory);
    assert_eq!(
        failure.message,
        "wanted 4.1 MiB of memory; the limit max_memory is 4.0 MiB"
    );
    Ok(())
}

#[tokio::test]
async fn log_lines_over_the_limit_are_counted_and_dropped() -> anyhow::Result<()> {
    let attempt = TestHost::with(&settings_with(Duration::from_secs(30)))?
        .run("log_flood")
        .await?;
    let lines = attempt.report.log_lines;
    assert_eq!((lines.kept, lines.dropped), (1_000, 99_000));
    assert_completes(&attempt);
    Ok(())
}

#[tokio::test]
async fn output_over_the_limit_is_cut_from_the_front() -> anyhow::Result<()> {
    let attempt = TestHost::new()?.run("chatty").await?;
    assert_eq!(attempt.report.stdout.text.len(), 16 * 1024);
    assert_eq!(attempt.report.stdout.dropped_bytes, 4_000_000 - 16 * 1024);
    assert_completes(&attempt);
    Ok(())
}

#[tokio::test]
async fn a_handler_knows_the_time_it_has_left() -> anyhow::Result<()> {
    let attempt = TestHost::new()?.run("remaining").await?;
    assert_eq!(attempt.report.progress_percent, Some(40));
    let left: u64 = result(attempt)?.unwrap_or_default().trim_matches('"').parse()?;
    assert!((1..=300).contains(&left), "{left}");
    Ok(())
}

#[tokio::test]
async fn a_handler_reads_its_configuration() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let handler = host.load_with("config", "[config]\nanswer = \"42\"")?;
    assert_eq!(
        result(host.attempt(&handler, &job_of("config", null())).await)?.as_deref(),
        Some("42")
    );
    assert_eq!(result(host.run("config").await?)?, None);
    Ok(())
}

/// Runs itself again, in a shell that allows 4 GB of addresses.
#[test]
fn a_short_address_space_costs_the_pool_and_nothing_else() -> anyhow::Result<()> {
    const INSIDE: &str = "KILN_TEST_SHORT_ADDRESS_SPACE";
    if std::env::var_os(INSIDE).is_none() {
        let script =
            "ulimit -v 4000000; exec \"$0\" --exact sandbox::a_short_address_space_costs_the_pool_and_nothing_else";
        let exe = std::env::current_exe()?;
        let run = std::process::Command::new("sh")
            .arg("-c")
            .arg(script)
            .arg(exe)
            .env(INSIDE, "1")
            .output()?;
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
        assert!(
            String::from_utf8_lossy(&run.stdout).contains("1 passed"),
            "it did not find itself"
        );
        return Ok(());
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let settings = SandboxSettings {
                concurrency: NonZeroU32::new(64).unwrap(),
                ..settings()
            };
            let host = Arc::new(TestHost::with(&settings)?);
            assert!(host.sandbox.unpooled().is_some());
            let handler = host.load("echo")?;
            let (job, context) = (job_of("echo", json("[1]")), AttemptContext::default());
            for attempt in futures::future::join_all((0..200).map(|_| handler.run(&job, "default", &context))).await {
                assert_completes(&attempt);
            }
            assert_eq!(host.failure("spin").await?.0.kind, FailureKind::Timeout);
            Ok(())
        })
}
