//! Workers as processes of their own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use kiln::queue::StoreSettings;

use crate::support::{eventually, kiln};

/// A worker that runs until it is told to stop or killed, and what it has said so far.
pub(crate) struct Worker {
    pub(crate) process: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Worker {
    pub(crate) fn start(settings: &StoreSettings, folder: &Path, extra: &[&str]) -> anyhow::Result<Self> {
        Ok(Self::heard(Self::spawn(kiln(), settings, folder, extra)?))
    }

    /// One that the system lets watch no folder.
    pub(crate) fn blind(settings: &StoreSettings, folder: &Path, extra: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "sh", "-c"])
            .arg("echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"")
            .arg(kiln().get_program());
        Ok(Self::heard(Self::spawn(command, settings, folder, extra)?))
    }

    /// Reads its log from now on.
    pub(crate) fn heard(mut worker: Self) -> Self {
        let stderr = worker.process.stderr.take().expect("piped");
        let said = Arc::clone(&worker.said);
        std::thread::spawn(move || {
            let lines = BufReader::new(stderr).lines().map_while(Result::ok);
            lines.for_each(|line| said.lock().unwrap().push(line));
        });
        worker
    }

    /// One whose log nobody takes: every line it writes fails.
    pub(crate) fn mute(settings: &StoreSettings, folder: &Path, extra: &[&str]) -> anyhow::Result<Self> {
        let mut worker = Self::spawn(kiln(), settings, folder, extra)?;
        drop(worker.process.stderr.take());
        Ok(worker)
    }

    /// One whose log is a pipe that nobody empties.
    pub(crate) fn deaf(settings: &StoreSettings, folder: &Path, extra: &[&str]) -> anyhow::Result<Self> {
        Self::spawn(kiln(), settings, folder, extra)
    }

    pub(crate) fn spawn(
        mut command: Command,
        settings: &StoreSettings,
        folder: &Path,
        extra: &[&str],
    ) -> anyhow::Result<Self> {
        command
            .args(["worker", "--store", &settings.url, "--prefix", &settings.prefix])
            .args(extra)
            .arg("--plugins")
            .arg(folder);
        Ok(Self {
            process: command.stderr(Stdio::piped()).spawn()?,
            said: Arc::default(),
        })
    }

    pub(crate) fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status()?.success());
        Ok(())
    }

    /// The lines it has said with this in them.
    pub(crate) fn lines_with(&self, what: &str) -> Vec<String> {
        let said = self.said.lock().unwrap();
        said.iter().filter(|line| line.contains(what)).cloned().collect()
    }

    /// Every line so far, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    pub(crate) async fn until_said(&self, what: &str) -> anyhow::Result<()> {
        eventually(what, async || Ok((!self.lines_with(what).is_empty()).then_some(()))).await
    }

    /// Bytes of memory that it has in use.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line
            .and_then(|line| line.trim().strip_suffix(" kB"))
            .context("VmRSS")?
            .parse()?;
        Ok(kib * 1024)
    }

    /// Waits until it ends.
    pub(crate) fn exit_code(&mut self) -> anyhow::Result<Option<i32>> {
        Ok(self.process.wait()?.code())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
