//! Calls to the host, one after the other: they are interrupted, and counted, as a loop is.

use std::time::Duration;

use kiln::config::Manifest;
use kiln::job::null;
use kiln::outcome::FailureKind::Timeout;
use wit_component::StringEncoding;

use crate::guests::{hostile_component, hostile_component_in};
use crate::hostile::{HANDLE, PATIENCE, TIMEOUT, roomy, with_neighbours};
use crate::sandbox::{TestHost, failed, job_of};

/// Where the engine asks a guest whether it has to stop, there are functions and loops; here are none.
#[tokio::test]
async fn calls_in_a_row_are_interrupted_as_a_loop_is() -> anyhow::Result<()> {
    const LOG: &str = r#"(import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))"#;
    const RANDOM: &str = r#"(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))"#;
    const MEMORY: &str = r#"(memory (export "memory") 400)"#;
    let log = "(call $log (i32.const 2) (i32.const 64) (i32.const 0) (i32.const 4096) (i32.const 6000000))";
    let random = "(global.set $free (i32.const 4096)) (call $random (i64.const 65536) (i32.const 64))";
    let fill = "(memory.fill (i32.const 0) (i32.const 0) (i32.const 26000000))";
    let guest = |imports: &str, call: &str, times: usize, strings: StringEncoding| {
        let calls = call.repeat(times);
        hostile_component_in(&format!("{imports} {MEMORY} {HANDLE} {calls} unreachable)"), strings)
    };
    let host = TestHost::with(&roomy(TIMEOUT))?;
    for (name, bytes) in [
        ("text", guest(LOG, log, 10_000, StringEncoding::UTF8)?),
        ("wide text", guest(LOG, log, 3_000, StringEncoding::UTF16)?),
        ("random", guest(RANDOM, random, 50_000, StringEncoding::UTF8)?),
        ("fill", guest("", fill, 3_000, StringEncoding::UTF8)?),
        ("another component", calls_to_another_component(3_000)?),
    ] {
        let handler = host.sandbox.load("row", &bytes, &Manifest::default())?;
        let (attempts, mut beside) = with_neighbours(&host, &handler, &job_of("row", null())).await;
        for attempt in attempts {
            let took = attempt.report.duration;
            assert_eq!(failed(attempt)?.0.kind, Timeout, "{name}");
            assert!(took < 10 * TIMEOUT, "{name} took {took:?}");
        }
        beside.sort();
        let median = beside[beside.len() / 2];
        assert!(median < PATIENCE, "beside {name}, a neighbour took {median:?}");
    }
    Ok(())
}

/// A component of which one part hands another a long text, in another encoding, so many times in a row.
fn calls_to_another_component(times: usize) -> anyhow::Result<Vec<u8>> {
    let calls = "(call $take (i32.const 0) (i32.const 6000000))".repeat(times);
    let text = format!(
        r#"(component
        (import "kiln:job/types@0.1.0" (instance $types
            (type $j (record (field "id" string) (field "name" string) (field "queue" string) (field "payload" string)
                (field "attempt" u32) (field "max-attempts" u32) (field "created-at-ms" u64) (field "metadata" string)))
            (export "job" (type (eq $j)))
            (type $t (tuple string u64))
            (type $f (variant (case "retry" string) (case "retry-after" $t) (case "permanent" string)))
            (export "failure" (type (eq $f)))))
        (alias export $types "job" (type $job))
        (alias export $types "failure" (type $failure))
        (component $sink
            (core module $m
                (memory (export "memory") 400)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 64)
                (func (export "take") (param i32 i32)))
            (core instance $i (instantiate $m))
            (func (export "take") (param "text" string)
                (canon lift (core func $i "take") (memory $i "memory") (realloc (func $i "realloc")))))
        (instance $sink (instantiate $sink))
        (component $caller
            (import "take" (func $take (param "text" string)))
            (core module $memory (memory (export "memory") 400))
            (core instance $memory (instantiate $memory))
            (core func $lowered (canon lower (func $take) (memory $memory "memory") string-encoding=utf16))
            (core module $m
                (import "" "take" (func $take (param i32 i32)))
                (func $start {calls})
                (start $start))
            (core instance (instantiate $m (with "" (instance (export "take" (func $lowered)))))))
        (instance (instantiate $caller (with "take" (func $sink "take"))))
        (core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
            (func (export "handle") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32) (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (type $answer (result (option string) (error $failure)))
        (func $handle (param "job" $job) (result $answer)
            (canon lift (core func $i "handle") (memory $i "memory") (realloc (func $i "realloc"))))
        (instance $handler
            (export "job" (type $job)) (export "failure" (type $failure)) (export "handle" (func $handle)))
        (export "kiln:job/handler@0.1.0" (instance $handler)))"#
    );
    Ok(wat::parse_str(&text)?)
}

/// What calls in a row compute is computed for the guest.
#[tokio::test]
async fn calls_to_the_host_use_up_processor_time() -> anyhow::Result<()> {
    let host = TestHost::with(&roomy(Duration::from_mins(1)))?;
    let calls =
        "(call $log (i32.const 2) (i32.const 64) (i32.const 0) (i32.const 4096) (i32.const 6000000))".repeat(10_000);
    let text = format!(
        r#"(import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))
        (memory (export "memory") 400) {HANDLE} {calls} unreachable)"#
    );
    let manifest = toml::from_str("[limits]\ncpu_time = \"100ms\"")?;
    let handler = host.sandbox.load("row", &hostile_component(&text)?, &manifest)?;
    let attempt = host.attempt(&handler, &job_of("row", null())).await;
    let used = attempt.report.cpu;
    let (failure, _) = failed(attempt)?;
    assert_eq!(
        failure.message,
        "used more processor time than it may; the limit cpu_time is 100ms"
    );
    assert!(used < Duration::from_secs(1), "{used:?}");
    Ok(())
}
