//! Why a component does not load, in words that tell its author what to do.

use std::fmt::Write as _;

use kiln::config::Manifest;

use crate::guests::{component_of, core_module, guest, stranger};
use crate::sandbox::TestHost;

const HANDLER: &str = "export kiln:job/handler@0.1.0;";

/// Asserts what is said of a component.
fn refused(host: &TestHost, bytes: &[u8], said: &str) {
    let found = host.refusal(bytes);
    assert_eq!(found, said);
    assert!(
        !found.contains(char::is_control) && found.len() < 1_000,
        "one bounded line: {found}"
    );
}

#[tokio::test]
async fn what_is_no_handler_is_told_what_it_is() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    refused(
        &host,
        &stranger(
            "export wasi:cli/run@0.2.0;",
            &[],
            "package wasi:cli@0.2.0 { interface run { run: func() -> result; } }",
        )?,
        "a program (it exports wasi:cli/run), not a handler: build it as a library (for Rust crate-type = [\"cdylib\"]) \
         that exports kiln:job/handler@0.1.0",
    );
    refused(
        &host,
        &stranger(
            "export wasi:http/incoming-handler@0.2.0;",
            &[],
            "package wasi:http@0.2.0 { interface incoming-handler { handle: func(); } }",
        )?,
        "an HTTP server (it exports wasi:http/incoming-handler@0.2.0), not a handler of jobs: export \
         kiln:job/handler@0.1.0 instead",
    );
    refused(
        &host,
        &stranger(
            HANDLER,
            &[("kiln:job@0.1.0", "kiln:job@0.3.0"), ("handler@0.1.0", "handler@0.3.0")],
            "",
        )?,
        "exports kiln:job/handler@0.3.0; this host speaks 0.1: build it against the wit folder of this version of Kiln",
    );
    refused(
        &host,
        &wat::parse_str("(component)")?,
        "does not export kiln:job/handler@0.1.0; it exports nothing",
    );
    refused(
        &host,
        &component_of("other", r#"(module (func (export "guests:missing/cellar@1.0.0#get")))"#)?,
        "does not export kiln:job/handler@0.1.0; it exports guests:missing/cellar@1.0.0",
    );
    refused(
        &host,
        &core_module("ok")?,
        "a core module, not a component: build it for wasm32-wasip2, or make one of it with kiln build --core FILE",
    );
    refused(
        &host,
        &wat::parse_str(r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)))"#)?,
        "a core module for wasi_snapshot_preview1, not a component: build it for wasm32-wasip2, or make one \
         of it with kiln build --core FILE",
    );
    Ok(())
}

#[tokio::test]
async fn every_import_that_is_not_offered_is_named_with_the_reason() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    refused(
        &host,
        &guest("not_offered")?,
        "imports guests:missing/cellar@1.0.0: not offered; guests:missing/attic@1.0.0: not offered: build it without, or \
         against what is offered",
    );
    let near = [
        ("wasi:http/types@0.3.0", "this host offers 0.2"),
        ("wasi:config/store@0.2.0-draft", "this host offers 0.2.0-rc.1"),
        ("wasi:keyvalue/store@0.2.0", "this host offers 0.2.0-draft2"),
        ("wasi:blobstore/blobstore@0.2.0", "not offered"),
        ("kiln:job/context@0.2.0", "this host offers 0.1"),
    ];
    for (import, reason) in near {
        let (path, version) = import.split_once('@').expect("a version");
        let (package, interface) = path.split_once('/').expect("an interface");
        let other = format!("package {package}@{version} {{ interface {interface} {{ f: func(); }} }}");
        refused(
            &host,
            &stranger(&format!("import {import}; {HANDLER}"), &[], &other)?,
            &format!("imports {import}: {reason}: build it without, or against what is offered"),
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_type_that_differs_is_named_as_wit_has_it() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let world = format!("import kiln:job/context@0.1.0; {HANDLER}");
    let handle = "handle: func(job: job) -> result<option<string>, failure>;";
    let cases = [
        (
            ("metadata: string,", ""),
            "kiln:job/handler@0.1.0: handle: parameter job: field metadata is missing",
        ),
        (
            ("metadata: string,", "metadata: string, tenant: string,"),
            "kiln:job/handler@0.1.0: handle: parameter job: field tenant is unknown to this host",
        ),
        (
            ("attempt: u32,", "attempt: u64,"),
            "kiln:job/handler@0.1.0: handle: parameter job, field attempt: expected u32, found u64",
        ),
        (
            ("retry-after(tuple<string, u64>)", "retry-after(u64)"),
            "kiln:job/handler@0.1.0: handle: result, error, case retry-after: expected tuple<string, u64>, found u64",
        ),
        (
            (
                handle,
                "handle: func(job: job, deadline: u64) -> result<option<string>, failure>;",
            ),
            "kiln:job/handler@0.1.0: handle: expected func(job: a record) -> result<option<string>, a variant>, found \
             func(job: a record, deadline: u64) -> result<option<string>, a variant>",
        ),
        (
            (handle, "handle: func(job: job) -> result<string, failure>;"),
            "kiln:job/handler@0.1.0: handle: result, ok: expected option<string>, found string",
        ),
        (
            ("handle: func(", "run: func("),
            "kiln:job/handler@0.1.0: it lacks the function handle",
        ),
        (
            ("progress: func(percent: u8,", "progress: func(percent: f32,"),
            "kiln:job/context@0.1.0: progress: parameter percent: expected u8, found f32",
        ),
        (
            ("is-cancelled: func()", "is-stopped: func()"),
            "kiln:job/context@0.1.0: this host has no function is-stopped",
        ),
    ];
    for (edit, said) in cases {
        let said = format!("was built against other interfaces: {said}");
        refused(&host, &stranger(&world, &[edit], "")?, &said);
    }
    Ok(())
}

#[tokio::test]
async fn a_name_out_of_a_component_reaches_no_terminal_raw_or_at_full_length() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let long = "a".repeat(50_000);
    let bytes = wat::parse_str(format!(
        r#"(component
            (import "url=<\1b[2J>" (core module))
            (import "{long}" (func))
            (instance $empty)
            (export "{long}" (instance $empty))
            (export "kiln:job/handler@0.1.0" (instance $empty)))"#
    ))?;
    let found = host.sandbox.inspect(&bytes, &Manifest::default())?;
    let names = found.imports.iter().map(|import| &import.name).chain(&found.exports);
    for name in names {
        assert!(
            !name.contains(char::is_control) && name.chars().count() < 200,
            "{name:?}"
        );
    }
    let said = host.refusal(&bytes);
    assert!(
        said.starts_with("imports url=<\\u001b[2J>: not offered; aaaa") && said.len() < 500,
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn thousands_of_imports_are_counted_not_listed() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let imports = |count: u32| -> anyhow::Result<_> {
        let mut imports = String::new();
        for n in 0..count {
            write!(imports, r#"(import "f{n}" (func))"#)?;
        }
        Ok(wat::parse_str(format!(
            r#"(component {imports} (instance $empty) (export "kiln:job/handler@0.1.0" (instance $empty)))"#
        ))?)
    };
    let said = host.refusal(&imports(1_000)?);
    assert!(
        said.ends_with("f9: not offered; and 990 more: build it without, or against what is offered"),
        "{said}"
    );
    refused(&host, &imports(1_001)?, "has 1001 imports; the limit is 1000");
    Ok(())
}
