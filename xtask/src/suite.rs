//! Runs the suite, and what failed in it once more.
//!
//! The suite's tests run beside each other, on whatever machine there is. One that fails there and passes alone has waited
//! for something that a busy machine does late: a bug of the test, to be mended, but no reason to turn a change away. It is
//! named at the end.

use std::io::{BufRead, BufReader, Write as _};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::shell::{Shell, say};

const SUITE: [&str; 3] = ["test", "--test", "suite"];

/// How many may fail to be run again. More of them are no coincidence.
const MOST: usize = 3;

/// Modules in which one failure counts, however often else they pass: they look for what goes wrong once in a thousand times.
const COUNT_ONCE: [&str; 6] = ["contract", "hostile", "leaks", "model", "sandbox", "simulation"];

pub(crate) fn run(sh: &Shell<'_>) -> Result<()> {
    let failed = attempt(sh)?;
    if failed.is_empty() {
        return Ok(());
    }
    let counts = |name: &String| name.split("::").any(|part| COUNT_ONCE.contains(&part));
    if failed.len() > MOST || failed.iter().any(counts) {
        bail!("the suite failed: {}", failed.join(", "));
    }
    say(&format!("once more, alone: {}", failed.join(", ")));
    let alone = ["--", "--exact", "--test-threads=1"];
    let names = failed.iter().map(String::as_str);
    sh.run("cargo", SUITE.into_iter().chain(alone).chain(names))?;
    say(&format!(
        "UNSTEADY, failed once and passed alone: {}",
        failed.join(", ")
    ));
    Ok(())
}

/// Runs all of it, and says which tests failed.
fn attempt(sh: &Shell<'_>) -> Result<Vec<String>> {
    let mut command = sh.command("cargo", SUITE);
    let mut cargo = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let printed = cargo.stdout.take().context("no standard output")?;
    let (mut failed, mut ended) = (Vec::new(), false);
    for line in BufReader::new(printed).lines() {
        let line = line?;
        writeln!(std::io::stdout(), "{line}")?;
        let name = line
            .strip_prefix("test ")
            .and_then(|line| line.strip_suffix(" ... FAILED"));
        failed.extend(name.map(str::to_owned));
        ended |= line.starts_with("test result: ");
    }
    let status = cargo.wait()?;
    if !status.success() && (failed.is_empty() || !ended) {
        bail!("the suite failed: {status}");
    }
    Ok(failed)
}
