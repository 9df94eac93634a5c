//! The workers: `kiln worker` processes, and what their logs say.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{ChildStderr, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::keys::{Keys, QUEUES};
use crate::ledger::{Ledger, now, number_before};
use crate::places::{NAME, Places};
use crate::process::Process;
use crate::support::{PATIENCE, kiln};
use crate::ticks::instant;

/// Attempts at once of each worker.
pub(crate) const CONCURRENCY: usize = 16;

/// The exit code of a worker that cannot reach Redis when it starts, or does not any more when it ends.
const NO_STORE: i32 = 3;

/// The exit code of one whose grace period ended before its attempts did.
const INTERRUPTED: i32 = 6;

/// How workers are started, and what became of their logs.
pub(crate) struct Starter {
    store: String,
    keys: Keys,
    /// Where `plugins` and `logs` are.
    pub(crate) folder: PathBuf,
    ledger: Arc<Ledger>,
    places: Arc<Places>,
    readers: Mutex<Vec<JoinHandle<anyhow::Result<()>>>>,
}

/// One that has started.
pub(crate) struct Worker {
    /// The name by which Redis and the logs know it.
    pub(crate) host: String,
    /// The jobs that it said it completed.
    pub(crate) completed: Arc<AtomicUsize>,
    places: Arc<Places>,
    process: Process,
}

impl Starter {
    pub(crate) fn new(store: String, keys: Keys, folder: PathBuf, books: (Arc<Ledger>, Arc<Places>)) -> Self {
        let (ledger, places) = books;
        Self {
            store,
            keys,
            folder,
            ledger,
            places,
            readers: Mutex::default(),
        }
    }

    /// Starts a worker as a supervisor would: one that finds no store is started again.
    pub(crate) async fn start(&self) -> anyhow::Result<Worker> {
        let starting = async {
            loop {
                if let Some(worker) = self.launch().await? {
                    return anyhow::Ok(worker);
                }
            }
        };
        let started = tokio::time::timeout(PATIENCE, starting).await;
        started.context("no worker would start")?
    }

    async fn launch(&self) -> anyhow::Result<Option<Worker>> {
        let mut command = kiln();
        command
            .args(["worker", "--store", &self.store, "--prefix", &self.keys.prefix])
            .args(["--lease", "2s", "--grace", "5s", "--result-ttl", "24h"])
            .args([
                "--log",
                "debug,kiln::observe::log=trace,redis=off",
                "--log-format",
                "json",
            ])
            .args(["--concurrency", &CONCURRENCY.to_string()])
            .args(QUEUES.map(|(queue, weight)| format!("--queue={queue}={weight}")))
            .arg("--plugins")
            .arg(self.folder.join("plugins"))
            .arg("--cache-dir")
            .arg(self.folder.join("cache"))
            .stderr(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let completed = Arc::<AtomicUsize>::default();
        let host = self.read(process.stderr().context("piped")?, Arc::clone(&completed))?;
        if let Ok(host) = host.await {
            return Ok(Some(Worker {
                host,
                completed,
                places: Arc::clone(&self.places),
                process,
            }));
        }
        let status = process.ended().await?;
        ensure!(status.code() == Some(NO_STORE), "a worker did not start: {status}");
        Ok(None)
    }

    /// Reads a worker's log to its end, on a thread of its own; the answer is the worker's name once it has started.
    fn read(&self, stderr: ChildStderr, completed: Arc<AtomicUsize>) -> anyhow::Result<oneshot::Receiver<String>> {
        let mut readers = lock(&self.readers);
        let log = self.folder.join("logs").join(format!("{}.ndjson", readers.len()));
        let mut log = File::create(log)?;
        let (started, host) = oneshot::channel();
        let (ledger, places) = (Arc::clone(&self.ledger), Arc::clone(&self.places));
        readers.push(std::thread::spawn(move || {
            let (mut started, mut own) = (Some(started), String::new());
            for line in BufReader::new(stderr).lines() {
                let line = line?;
                writeln!(log, "{line}")?;
                match serde_json::from_str(&line).unwrap_or(Said::Else) {
                    Said::Started { host } => {
                        own.clone_from(&host);
                        drop(started.take().map(|started| started.send(host)));
                    }
                    Said::Starts {
                        id,
                        name,
                        queue,
                        timestamp,
                    } if name == NAME => {
                        places.began(&own, &id, &queue, unix_s(&timestamp).context("a time")?);
                    }
                    Said::Completed { id, ran } => {
                        completed.fetch_add(1, Ordering::Relaxed);
                        places.ended(&own, &id, ran.ended().context("a time")?);
                        if let Some(instant) = instant(&id) {
                            ledger.ticked(instant);
                            continue;
                        }
                        ledger.started(&id, ran.began().context("a time")?);
                        if number_before(&id).is_none() {
                            ledger.completed(&id).with_context(|| format!("nobody pushed {id}"))?;
                        }
                    }
                    Said::Failed { id, ran } => {
                        places.ended(&own, &id, ran.ended().context("a time")?);
                        ledger.started(&id, ran.began().context("a time")?);
                    }
                    Said::Stopped { id, ran } => places.ended(&own, &id, ran.ended().context("a time")?),
                    Said::Moved { jobs } => _ = ledger.moved.fetch_add(jobs, Ordering::Relaxed),
                    Said::Starts { .. } | Said::Else => {}
                }
            }
            Ok(())
        }));
        Ok(host)
    }

    /// Waits until every line of every worker that has ended is in the books.
    pub(crate) fn finish(&self) -> anyhow::Result<()> {
        let mut readers = lock(&self.readers);
        readers
            .drain(..)
            .try_for_each(|reader| reader.join().expect("it does not panic"))
    }
}

impl Worker {
    pub(crate) fn signal(&mut self, signal: &str) -> anyhow::Result<()> {
        // Once more when it has been sent: what began meanwhile is unknown as well.
        let gone = || {
            if signal != "-CONT" {
                self.places.gone(&self.host, now());
            }
        };
        gone();
        let sent = self.process.signal(signal).with_context(|| self.host.clone());
        gone();
        sent
    }

    /// Kills it, at whatever instruction it is.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.signal("-KILL")?;
        self.process.ended().await?;
        Ok(())
    }

    /// Stops it as a supervisor does, and says whether it ended as it should with nothing in its way.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<bool> {
        self.signal("-TERM")?;
        let code = self.process.ended().await?.code();
        ensure!(
            [Some(0), Some(NO_STORE), Some(INTERRUPTED)].contains(&code),
            "{} was stopped and ended with {code:?}",
            self.host
        );
        Ok(code == Some(0))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When an attempt ended, and how long it took.
#[derive(Deserialize)]
struct Ran {
    timestamp: String,
    duration_ms: f64,
}

impl Ran {
    /// In Unix seconds.
    fn began(&self) -> Option<f64> {
        Some(self.ended()? - self.duration_ms / 1e3)
    }

    fn ended(&self) -> Option<f64> {
        unix_s(&self.timestamp)
    }
}

fn unix_s(timestamp: &str) -> Option<f64> {
    let at: jiff::Timestamp = timestamp.parse().ok()?;
    let at = Duration::try_from(at.duration_since(jiff::Timestamp::UNIX_EPOCH)).ok()?;
    Some(at.as_secs_f64())
}

/// A line of a worker's log, as far as it is read.
#[derive(Deserialize)]
#[serde(tag = "message")]
enum Said {
    #[serde(rename = "worker started")]
    Started { host: String },
    #[serde(rename = "attempt starts")]
    Starts {
        id: String,
        name: String,
        queue: String,
        timestamp: String,
    },
    #[serde(rename = "attempt stopped; the job goes back, unless another host has it")]
    Stopped {
        id: String,
        #[serde(flatten)]
        ran: Ran,
    },
    #[serde(rename = "job completed")]
    Completed {
        id: String,
        #[serde(flatten)]
        ran: Ran,
    },
    #[serde(rename = "job failed", alias = "attempt failed; the job will be retried")]
    Failed {
        id: String,
        #[serde(flatten)]
        ran: Ran,
    },
    #[serde(
        rename = "took over from a host that died",
        alias = "gave jobs back to the front of their queue"
    )]
    Moved { jobs: usize },
    #[serde(other)]
    Else,
}
