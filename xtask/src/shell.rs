//! Runs other programs, loudly when they fail.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Announces a step, so that whoever waits knows for what.
pub(crate) fn say(step: &str) {
    eprintln!("== {step}");
}

/// Where programs run, and with what environment.
pub(crate) struct Shell<'a> {
    dir: &'a Path,
    env: Vec<(&'static str, PathBuf)>,
}

impl<'a> Shell<'a> {
    pub(crate) fn in_dir(dir: &'a Path) -> Self {
        Self { dir, env: Vec::new() }
    }

    pub(crate) fn env(mut self, name: &'static str, value: PathBuf) -> Self {
        self.env.push((name, value));
        self
    }

    /// Runs a program with its output on this terminal.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = A>) -> Result<()> {
        let mut command = self.command(program, args);
        let status = command.status().with_context(|| format!("cannot start {program}"))?;
        if !status.success() {
            bail!("{} failed: {status}", line(&command));
        }
        Ok(())
    }

    /// What a program prints, without the last line's end.
    pub(crate) fn read<A: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = A>) -> Result<String> {
        let mut command = self.command(program, args);
        let output = command
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {program}"))?;
        if !output.status.success() {
            bail!("{} failed: {}", line(&command), output.status);
        }
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    pub(crate) fn command<A: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.dir)
            .args(args)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        // What cargo says of this package would have build scripts run anew that look at theirs, and half of what Kiln
        // depends on be compiled again.
        for (name, _) in std::env::vars_os() {
            let told = name.to_string_lossy();
            if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command
    }
}

/// A command as it would be typed, more or less.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
