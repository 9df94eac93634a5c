//! A process of the test's own: signalled by its id, and gone when the test is.

use std::process::{Child, ChildStderr, Command, ExitStatus};

use anyhow::{Context, ensure};

use crate::support::eventually;

/// A child that is killed when this is dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command.spawn();
        Ok(Self(
            child.with_context(|| format!("{}", command.get_program().display()))?,
        ))
    }

    pub(crate) fn stderr(&mut self) -> Option<ChildStderr> {
        self.0.stderr.take()
    }

    /// Sends a signal, `-KILL` for example.
    ///
    /// # Errors
    /// When the process has ended by itself, which nothing here ever asks for. Until somebody has looked, its id is not
    /// given to another process.
    pub(crate) fn signal(&mut self, signal: &str) -> anyhow::Result<()> {
        if let Some(status) = self.0.try_wait()? {
            anyhow::bail!("process {} has ended by itself: {status}", self.0.id());
        }
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status()?;
        ensure!(sent.success(), "kill {signal} {}: {sent}", self.0.id());
        Ok(())
    }

    pub(crate) async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        eventually("the end of a process", async || Ok(self.0.try_wait()?)).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
