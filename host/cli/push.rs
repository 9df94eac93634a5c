//! `kiln push`: one job, or a file of them.

mod job_file;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _, stdin};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde_json::value::{RawValue, to_raw_value};

use super::result::wait;
use super::store::{StoreArgs, duration, positive_duration, queue_name};
use super::{Usage, out, plural, tell};
use crate::admin::results;
use crate::job::{
    DecodeError, Job, MAX_MEMBERS, MAX_PAYLOAD_BYTES, Options, TraceContext, Unique, late_job, null, saturating_ns,
};
use crate::queue::{Push, QUEUE_DEFAULT, QueueName};
use crate::text;
pub(super) use job_file::JobFile;
use job_file::perhaps_pushed;

/// Push a job, or a file of jobs
///
/// Prints the id of the job it pushed. With --batch, pushes one job for each line of a file: a job's JSON, of which only
/// `name` is needed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln push markdown '{\"markdown\": \"# Hello\"}'
  kiln push thumbnail @photo.json --queue images --delay 5m
  kiln push markdown '{\"markdown\": \"# Hello\"}' --wait=30s
  kiln push --batch jobs.ndjson
  kiln push --batch photos.ndjson --batch-id import-7 --on-success report --on-end 'mail={\"to\": \"me@example.com\"}'
  kiln push sync '{\"account\": 42}' --unique sync-42:latest
  kiln push thumbnail @photo.json --then store --then 'mail={\"to\": \"me@example.com\"}'")]
#[expect(clippy::option_option, reason = "whether to wait, and for how long")]
pub(super) struct PushArgs {
    /// The job's name, which picks its handler
    #[arg(required_unless_present = "batch", conflicts_with = "batch")]
    name: Option<String>,
    /// The payload: JSON text, @FILE, or - for standard input [default: null]
    #[arg(allow_negative_numbers = true)]
    payload: Option<PayloadSource>,
    /// Push the jobs of this NDJSON file (- for standard input)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["payload", "delay", "at", "max_attempts", "timeout", "meta", "traceparent", "then", "id", "wait", "limit_key", "unique"])]
    batch: Option<BatchFile>,
    /// Make the jobs of the file a batch of this id, which ends when all of them have
    #[arg(long, value_name = "ID", requires = "batch", value_parser = super::batch::id)]
    batch_id: Option<String>,
    /// Push this job once all jobs of the batch have completed; written as for --then
    #[arg(long, value_name = "JOB", requires = "batch_id", value_parser = link)]
    on_success: Option<Box<RawValue>>,
    /// Push this job once all have ended, completed or failed
    #[arg(long, value_name = "JOB", requires = "batch_id", value_parser = link)]
    on_end: Option<Box<RawValue>>,
    /// Push this job unless all have ended by --late-after
    #[arg(long, value_name = "JOB", requires_all = ["batch_id", "late_after"], value_parser = link)]
    on_late: Option<Box<RawValue>>,
    /// From the push on
    #[arg(long, value_name = "DURATION", requires = "on_late", value_parser = positive_duration)]
    late_after: Option<Duration>,
    /// The queue; with --batch, that of lines which name none
    #[arg(long, env = "KILN_QUEUE", default_value = QUEUE_DEFAULT, value_parser = queue_name)]
    queue: QueueName,
    /// Do not run it before this time has passed
    #[arg(long, value_parser = duration, value_name = "DURATION", conflicts_with = "at", allow_hyphen_values = true)]
    delay: Option<Duration>,
    /// Do not run it before this time, as 2026-11-22T18:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Attempts in all before it fails [default: what the plugin's manifest says, else 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: Option<u32>,
    /// Time an attempt may take [default: what the plugin's manifest says, else 30s]
    #[arg(long, value_parser = positive_duration, value_name = "DURATION", allow_hyphen_values = true)]
    timeout: Option<Duration>,
    /// A metadata entry; repeat for more
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    meta: Vec<(String, String)>,
    /// The span that the job's attempts belong to, as W3C Trace Context writes it: metadata.traceparent
    #[arg(long, value_name = "TRACEPARENT")]
    traceparent: Option<TraceContext>,
    /// Push this job once the one before it has completed; repeat for a chain. NAME gets the result before it as its payload,
    /// NAME=PAYLOAD a payload of its own; or JSON with name and options, as '{"name": "mail", "queue": "mails"}'
    #[arg(long, value_name = "JOB", value_parser = link)]
    then: Vec<Box<RawValue>>,
    /// The key by which limits across hosts tell the job apart, in place of the one in its payload: metadata.kiln.key
    #[arg(long, value_name = "KEY")]
    limit_key: Option<String>,
    /// Be unique by this key: metadata.kiln.unique. KEY, or KEY:drop, is dropped while another of the key runs. KEY:latest waits,
    /// and takes the place of the one that waited before. KEY:debounce:WAIT:MAX does so until none has come for WAIT, at most for
    /// MAX. KEY:throttle:FOR is dropped for that time after another of the key
    #[arg(long, value_name = "KEY[:MODE]", value_parser = Unique::parse)]
    unique: Option<Unique>,
    /// The job's id [default: a new UUID]
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    id: Option<String>,
    /// Wait until the job has ended, no longer than this if a time is given, and print its result. The exit code tells how it
    /// ended. Asks for an answer by metadata.kiln.reply. Takes no id of which an answer or a result is kept
    #[arg(long, value_parser = positive_duration, value_name = "TIMEOUT", num_args = 0..=1, require_equals = true)]
    wait: Option<Option<Duration>>,
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
    if args.batch.is_some() {
        return push_file(args).await;
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
    let wishes = Wishes {
        reply: args.wait.is_some(),
        then: args.then,
        key: args.limit_key,
        unique: args.unique,
    };
    job.metadata = metadata(args.meta, args.traceparent.as_ref(), wishes)?;
    if let Some(why) = &job.options().0.plans().refused {
        return Err(Usage(why.clone()).into());
    }
    // As workers do: what they would refuse need not be pushed.
    if let Err(why) = Job::decode(job.encode().as_bytes()) {
        return Err(Usage(format!("no worker would take this job: {why}")).into());
    }
    let store = store_args.open().await?;
    if args.wait.is_some() && results::result(&store, &job.id).await?.is_some() {
        let id = text::name(&job.id);
        let why = format!("a job {id} has ended before, and its end is still told; wait for one with another --id");
        return Err(Usage(why).into());
    }
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
    if let Some(patience) = args.wait {
        tell(&format!("pushed {}", text::name(&job.id)));
        return wait(&store, &job.id, patience, false).await;
    }
    writeln!(out(), "{}", job.id)?;
    Ok(ExitCode::SUCCESS)
}

/// Pushes the jobs of a file, and what is to come if they are a batch that is late.
async fn push_file(args: PushArgs) -> anyhow::Result<ExitCode> {
    let Some(file) = &args.batch else {
        return Ok(ExitCode::SUCCESS);
    };
    let of_batch = args.batch_id.as_deref().map(|id| OfBatch::read(id, file, &args));
    let of_batch = of_batch.transpose()?;
    let jobs = JobFile::open(file)?.of(of_batch.as_ref().map(|batch| batch.metadata.clone()));
    let store = args.store.open().await?;
    let pushed = jobs.push(&store, &args.queue).await?;
    if let Some((id, spec, within)) = of_batch.and_then(|batch| batch.late) {
        let late = late_job(&id, args.queue.as_str(), &spec, within, store.now().await?).map_err(Usage)?;
        let push = Push {
            queue: QueueName::new(&late.queue).map_err(Usage)?,
            job: late.job.get().to_owned(),
            due_ms: late.due_ms,
        };
        store.push(&[push]).await.map_err(perhaps_pushed)?;
    }
    writeln!(out(), "{} pushed", plural(pushed, "job", "jobs"))?;
    Ok(ExitCode::SUCCESS)
}

/// The metadata of the flags, which are texts, and what Kiln is asked for.
fn metadata(
    meta: Vec<(String, String)>,
    trace: Option<&TraceContext>,
    wishes: Wishes,
) -> anyhow::Result<Option<Box<RawValue>>> {
    let text = |(key, value)| anyhow::Ok((key, to_raw_value::<String>(&value)?));
    let mut metadata: BTreeMap<_, _> = meta.into_iter().map(text).collect::<Result<_, _>>()?;
    if let Some(trace) = trace
        && metadata
            .insert("traceparent".to_owned(), to_raw_value(&trace.parent())?)
            .is_some()
    {
        return Err(
            Usage("--traceparent sets metadata.traceparent, so --meta traceparent=… must not".to_owned()).into(),
        );
    }
    if let Some(kiln) = wishes.into_json()?
        && metadata.insert("kiln".to_owned(), kiln).is_some()
    {
        return Err(Usage(
            "--wait, --then, --limit-key and --unique set metadata.kiln, so --meta kiln=… must not".to_owned(),
        )
        .into());
    }
    Ok(if metadata.is_empty() {
        None
    } else {
        Some(to_raw_value(&metadata)?)
    })
}

/// What Kiln is asked for, in `metadata.kiln`.
struct Wishes {
    reply: bool,
    then: Vec<Box<RawValue>>,
    key: Option<String>,
    unique: Option<Unique>,
}

impl Wishes {
    /// None: for nothing.
    fn into_json(self) -> serde_json::Result<Option<Box<RawValue>>> {
        let mut kiln = BTreeMap::new();
        if self.reply {
            kiln.insert("reply", to_raw_value(&true)?);
        }
        if !self.then.is_empty() {
            kiln.insert("then", to_raw_value(&self.then)?);
        }
        if let Some(key) = self.key {
            kiln.insert("key", to_raw_value(&key)?);
        }
        if let Some(unique) = self.unique {
            kiln.insert("unique", unique.to_json());
        }
        (!kiln.is_empty()).then(|| to_raw_value(&kiln)).transpose()
    }
}

/// A batch that the jobs of a file are to be.
struct OfBatch {
    /// What each of them has in `metadata.kiln.batch`.
    metadata: Box<RawValue>,
    /// What is to be pushed if it is late: its id, the job, and after how long.
    late: Option<(String, Box<RawValue>, Duration)>,
}

impl OfBatch {
    /// Counts the jobs of the file.
    fn read(id: &str, file: &BatchFile, args: &PushArgs) -> anyhow::Result<Self> {
        let BatchFile::File(path) = file else {
            let why = "the jobs of a batch are counted before they are pushed, so --batch-id takes no standard input";
            return Err(Usage(why.to_owned()).into());
        };
        let missing = |err| Usage(format!("{}: {err}", path.display()));
        let lines = BufReader::new(File::open(path).map_err(missing)?).split(b'\n');
        let mut jobs = 0_u64;
        for line in lines {
            jobs += u64::from(!line.map_err(missing)?.trim_ascii().is_empty());
        }
        if !(1..=MAX_MEMBERS).contains(&jobs) {
            return Err(Usage(format!(
                "a batch has 1 to {MAX_MEMBERS} jobs, and {} has {jobs}",
                path.display()
            ))
            .into());
        }
        let mut batch = BTreeMap::from([("id", to_raw_value(id)?), ("of", to_raw_value(&jobs)?)]);
        batch.extend(args.on_success.clone().map(|job| ("then", job)));
        batch.extend(args.on_end.clone().map(|job| ("complete", job)));
        let metadata = to_raw_value(&batch)?;
        let kiln = to_raw_value(&BTreeMap::from([("kiln", BTreeMap::from([("batch", &metadata)]))]))?;
        if let Some(why) = &Options::read(Some(&kiln)).0.plans().refused {
            return Err(Usage(why.clone()).into());
        }
        let late = args.on_late.clone().zip(args.late_after);
        Ok(Self {
            metadata,
            late: late.map(|(job, within)| (id.to_owned(), job, within)),
        })
    }
}

/// A `value_parser` for a job of a chain: `NAME`, `NAME=PAYLOAD`, or JSON.
fn link(text: &str) -> Result<Box<RawValue>, String> {
    let json = |text: &str| RawValue::from_string(text.to_owned());
    if text.starts_with('{') {
        return json(text).map_err(|err| format!("{text:?} is no JSON: {err}"));
    }
    let (name, payload) = match text.split_once('=') {
        None => (text, None),
        Some((name, payload)) => (name, Some(payload)),
    };
    let mut job = BTreeMap::from([("name", to_raw_value(name).map_err(|err| err.to_string())?)]);
    if let Some(payload) = payload {
        let payload = json(payload).map_err(|err| format!("the payload of {name:?} is no JSON: {err}"))?;
        job.insert("payload", payload);
    }
    to_raw_value(&job).map_err(|err| err.to_string())
}

/// A `value_parser` for `KEY=VALUE`.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}
