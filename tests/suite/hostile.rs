//! A corpus of guests that misbehave: how each ends, and that their neighbours go on meanwhile.
//!
//! Each is a few lines of text in `tests/guests/hostile`, some in `tests/guests`. What stays behind after all of them is
//! told in `aftermath`; what no text file can hold is made here.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use kiln::config::{Limit, Manifest, SandboxSettings, Source};
use kiln::job::{Job, null};
use kiln::outcome::FailureKind::{self, Denied, Error, Memory, Rejected, Timeout, Trap};
use kiln::outcome::{Attempt, Outcome, RetryHint};
use kiln::sandbox::{AttemptContext, Handler};

use crate::guests::{guest, guests_folder, hostile_component, hostile_guest, hostile_text};
use crate::sandbox::{TestHost, assert_completes, failed, job_of, settings_with};

/// How a hostile guest ends.
enum End {
    /// It fails in this way, with this message.
    Fails(FailureKind, &'static str),
    /// It completes: all it did was in vain.
    Completes,
    /// It does not even load, for this reason.
    Refused(&'static str),
}
use End::{Completes, Fails, Refused};

pub(crate) const HANDLE: &str = r#"(func (export "kiln:job/handler@0.1.0#handle") (type $handle)"#;

/// The time that an attempt has which would go on for ever.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(300);
/// The time that one has which ends by itself.
const LONG_TIMEOUT: Duration = Duration::from_secs(30);
const TIMED_OUT: End = Fails(Timeout, "took longer than 300ms, the limit timeout of the host");
const UNREACHABLE: End = Fails(Trap, "wasm `unreachable` instruction executed");
const STACK: End = Fails(Trap, "call stack exhausted; the limit stack is 512.0 KiB");
const HANDLES: End = Fails(
    Trap,
    "held too many resource handles at once; the limit handles is 1024",
);
const NO_LEAVE: End = Fails(Trap, "cannot leave component instance");
const BEYOND: End = Fails(Trap, "realloc return: beyond end of memory");
const NO_TEXT: End = Fails(Trap, "string pointer/length out of bounds of memory");

/// Every guest of the corpus.
#[rustfmt::skip]
const CORPUS: &[(&str, End)] = &[
    // Processor time, stack, and what the machine cannot do.
    ("spin", TIMED_OUT),
    ("spin_start", TIMED_OUT),
    ("tail_call", TIMED_OUT),
    ("recurse", STACK),
    ("recurse_indirect", STACK),
    ("fat_frames", STACK),
    ("trap", UNREACHABLE),
    ("start_trap", UNREACHABLE),
    ("endless_name", UNREACHABLE),
    ("panic", Fails(Trap, "panicked at src/lib.rs:7:9: no such user: 42")),
    ("divide", Fails(Trap, "integer divide by zero")),
    ("overflow", Fails(Trap, "integer overflow")),
    ("no_integer", Fails(Trap, "invalid conversion to integer")),
    ("out_of_bounds", Fails(
            Trap,
            "out of bounds memory access: a wild pointer, or more stack than it is linked with (docs/languages.md: Stack)",
        )),
    ("data_beyond", Fails(
            Trap,
            "out of bounds memory access: a wild pointer, or more stack than it is linked with (docs/languages.md: Stack)",
        )),
    ("data_overlaps", Completes),
    ("null_call", Fails(Trap, "uninitialized element")),
    ("wrong_call", Fails(Trap, "indirect call type mismatch")),
    ("call_beyond", Fails(Trap, "undefined element: out of bounds table access")),
    ("simd", Completes),
    // Memory and tables.
    ("grow", Fails(Memory, "wanted 128.1 MiB of memory; the limit max_memory is 128.0 MiB")),
    ("grow_another", Fails(Memory, "wanted 128.1 MiB of memory; the limit max_memory is 128.0 MiB")),
    ("grow_at_once", Fails(Memory, "wanted 4.0 GiB of memory; the limit max_memory is 128.0 MiB")),
    ("grow_beyond_own", Completes),
    ("two_memories", Fails(Memory, "wanted 160.0 MiB of memory; the limit max_memory is 128.0 MiB")),
    ("big", Refused("needs 256.0 MiB of memory to start; the limit is 128.0 MiB: raise max_memory in its manifest")),
    ("wide_memory", Fails(Memory, "wanted 1.0 EiB of memory; the limit max_memory is 128.0 MiB")),
    ("wide_overflow", Fails(Memory, "wanted 16.0 EiB of memory; the limit max_memory is 128.0 MiB")),
    ("table_grow", Fails(Memory, "wanted 66000 table elements; the limit table_elements is 65536")),
    ("table_at_once", Fails(Memory, "wanted 4294967295 table elements; the limit table_elements is 65536")),
    ("tables_huge", Fails(Memory, "wanted 80000 table elements; the limit table_elements is 65536")),
    ("table_huge", Refused("does not compile: module table does not fit in pooling allocator requirements: \
        table index 0 has a minimum element size of 10000000 which exceeds the limit of 262144")),
    ("fill", TIMED_OUT),
    ("copy", TIMED_OUT),
    ("table_fill", TIMED_OUT),
    // What it returns.
    ("unaligned", Fails(Trap, "return pointer not aligned")),
    ("beyond", Fails(Trap, "pointer out of bounds of memory")),
    ("bad_pointer", NO_TEXT),
    ("endless_text", NO_TEXT),
    ("bad_utf8", Fails(Trap, "invalid utf-8 sequence of 1 bytes from index 0")),
    ("neither", Fails(Trap, "invalid expected discriminant")),
    ("perhaps", Fails(Trap, "invalid option discriminant")),
    ("no_failure", Fails(Trap, "unexpected discriminant: 3")),
    ("not_json", Fails(Rejected, "returned ok with a result that is not JSON: expected value at line 1 column 1")),
    ("deep_json", Fails(Rejected, "returned ok with a result that is not JSON: \
        EOF while parsing a list at line 1 column 10000000")),
    ("huge_result", Fails(Rejected, "returned ok with a result of 20.0 MiB; the limit result_bytes is 16.0 MiB")),
    ("post_trap", UNREACHABLE),
    ("post_spin", TIMED_OUT),
    ("post_call", NO_LEAVE),
    // Where it says its job may be written.
    ("realloc_beyond", BEYOND),
    ("realloc_end", BEYOND),
    ("realloc_null", Completes),
    ("realloc_unaligned", Fails(Trap, "realloc return: result not aligned")),
    ("realloc_trap", UNREACHABLE),
    ("realloc_spin", TIMED_OUT),
    ("realloc_call", NO_LEAVE),
    // Handles.
    ("hoard_timers", HANDLES),
    ("hoard_streams", HANDLES),
    ("hoard_fields", HANDLES),
    ("hoard_requests", Fails(Denied, "http request to anywhere: not granted; \
        add [[grants.http]] with its origin to hoard_requests.toml")),
    ("forged_handle", Fails(Trap, "unknown handle index 7")),
    ("highest_handle", Fails(Trap, "unknown handle index 4294967295")),
    ("dropped_twice", Fails(Trap, "unknown handle index 1")),
    ("used_after_drop", Fails(Trap, "unknown handle index 1")),
    ("another_kind", Fails(Trap, "handle index 1 used with the wrong type, \
        expected guest-defined resource but found a different guest-defined resource")),
    ("orphan", Fails(Trap, "resource has children")),
    ("tmp_hoard", HANDLES),
    ("tmp_fill", Completes),
    ("tmp_many", Completes),
    ("tmp_escape", Completes),
    // Calls to the host.
    ("spin_clock", TIMED_OUT),
    ("spin_random", TIMED_OUT),
    ("spin_config", TIMED_OUT),
    ("spin_ready", TIMED_OUT),
    ("random_flood", TIMED_OUT),
    ("random_at_once", Fails(Trap, "asked for too many random bytes at once; the limit random_bytes is 64.0 KiB")),
    ("sleep", TIMED_OUT),
    ("sleep_for_ever", TIMED_OUT),
    ("sleep_until_ever", TIMED_OUT),
    ("poll_nothing", Fails(Trap, "empty poll list")),
    ("poll_many", HANDLES),
    ("poll_spin", TIMED_OUT),
    ("poll_endless", Fails(Trap, "list pointer/length out of bounds of memory")),
    ("fields_list", TIMED_OUT),
    ("exchange_wait", TIMED_OUT),
    ("exchange_none", Completes),
    ("state_none", Fails(Denied, "state bucket \"a\\u001b\\nb\": not granted; \
        add [grants.state.a\\u001b\\nb] to state_none.toml")),
    ("jobs_none", Fails(Denied, "job \"a\\u001b\\nb\": not granted; add it to names in [grants.jobs] of jobs_none.toml")),
    ("state_many", Fails(Trap, "handed too much to the host in one call; the limit hostcall_bytes is 24.0 MiB")),
    ("stdin", Completes),
    ("surroundings", Completes),
    ("clocks", Completes),
    ("sockets", Completes),
    ("sockets_lookup", Fails(Denied, "tcp connection to localhost: not granted; \
        add [[grants.tcp]] address = \"localhost:\" and its port to sockets_lookup.toml")),
    ("tcp_none", Completes),
    ("tcp_none_granted", Fails(Denied, "tcp connection to 169.254.169.254:80: not granted; \
        add [[grants.tcp]] address = \"169.254.169.254:80\" to tcp_none_granted.toml")),
    ("tcp_wait", TIMED_OUT),
    ("exit", Fails(Trap, "called exit, with a failure")),
    ("exit_ok", Fails(Trap, "called exit, with success, before it had answered")),
    // Words.
    ("log_endless", Fails(Trap, "handed too much to the host in one call; the limit hostcall_bytes is 24.0 MiB")),
    ("log_long", TIMED_OUT),
    ("log_no_utf8", Fails(Trap, "invalid utf-8 sequence of 1 bytes from index 0")),
    ("log_no_level", Fails(Trap, "unexpected discriminant: 77")),
    ("log_beyond", NO_TEXT),
    ("log_forged", Completes),
    ("progress_flood", TIMED_OUT),
    ("chatty", Completes),
    ("output_at_once", Completes),
    ("output_flood", TIMED_OUT),
    ("output_zeroes", Fails(Trap, "cannot write more zeroes than `check_write` allows")),
    ("forged_message", Fails(Rejected, "no; \\u001b[2Jjob completed id=7 \\u0000\\u009b")),
];

/// Guests of the folder that take a payload, or say too much for a table: each has a test of its own.
const OTHERS: &[&str] = &["connect", "forged_panic", "long_message", "never_again", "prowler"];

/// Attempts of a guest at once: more than there are guest threads.
const ATTEMPTS: usize = 4;

/// Attempts of a neighbour that are made at least, however soon the guest ends.
const NEIGHBOURS: usize = 10;

/// What a neighbour's attempt, of microseconds, may take at the worst beside a hostile guest on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// The component of a guest of the corpus.
pub(crate) fn load(name: &str) -> anyhow::Result<Vec<u8>> {
    if guests_folder().join(name).with_extension("wat").exists() {
        guest(name)
    } else {
        hostile_guest(name)
    }
}

/// The names of all guests that load.
pub(crate) fn corpus() -> impl Iterator<Item = &'static str> {
    let loads = |(_, end): &&(&str, End)| !matches!(end, Refused(_));
    CORPUS
        .iter()
        .filter(loads)
        .map(|(name, _)| *name)
        .chain(["forged_panic", "long_message", "never_again"])
}

#[test]
fn every_hostile_guest_has_its_end_in_the_table() -> anyhow::Result<()> {
    for entry in std::fs::read_dir(guests_folder().join("hostile"))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "wat") {
            assert!(
                CORPUS.iter().any(|(known, _)| *known == name) || OTHERS.contains(&name),
                "{name}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_hostile_guest_ends_as_it_should_while_its_neighbours_go_on() -> anyhow::Result<()> {
    // What ends by itself shares its thread with others, and may have to wait for longer than what never ends is given.
    let (short, long) = (TestHost::with(&roomy(TIMEOUT))?, TestHost::with(&roomy(LONG_TIMEOUT))?);
    let (mut neighbours, mut wrong) = (Vec::new(), Vec::new());
    for (name, end) in CORPUS {
        let host = if matches!(end, Fails(Timeout, _)) {
            &short
        } else {
            &long
        };
        let bytes = load(name)?;
        let (kind, message) = match end {
            Refused(refusal) => {
                assert_eq!(host.refusal(&bytes), *refusal, "{name}");
                continue;
            }
            Fails(kind, message) => (Some(*kind), *message),
            Completes => (None, ""),
        };
        let handler = host.sandbox.load(name, &bytes, &Manifest::default())?;
        let (attempts, mut beside) = with_neighbours(host, &handler, &job_of(name, null())).await;
        let ends = attempts.iter().filter_map(|attempt| wrong_end(attempt, kind, message));
        wrong.extend(ends.map(|end| format!("{name}: {end}")));
        beside.sort();
        let median = beside[beside.len() / 2];
        if median >= PATIENCE {
            wrong.push(format!("{name}: its neighbours took {median:?}"));
        }
        neighbours.extend_from_slice(&beside[..beside.len().min(100)]);
        neighbours.extend_from_slice(&beside[beside.len().saturating_sub(100)..]);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    neighbours.sort();
    let p90 = neighbours[neighbours.len() * 9 / 10];
    assert!(p90 < PATIENCE, "the 90th percentile is {p90:?}");
    Ok(())
}

/// Runs several attempts of one guest at once and, all the while, those of a neighbour, which have to complete: one after
/// another, and how long each took.
pub(crate) async fn with_neighbours(host: &TestHost, handler: &Handler, job: &Job) -> (Vec<Attempt>, Vec<Duration>) {
    let (context, over) = (AttemptContext::default(), Cell::new(false));
    let other = job_of("neighbour", null());
    let attempts = async {
        let attempts = join_all((0..ATTEMPTS).map(|_| handler.run(job, "default", &context))).await;
        over.set(true);
        attempts
    };
    let neighbours = async {
        let mut took = Vec::new();
        while !over.get() || took.len() < NEIGHBOURS {
            let started = Instant::now();
            assert_completes(&host.neighbour.run(&other, "default", &context).await);
            took.push(started.elapsed());
        }
        took
    };
    join(attempts, neighbours).await
}

/// Settings under which an attempt may take so long, and hand over more than by default: what that does is asked here.
pub(crate) fn roomy(timeout: Duration) -> SandboxSettings {
    let mut settings = settings_with(timeout);
    for (limit, value) in [
        (Limit::HostcallBytes, 24 << 20),
        (Limit::ResultBytes, 16 << 20),
        (Limit::Handles, 1024),
    ] {
        settings.limits.set(limit, value, value, Source::Host);
    }
    settings
}

/// What is wrong about how an attempt ended, if it should have failed in this way or completed.
fn wrong_end(attempt: &Attempt, kind: Option<FailureKind>, message: &str) -> Option<String> {
    let right = match (&attempt.outcome, kind) {
        (Outcome::Completed { .. }, None) => true,
        (Outcome::Failed { failure, retry }, Some(kind)) => {
            let hint = if matches!(kind, Rejected | Denied) {
                RetryHint::Never
            } else {
                RetryHint::ByPolicy
            };
            let in_time = kind != Timeout || attempt.report.duration >= TIMEOUT;
            failure.kind == kind && failure.message == message && *retry == hint && in_time
        }
        _ => false,
    };
    (!right).then(|| format!("{:?} after {:?}", attempt.outcome, attempt.report.duration))
}

/// Half a gigabyte takes a fifth of a second to write, on as many threads as there are: nobody could wait that out.
#[tokio::test]
async fn one_instruction_over_a_large_memory_keeps_nobody_waiting() -> anyhow::Result<()> {
    let host = TestHost::with(&roomy(TIMEOUT))?;
    let text = hostile_text("fill")?
        .replace("2046", "8190")
        .replace("134213632", "536866816");
    let manifest = toml::from_str(r#"max_memory = "512 MiB""#)?;
    let handler = host.sandbox.load("fill", &hostile_component(&text)?, &manifest)?;
    let (attempts, beside) = with_neighbours(&host, &handler, &job_of("fill", null())).await;
    // Those that wait for a thread while others write may not come to it in time.
    let peak = attempts.iter().map(|attempt| attempt.report.peak_memory_bytes).max();
    assert_eq!(peak, Some(512 * 1024 * 1024));
    for attempt in attempts {
        assert_eq!(failed(attempt)?.0.kind, Timeout);
    }
    let mut beside = beside;
    beside.sort();
    let most = beside[beside.len() * 9 / 10];
    assert!(most < PATIENCE, "nine of ten neighbours took up to {most:?}");
    Ok(())
}

#[tokio::test]
async fn what_a_guest_says_is_bounded_however_much_it_is() -> anyhow::Result<()> {
    let host = TestHost::with(&roomy(Duration::from_secs(30)))?;
    let run = async |name: &str| {
        let handler = host.sandbox.load(name, &load(name)?, &Manifest::default())?;
        anyhow::Ok(host.attempt(&handler, &job_of(name, null())).await)
    };
    let (failure, retry) = failed(run("long_message").await?)?;
    assert_eq!(failure.message, format!("{}…", "a".repeat(4096)));
    assert_eq!((failure.kind, retry), (Rejected, RetryHint::Never));
    assert!(failure.message.capacity() < 64 * 1024, "what was cut off is given back");
    let (failure, _) = failed(run("forged_panic").await?)?;
    assert!(
        failure
            .message
            .starts_with("panicked at \\u001b[2J; job completed i\\u001b"),
        "{failure}"
    );
    assert!(!failure.message.contains(char::is_control) && failure.message.len() < 16 * 1024);
    let (failure, retry) = failed(run("never_again").await?)?;
    assert_eq!((failure.kind, failure.message.as_str()), (Error, "later"));
    assert_eq!(retry, RetryHint::NotBefore(Duration::from_millis(u64::MAX)));
    let report = run("output_at_once").await?.report;
    for output in [report.stdout, report.stderr] {
        assert_eq!(
            (output.text.len(), output.dropped_bytes),
            (16 * 1024, 10_000_000 - 16 * 1024)
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_socket_reaches_nobody_without_a_grant() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let host = TestHost::with(&roomy(TIMEOUT))?;
    let handler = host.sandbox.load("connect", &load("connect")?, &Manifest::default())?;
    let job = job_of("connect", crate::sandbox::json(&port.to_string()));
    let (failure, _) = failed(host.attempt(&handler, &job).await)?;
    let told = format!(
        "tcp connection to 127.0.0.1:{port}: not granted; add [[grants.tcp]] address = \"127.0.0.1:{port}\" to connect.toml"
    );
    assert_eq!(failure.message, told);
    // Whoever connected first is accepted first: nobody came before this.
    let own = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let (_, first) = listener.accept().await?;
    assert_eq!(first, own.local_addr()?);
    Ok(())
}

#[tokio::test]
async fn a_guest_of_monstrous_shape_ends_like_any_other() -> anyhow::Result<()> {
    pub(crate) const HANDLE: &str = r#"(func (export "kiln:job/handler@0.1.0#handle") (type $handle)"#;
    let nested = format!(
        "{HANDLE} {} {} i32.const 0)",
        "block ".repeat(10_000),
        "end ".repeat(10_000)
    );
    let values = format!(
        "{HANDLE} (local {}) (call $deeper (i32.const 0)) i32.const 0)
         (func $deeper (param i32) (local {0}) (local.set 40000 (i64.const 1)) (call $deeper (local.get 0)))",
        "i64 ".repeat(40_000)
    );
    let name = "n".repeat(90_000);
    let named = format!("(func ${name} unreachable) {HANDLE} (call ${name}) i32.const 0)");
    let host = TestHost::with(&roomy(TIMEOUT))?;
    for (text, end) in [(nested, Completes), (values, STACK), (named, UNREACHABLE)] {
        let handler = host
            .sandbox
            .load("shape", &hostile_component(&text)?, &Manifest::default())?;
        let attempt = host.attempt(&handler, &job_of("shape", null())).await;
        if let Outcome::Failed { failure, .. } = &attempt.outcome {
            assert!(
                failure
                    .backtrace
                    .as_ref()
                    .is_some_and(|frames| frames.len() <= 16 * 1024)
            );
        }
        let (kind, message) = match end {
            Fails(kind, message) => (Some(kind), message),
            _ => (None, ""),
        };
        assert_eq!(wrong_end(&attempt, kind, message), None);
    }
    Ok(())
}

#[tokio::test]
async fn a_component_of_too_many_parts_or_of_parts_there_are_not_does_not_load() -> anyhow::Result<()> {
    let host = TestHost::with(&roomy(TIMEOUT))?;
    let refusal = |part: &str, times: usize| {
        anyhow::Ok(host.refusal(&hostile_component(&format!(
            "{}{HANDLE} i32.const 0)",
            part.repeat(times)
        ))?))
    };
    let instances = "(core instance (instantiate $m))".repeat(65);
    let instances = wat::parse_str(format!("(component (core module $m) {instances})"))?;
    let refusals = [
        refusal("(memory 1)", 8)?,
        refusal("(table 1 funcref)", 33)?,
        host.refusal(&instances),
        refusal("(tag $oops) (func (throw $oops))", 1)?,
        refusal(
            "(type $s (struct (field i32))) (func (drop (struct.new $s (i32.const 1))))",
            1,
        )?,
        refusal("(memory 1 1 shared)", 1)?,
    ];
    let expected = [
        "module memory does not fit in pooling allocator requirements: \
         defined memories count of 9 exceeds the per-instance limit of 8",
        "module table does not fit in pooling allocator requirements: \
         defined tables count of 33 exceeds the per-instance limit of 32",
        "The component transitively contains 65 core module instances, \
         which exceeds the configured maximum of 64 in the pooling allocator",
        "failed to parse WebAssembly module: exceptions proposal not enabled",
        "failed to parse WebAssembly module: cannot define struct types when gc types are disabled",
        "failed to parse WebAssembly module: threads must be enabled for shared memories",
    ];
    for (refusal, expected) in refusals.iter().zip(expected) {
        let reason = refusal.strip_prefix("does not compile: ").unwrap_or(refusal);
        assert_eq!(reason.split(" (at offset").next(), Some(expected));
    }
    Ok(())
}
