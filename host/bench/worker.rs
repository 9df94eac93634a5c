//! The worker that is measured: a process of its own, as in production, that tells the times of its jobs over a pipe.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::BenchError;
use super::report::WorkerFigures;
use super::times::JobTimes;
use super::usage::Usage;
use crate::queue::{QueueName, Store};

/// Time between two looks at a worker that is still starting, or at one that has nothing to do.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long a worker may take to stop: it only has to give back what it runs.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Time between two looks at what the process takes.
const USAGE_INTERVAL: Duration = Duration::from_millis(100);

/// After so many jobs the worker's memory is noted, to compare it with that at the end.
const EARLY_JOBS: u64 = 10_000;

/// How to start this program again, as a worker.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(&'static str, OsString)>,
    /// The variable that is to name the worker's plugin folder.
    pub(crate) folder_env: &'static str,
}

/// A running worker. Dropped, it is killed.
pub(super) struct Worker {
    process: Process,
    /// Closing it tells the worker to stop.
    stdin: Option<ChildStdin>,
    times: mpsc::UnboundedReceiver<Vec<JobTimes>>,
    usage: Option<Usage>,
    /// Jobs it has settled.
    settled: u64,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Neither call does anything to a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Worker {
    /// Starts a worker with this plugin folder.
    pub(super) fn start(launch: &Launch, folder: &Path) -> Result<Self, BenchError> {
        let mut command = Command::new(&launch.program);
        command.args(&launch.args).envs(launch.env.iter().map(|(k, v)| (k, v)));
        command.env(launch.folder_env, folder);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = Process(child.map_err(BenchError::Start)?);
        let (stdin, stdout) = (process.0.stdin.take(), process.0.stdout.take());
        let (sender, times) = mpsc::unbounded_channel();
        std::thread::spawn(move || stdout.map(|stdout| read_times(stdout, &sender)));
        Ok(Self {
            usage: Usage::of(process.0.id()),
            process,
            stdin,
            times,
            settled: 0,
        })
    }

    /// Starts a worker that has one core for itself and all of its threads.
    pub(super) fn start_on_one_core(launch: &Launch, folder: &Path) -> Result<Self, BenchError> {
        let failed = |err: Errno| BenchError::OneCore(err.into());
        // A process inherits the cores of the thread that starts it.
        let all = sched_getaffinity(None).map_err(failed)?;
        let mut one = CpuSet::new();
        let first = (0..CpuSet::MAX_CPU).find(|core| all.is_set(*core));
        one.set(first.unwrap_or(0));
        sched_setaffinity(None, &one).map_err(failed)?;
        let started = Self::start(launch, folder);
        sched_setaffinity(None, &all).map_err(failed)?;
        started
    }

    /// Waits until it serves the queue.
    pub(super) async fn until_joined(&mut self, store: &Store, queue: &QueueName) -> Result<(), BenchError> {
        while store.counts(queue).await?.hosts.is_empty() {
            self.check()?;
            sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// The times of jobs that have been settled since the last call; waits for some.
    pub(super) async fn next(&mut self) -> Result<Vec<JobTimes>, BenchError> {
        loop {
            match timeout(USAGE_INTERVAL, self.times.recv()).await {
                Ok(Some(times)) => {
                    self.settled += times.len() as u64;
                    self.look();
                    return Ok(times);
                }
                Ok(None) => {
                    // The process ends a moment after its output.
                    sleep(LOOK_INTERVAL).await;
                    self.check()?;
                }
                Err(_) => {
                    if self.settled == 0 {
                        // The worker is still starting, or waits for its first jobs.
                        self.usage.as_mut().map(Usage::begin_anew);
                    }
                    self.look();
                }
            }
        }
    }

    /// Watches the worker while it has nothing to do.
    pub(super) async fn idle(&mut self, time: Duration) -> Result<(), BenchError> {
        self.look();
        sleep(time).await;
        self.look();
        self.check()
    }

    /// Stops the worker, and returns what it used.
    pub(super) async fn stop(mut self) -> Result<Option<WorkerFigures>, BenchError> {
        drop(self.stdin.take());
        let figures = self.usage.as_ref().and_then(Usage::figures);
        let stopping = async {
            while matches!(self.process.0.try_wait(), Ok(None)) {
                sleep(LOOK_INTERVAL).await;
            }
        };
        // A worker that does not stop is killed: all that it could still write is about to be deleted.
        let _ = timeout(STOP_PATIENCE, stopping).await;
        Ok(figures)
    }

    fn look(&mut self) {
        if let Some(usage) = &mut self.usage {
            usage.look(self.settled, EARLY_JOBS);
        }
    }

    fn check(&mut self) -> Result<(), BenchError> {
        match self.process.0.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(BenchError::Ended(status)),
            Err(err) => Err(BenchError::Start(err)),
        }
    }
}

/// Reads lines, and hands over together those that came together.
fn read_times(stdout: ChildStdout, times: &mpsc::UnboundedSender<Vec<JobTimes>>) {
    let mut stdout = BufReader::with_capacity(1024 * 1024, stdout);
    let (mut together, mut line) = (Vec::new(), String::new());
    while matches!(stdout.read_line(&mut line), Ok(1..)) {
        together.extend(parse(&line));
        line.clear();
        if stdout.buffer().is_empty() && times.send(std::mem::take(&mut together)).is_err() {
            return;
        }
    }
}

/// A line as [`write_times`] makes it.
fn parse(line: &str) -> Option<JobTimes> {
    let mut words = line.split_whitespace();
    Some(JobTimes {
        id: words.next()?.to_owned(),
        started_ns: words.next()?.parse().ok()?,
        answered_ns: words.next()?.parse().ok()?,
        settled_ns: words.next()?.parse().ok()?,
        completed: words.next()? == "completed",
        made_ahead: words.next()? == "ahead",
    })
}

/// Writes one line for each job, for [`Worker`] to read at the other end.
pub(crate) fn write_times(times: &[JobTimes], mut out: impl io::Write) -> io::Result<()> {
    let mut text = String::with_capacity(96 * times.len());
    for times in times {
        let fate = if times.completed { "completed" } else { "failed" };
        let made = if times.made_ahead { "ahead" } else { "then" };
        let (started, answered, settled) = (times.started_ns, times.answered_ns, times.settled_ns);
        let _ = writeln!(text, "{} {started} {answered} {settled} {fate} {made}", times.id);
    }
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let times = JobTimes {
            id: "7".to_owned(),
            started_ns: 1,
            answered_ns: 2,
            settled_ns: u64::MAX,
            completed: true,
            made_ahead: true,
        };
        let mut text = Vec::new();
        write_times(std::slice::from_ref(&times), &mut text).unwrap();
        assert_eq!(parse(std::str::from_utf8(&text).unwrap()), Some(times));
        assert_eq!(parse("7 1 2 x completed ahead"), None);
    }
}
