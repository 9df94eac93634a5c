//! Measures whole runs: jobs are made, pushed, fetched, run and settled, by a worker in a process of its own.
//!
//! Beside its figures it puts floors, measured in the same run: the handler in fresh instances without a queue, and
//! bare commands of Redis. Figures differ between machines, and between hours of one machine. The ratio of two figures
//! of one run can be compared.
//!
//! It works under a prefix that nobody else has, and deletes every key of it in the end.

mod floor;
mod jobs;
mod modes;
mod report;
mod times;
mod usage;
mod worker;

use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::value::RawValue;
use tempfile::TempDir;

use crate::queue::{FailedEntry, QueueError, QueueName, Store, Work};
use crate::sandbox::Handler;
use jobs::Template;

pub(crate) use report::{Percentiles, Report};
pub(crate) use times::Times;
pub(crate) use worker::{Launch, write_times};

use report::{RedisFigures, per, per_s, rounded};

/// What a benchmark measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// How fast jobs are pushed.
    Push,
    /// How fast a worker gets through jobs that are all there.
    Burst,
    /// How much faster that is on all cores than on one.
    Cores,
    /// How long jobs take that come one by one, so many a second.
    Rate(NonZeroU32),
    /// How punctual delayed jobs are that are all due at one instant.
    Due,
    /// What a worker takes that has nothing to do.
    Idle,
}

impl Mode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Burst => "burst",
            Self::Cores => "cores",
            Self::Rate(_) => "rate",
            Self::Due => "due",
            Self::Idle => "idle",
        }
    }
}

/// The plugin whose jobs are measured.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Its file; the manifest may be beside it.
    pub(crate) wasm: PathBuf,
    /// The job name that it handles.
    pub(crate) job: String,
    pub(crate) handler: Arc<Handler>,
}

/// A benchmark, before it is run.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) mode: Mode,
    /// Under a prefix of its own.
    pub(crate) store: Store,
    pub(crate) queue: QueueName,
    /// Needed by every mode but [`Mode::Push`].
    pub(crate) measured: Option<Measured>,
    pub(crate) launch: Launch,
    pub(crate) payload: Box<RawValue>,
    pub(crate) concurrency: NonZeroU32,
    /// Jobs of bursts, of pushes, and of those that are due at one instant.
    pub(crate) jobs: u64,
    /// How long rate and idle last.
    pub(crate) time: Duration,
    /// Jobs that are ready behind the measured ones.
    pub(crate) backlog: u64,
    /// Jobs that are delayed until long after.
    pub(crate) delayed: u64,
    /// Copies of the plugin beside it, under other names.
    pub(crate) copies: u32,
    pub(crate) bar: ProgressBar,
}

/// Why a benchmark came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] QueueError),
    /// There is no place for the worker's plugins.
    #[error("cannot make a plugin folder for the worker: {0}")]
    Folder(io::Error),
    /// The worker's process does not start.
    #[error("cannot start a worker: {0}")]
    Start(io::Error),
    /// The worker's process cannot be kept to one core.
    #[error("cannot keep a worker to one core: {0}")]
    OneCore(io::Error),
    /// The worker's process ended before it was told to.
    #[error("the worker ended early ({0}); what it said stands above")]
    Ended(ExitStatus),
    /// Delayed jobs became due while the others were still being pushed.
    #[error("pushing {jobs} jobs took longer than the {} s planned for it; try fewer", planned.as_secs())]
    TooLate {
        /// How many jobs were to be pushed.
        jobs: u64,
        /// The time planned for pushing them.
        planned: Duration,
    },
}

impl Bench {
    /// Runs the benchmark. Call [`Bench::clean_up`] afterwards, however this ends. Dropping the future stops it.
    ///
    /// # Errors
    /// When the store, the worker or the system fails. A failed job is no error.
    pub(crate) async fn run(&self) -> Result<Report, BenchError> {
        let mut report = Report {
            mode: self.mode.as_str(),
            plugin: self.measured.as_ref().map(|measured| measured.job.clone()),
            payload_bytes: self.payload.get().len(),
            concurrency: self.concurrency.get(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            backlog_jobs: self.backlog,
            delayed_jobs: self.delayed,
            other_plugins: self.copies,
            push: None,
            drain: None,
            scaling: None,
            rate: None,
            due: None,
            worker: None,
            redis: None,
        };
        let Some(measured) = &self.measured else {
            self.push(&mut report).await?;
            return Ok(report);
        };
        match self.mode {
            Mode::Push => self.push(&mut report).await?,
            Mode::Burst => self.burst(measured, &mut report).await?,
            Mode::Cores => self.cores(measured, &mut report).await?,
            Mode::Rate(per_s) => self.rate(measured, per_s.get(), &mut report).await?,
            Mode::Due => self.due(measured, &mut report).await?,
            Mode::Idle => self.idle(measured, &mut report).await?,
        }
        Ok(report)
    }

    /// Deletes every key that the benchmark wrote.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn clean_up(&self) -> Result<(), QueueError> {
        self.store.erase().await
    }

    /// Why the first of the failed jobs failed, if any did.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn first_failure(&self) -> Result<Option<String>, QueueError> {
        let failed = self.store.failed(0, 1).await?;
        Ok(failed
            .first()
            .and_then(FailedEntry::failure)
            .map(|failure| failure.to_string()))
    }

    fn template(&self) -> Template {
        let plugin = self.measured.as_ref().map_or("none", |measured| &measured.job);
        Template {
            name: plugin.to_owned(),
            queue: self.queue.clone(),
            payload: self.payload.clone(),
        }
    }

    /// Shows what is being done, and in how many steps. 0: the number is not known.
    fn phase(&self, what: &'static str, steps: u64) {
        self.bar.set_message(what);
        self.bar.set_length(steps);
        self.bar.set_position(0);
    }
}

impl Measured {
    /// A folder with the plugin and so many copies of it under other names.
    fn folder(&self, copies: u32) -> Result<TempDir, BenchError> {
        let filled = || -> io::Result<TempDir> {
            let folder = tempfile::tempdir()?;
            let manifest = self.wasm.with_extension("toml");
            let name = |path: &Path| {
                path.file_name()
                    .map(|name| folder.path().join(name))
                    .unwrap_or_default()
            };
            if manifest.is_file() {
                fs::copy(&manifest, name(&manifest))?;
            }
            fs::copy(&self.wasm, name(&self.wasm))?;
            for number in 0..copies {
                // Without a manifest: it would claim the same jobs.
                let other = format!("zz-{number:06}.wasm");
                fs::copy(&self.wasm, folder.path().join(other))?;
            }
            Ok(folder)
        };
        filled().map_err(BenchError::Folder)
    }
}

/// What Redis does between two moments.
struct Meanwhile {
    began: Option<Work>,
    at: Instant,
}

impl Meanwhile {
    async fn begin(store: &Store) -> Result<Self, QueueError> {
        Ok(Self {
            began: store.work().await?,
            at: Instant::now(),
        })
    }

    /// What Redis did since the beginning, in which the worker did so many jobs.
    async fn end(self, store: &Store, jobs: u64) -> Result<Option<RedisFigures>, QueueError> {
        let time = self.at.elapsed();
        Ok(self.began.zip(store.work().await?).map(|(began, ended)| {
            let commands = ended.commands.saturating_sub(began.commands);
            let cpu_us = ended.cpu_us.saturating_sub(began.cpu_us);
            RedisFigures {
                commands_per_s: per_s(commands, time),
                commands_per_job: (jobs > 0).then(|| per(commands, jobs)),
                cpu_percent: rounded(per_s(cpu_us, time) / 10_000.0),
                cpu_us_per_job: (jobs > 0).then(|| per(cpu_us, jobs)),
            }
        }))
    }
}
