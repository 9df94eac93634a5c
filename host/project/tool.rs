//! Programs of a language's toolchain: found, run, and what they said handed on.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::ProjectError;

/// One call of a program. What it says goes to standard error: standard output is for the command's own answer.
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

    /// Runs it for what it writes to standard output.
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
