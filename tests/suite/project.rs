//! A project that `kiln new` has made, and what is done with it: build it, run what it built.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{compiled, kiln};

/// The checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the compilers are that `cargo xtask test` provides, before all others.
fn path() -> OsString {
    let ours = root().join("target/toolchains/bin");
    assert!(ours.is_dir(), "there are no compilers; run: cargo xtask plugins");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(ours).chain(std::env::split_paths(&path))).expect("a path")
}

pub(crate) fn said(command: &mut Command) -> anyhow::Result<(i32, String)> {
    let output = command.output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code().unwrap_or(-1), String::from_utf8(text)?))
}

/// A new project, with what its language's own tools would have fetched for it.
pub(crate) fn project(parent: &Path, language: &str) -> anyhow::Result<PathBuf> {
    let (code, told) = said(
        kiln()
            .args(["new", "order-total", "--lang", language, "--parent"])
            .arg(parent),
    )?;
    anyhow::ensure!(code == 0, "{told}");
    let folder = parent.join("order-total");
    if folder.join("package.json").is_file() {
        let fetched = root().join("tests/handlers").join(language).join("node_modules");
        std::os::unix::fs::symlink(fetched, folder.join("node_modules"))?;
    }
    Ok(folder)
}

pub(crate) fn build(folder: &Path) -> Command {
    let mut command = kiln();
    command
        .arg("build")
        .arg(folder)
        .arg("--cache-dir")
        .arg(compiled())
        .env("PATH", path())
        // What is compiled for one test need not be for the next.
        .env(
            "CARGO_TARGET_DIR",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("projects"),
        );
    // Where the installed compiler has no library for handlers, `cargo xtask test` has made one that has.
    if let Some(rustc) = std::env::var_os("KILN_TEST_RUSTC") {
        command.env("RUSTC", rustc);
    }
    command
}

/// One attempt at the built handler: exit code, result or what was said.
pub(crate) fn run(folder: &Path, payload: &Value) -> anyhow::Result<(Option<i32>, String, String)> {
    let output = kiln()
        .args(["run", "--cache-dir"])
        .arg(compiled())
        .arg(folder.join("build/order-total.wasm"))
        .arg(payload.to_string())
        .output()?;
    Ok((
        output.status.code(),
        String::from_utf8(output.stdout)?,
        String::from_utf8(output.stderr)?,
    ))
}
