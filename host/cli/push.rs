//! `kiln push`: one job, or a file of them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write as _, stdin};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::store::{StoreArgs, duration, positive_duration, queue_name};
use super::{Usage, out, plural};
use crate::job::{DecodeError, Job, MAX_JOB_BYTES, MAX_PAYLOAD_BYTES, null, saturating_ns};
use crate::queue::{Push, QUEUE_DEFAULT, QueueError, QueueName, Store};

/// Jobs pushed in one go of a batch.
const BATCH_JOBS: usize = 1_000;

/// Bytes of jobs pushed in one go, whatever their number.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Push a job, or a file of jobs
///
/// Prints the id of the job it pushed. With --batch, pushes one job for each line of a file: a job's JSON, of which only
/// `name` is needed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln push markdown '{\"markdown\": \"# Hello\"}'
  kiln push thumbnail @photo.json --queue images --delay 5m
  kiln push --batch jobs.ndjson")]
pub(super) struct PushArgs {
    /// The job's name, which picks its handler
    #[arg(required_unless_present = "batch", conflicts_with = "batch")]
    name: Option<String>,
    /// The payload: JSON text, @FILE, or - for standard input [default: null]
    #[arg(allow_negative_numbers = true)]
    payload: Option<PayloadSource>,
    /// Push the jobs of this NDJSON file (- for standard input)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["payload", "delay", "at", "max_attempts", "timeout", "meta", "id"])]
    batch: Option<BatchFile>,
    /// The queue; with --batch, that of lines which name none
    #[arg(long, env = "KILN_QUEUE", default_value = QUEUE_DEFAULT, value_parser = queue_name)]
    queue: QueueName,
    /// Do not run it before this time has passed
    #[arg(long, value_parser = duration, value_name = "DURATION", conflicts_with = "at")]
    delay: Option<Duration>,
    /// Do not run it before this time, as 2026-11-22T18:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Attempts in all before it fails [default: what the plugin's manifest says, else 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: Option<u32>,
    /// Time an attempt may take [default: what the plugin's manifest says, else 30s]
    #[arg(long, value_parser = positive_duration, value_name = "DURATION")]
    timeout: Option<Duration>,
    /// A metadata entry; repeat for more
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    meta: Vec<(String, String)>,
    /// The job's id [default: a new UUID]
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    id: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Where a payload comes from.
#[derive(Debug, Clone)]
pub(super) enum PayloadSource {
    Text(String),
    File(PathBuf),
    Stdin,
}

impl FromStr for PayloadSource {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match (text, text.strip_prefix('@')) {
            ("-", _) => Self::Stdin,
            (_, Some(path)) => Self::File(path.into()),
            _ => Self::Text(text.to_owned()),
        })
    }
}

impl PayloadSource {
    pub(super) fn read(self) -> anyhow::Result<Box<RawValue>> {
        let text = match self {
            Self::Text(text) => text,
            Self::File(path) => {
                std::fs::read_to_string(&path).map_err(|err| Usage(format!("payload {}: {err}", path.display())))?
            }
            Self::Stdin => io::read_to_string(stdin()).context("payload from standard input")?,
        };
        let payload = RawValue::from_string(text).map_err(|err| {
            Usage(format!(
                "payload is not JSON: {err}; quote it for the shell, as in '{{\"key\": 1}}'"
            ))
        })?;
        match payload.get().len() {
            len if len > MAX_PAYLOAD_BYTES => Err(Usage(DecodeError::PayloadTooLarge { len }.to_string()).into()),
            _ => Ok(payload),
        }
    }
}

/// Where a batch comes from.
#[derive(Debug, Clone)]
pub(super) enum BatchFile {
    File(PathBuf),
    Stdin,
}

impl FromStr for BatchFile {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "-" {
            Self::Stdin
        } else {
            Self::File(text.into())
        })
    }
}

pub(super) async fn push(args: PushArgs) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.batch {
        let batch = Batch::open(file)?;
        let pushed = batch.push(&args.store.open().await?, &args.queue).await?;
        writeln!(out(), "{} pushed", plural(pushed, "job", "jobs"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let store_args = args.store;
    let payload = args.payload.map_or_else(|| Ok(null()), PayloadSource::read)?;
    let mut job = Job::new(args.name.as_deref().unwrap_or_default(), args.queue.as_str(), payload);
    if job.name.is_empty() {
        return Err(Usage("the job needs a name".to_owned()).into());
    }
    job.id = args.id.unwrap_or(job.id);
    job.max_attempts = args.max_attempts.unwrap_or(job.max_attempts);
    job.timeout_ns = args.timeout.map_or(job.timeout_ns, saturating_ns);
    if !args.meta.is_empty() {
        let metadata: std::collections::BTreeMap<_, _> = args.meta.into_iter().collect();
        job.metadata = Some(serde_json::value::to_raw_value(&metadata)?);
    }
    let store = store_args.open().await?;
    // By the store's clock, which decides when it is due.
    let now = store.now().await?;
    let due = args
        .delay
        .map(|delay| now.saturating_add(delay).unwrap_or(Timestamp::MAX))
        .or(args.at);
    if let Some(due) = due {
        job.delay_until(now, due);
    }
    let due_ms = due.map(Timestamp::as_millisecond);
    let push = Push {
        queue: args.queue,
        job: job.encode(),
        due_ms,
    };
    store.push(&[push]).await.map_err(perhaps_pushed)?;
    writeln!(out(), "{}", job.id)?;
    Ok(ExitCode::SUCCESS)
}

/// A store that did not answer may have pushed the jobs. Whoever pushes them again must know that.
fn perhaps_pushed(err: QueueError) -> anyhow::Error {
    let context = format!("{err}; what was not answered may have been pushed all the same");
    anyhow::Error::new(err).context(context)
}

/// A file of jobs, opened.
pub(super) struct Batch {
    name: String,
    reader: Box<dyn Read>,
    bar: ProgressBar,
}

impl Batch {
    pub(super) fn open(file: &BatchFile) -> anyhow::Result<Self> {
        let (name, reader, bar) = open_batch(file)?;
        Ok(Self { name, reader, bar })
    }

    /// Pushes one job for each line, and shows how far it is on a terminal. Returns how many.
    pub(super) async fn push(self, store: &Store, queue: &QueueName) -> anyhow::Result<u64> {
        let Self { name, reader, bar } = self;
        let mut reader = BufReader::with_capacity(1024 * 1024, bar.wrap_read(reader));
        let ahead = store.now().await?.duration_since(Timestamp::now());
        let (mut pushed, mut number, mut line) = (0, 0_u64, Vec::new());
        let (mut batch, mut batch_bytes) = (Vec::with_capacity(BATCH_JOBS), 0);
        loop {
            line.clear();
            let limit = MAX_JOB_BYTES as u64 + 1;
            let read = (&mut reader)
                .take(limit)
                .read_until(b'\n', &mut line)
                .with_context(|| name.clone())?;
            number += 1;
            let ended = read == 0;
            if ended || batch.len() == BATCH_JOBS || batch_bytes > BATCH_BYTES {
                store.push(&batch).await.map_err(perhaps_pushed)?;
                pushed += batch.len() as u64;
                bar.set_message(plural(pushed, "job", "jobs"));
                batch.clear();
                batch_bytes = 0;
            }
            if ended {
                bar.finish_and_clear();
                return Ok(pushed);
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match batch_line(&line, queue, Timestamp::now() + ahead) {
                Ok(push) => {
                    batch_bytes += push.job.len();
                    batch.push(push);
                }
                Err(why) => {
                    store.push(&batch).await.map_err(perhaps_pushed)?;
                    pushed += batch.len() as u64;
                    bar.finish_and_clear();
                    return Err(Usage(format!(
                        "{name}:{number}: {why}; the {} before it {} pushed",
                        plural(pushed, "job", "jobs"),
                        if pushed == 1 { "was" } else { "were" }
                    ))
                    .into());
                }
            }
        }
    }
}

/// Reads one line of a batch, and fills in what it leaves out. A delay counts from `now`, which is by the store's
/// clock.
fn batch_line(line: &[u8], queue: &QueueName, now: Timestamp) -> Result<Push, String> {
    let mut job = Job::decode(line.trim_ascii()).map_err(|err| err.to_string())?;
    let queue = job.queue.as_deref().map_or_else(|| Ok(queue.clone()), QueueName::new)?;
    job.queue.get_or_insert_with(|| queue.to_string());
    job.times.created_at.get_or_insert_with(|| now.to_string());
    job.times.updated_at.get_or_insert_with(|| now.to_string());
    let due = job.available_at().unwrap_or_else(|| {
        let delay = Duration::from_nanos(u64::try_from(job.delay_ns).unwrap_or(0));
        now.saturating_add(delay).unwrap_or(Timestamp::MAX)
    });
    job.times.available_at.get_or_insert_with(|| due.to_string());
    // Decided as dg-queue does: a job that is not available yet is delayed.
    let due_ms = (due > now).then(|| due.as_millisecond());
    Ok(Push {
        queue,
        job: job.encode(),
        due_ms,
    })
}

fn open_batch(file: &BatchFile) -> anyhow::Result<(String, Box<dyn Read>, ProgressBar)> {
    match file {
        BatchFile::Stdin => {
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}")?;
            Ok((
                "standard input".to_owned(),
                Box::new(stdin()),
                ProgressBar::new_spinner().with_style(style),
            ))
        }
        BatchFile::File(path) => {
            let missing = |err| Usage(format!("{}: {err}", path.display()));
            let file = File::open(path).map_err(missing)?;
            let bytes = file.metadata().map_err(missing)?.len();
            let style = ProgressStyle::with_template("{bar:40} {percent}% {msg} {eta} left")?;
            Ok((
                path.display().to_string(),
                Box::new(file),
                ProgressBar::new(bytes).with_style(style),
            ))
        }
    }
}

/// A `value_parser` for `KEY=VALUE`.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}
