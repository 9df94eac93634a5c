//! Programs of a language's toolchain: finds them, runs them, and hands on what they wrote.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::ProjectError;

/// How many lines of a tool's errors an author is shown.
const SCREEN_LINES: usize = 24;

/// One call of a program. Its output goes to standard error: standard output is for the command's own answer.
pub(super) struct Tool {
    program: PathBuf,
    command: Command,
}

impl Tool {
    /// A program by its path, to be run in a folder.
    pub(super) fn at(program: &Path, dir: &Path) -> Self {
        let mut command = Command::new(program);
        command.current_dir(dir).stdin(Stdio::null());
        Self {
            program: program.to_owned(),
            command,
        }
    }

    /// A program by its name.
    pub(super) fn named(name: &str, dir: &Path, install: &str) -> Result<Self, ProjectError> {
        let program = which::which(name).map_err(|_| ProjectError::missing(name, install))?;
        Ok(Self::at(&program, dir))
    }

    pub(super) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(super) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub(super) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(super) fn run(mut self) -> Result<(), ProjectError> {
        let said = io::stderr().as_fd().try_clone_to_owned();
        let status = said.and_then(|stderr| self.command.stdout(stderr).status());
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(ProjectError::Failed {
                program: self.program,
                status,
            }),
            Err(source) => Err(ProjectError::Start {
                program: self.program,
                source,
            }),
        }
    }

    /// Runs the program and hands on its output. If it failed, hands on what `explain` makes of the output.
    pub(super) fn run_explained(mut self, explain: impl FnOnce(&str) -> String) -> Result<(), ProjectError> {
        let done = self.command.output().map_err(|source| ProjectError::Start {
            program: self.program.clone(),
            source,
        })?;
        let said = [done.stdout, done.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        if done.status.success() {
            let _ = io::stderr().write_all(said.as_bytes());
            return Ok(());
        }
        let _ = io::stderr().write_all(on_a_screen(&explain(&said)).as_bytes());
        Err(ProjectError::Failed {
            program: self.program,
            status: done.status,
        })
    }

    /// Runs the program and returns what it wrote to standard output.
    pub(super) fn read(mut self) -> Result<String, ProjectError> {
        let done = self.command.stderr(Stdio::inherit()).output();
        match done {
            Ok(done) if done.status.success() => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
            Ok(done) => Err(ProjectError::Failed {
                program: self.program,
                status: done.status,
            }),
            Err(source) => Err(ProjectError::Start {
                program: self.program,
                source,
            }),
        }
    }
}

/// The first and the last lines of a long text.
fn on_a_screen(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let Some(left_out) = lines.len().checked_sub(SCREEN_LINES).filter(|more| *more > 0) else {
        return text.to_owned();
    };
    let (start, rest) = lines.split_at(SCREEN_LINES / 3);
    let end = &rest[left_out..];
    format!("{}\n… {left_out} lines more …\n{}\n", start.join("\n"), end.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_complaint_keeps_its_beginning_and_its_end() {
        let text = |lines: usize| "tea\n".repeat(lines - 1) + "end\n";
        assert_eq!(on_a_screen(&text(SCREEN_LINES)), text(SCREEN_LINES));
        let shown = on_a_screen(&text(100));
        assert_eq!(shown.lines().count(), SCREEN_LINES + 1);
        assert!(
            shown.starts_with("tea\ntea\n") && shown.ends_with("tea\nend\n"),
            "{shown}"
        );
        assert!(shown.contains("\n… 76 lines more …\n"), "{shown}");
    }
}
