//! A file of jobs, one in each line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::value::{RawValue, to_raw_value};

use super::BatchFile;
use crate::cli::{Usage, plural};
use crate::job::{Job, MAX_JOB_BYTES};
use crate::queue::{Push, QueueError, QueueName, Store};

/// Jobs pushed in one go of a batch.
const BATCH_JOBS: usize = 1_000;

/// Bytes of jobs pushed in one go, whatever their number.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// A file of jobs, opened.
pub(in crate::cli) struct JobFile {
    /// What each has in `metadata.kiln.batch`.
    membership: Option<Box<RawValue>>,
    name: String,
    reader: Box<dyn Read>,
    bar: ProgressBar,
}

impl JobFile {
    pub(in crate::cli) fn open(file: &BatchFile) -> anyhow::Result<Self> {
        let (name, reader, bar) = open_batch(file)?;
        Ok(Self {
            membership: None,
            name,
            reader,
            bar,
        })
    }

    /// Makes them jobs of a batch: each has this in `metadata.kiln.batch`.
    pub(super) fn of(self, batch: Option<Box<RawValue>>) -> Self {
        let membership = batch;
        Self { membership, ..self }
    }

    /// Pushes one job for each line, and shows how far it is on a terminal. Returns how many.
    pub(in crate::cli) async fn push(self, store: &Store, queue: &QueueName) -> anyhow::Result<u64> {
        let Self {
            membership,
            name,
            reader,
            bar,
        } = self;
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
            match batch_line(&line, queue, membership.as_deref(), Timestamp::now() + ahead) {
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
fn batch_line(line: &[u8], queue: &QueueName, of_batch: Option<&RawValue>, now: Timestamp) -> Result<Push, String> {
    let mut job = Job::decode(line.trim_ascii()).map_err(|err| err.to_string())?;
    if let Some(batch) = of_batch {
        job.metadata = Some(in_batch(job.metadata.as_deref(), batch)?);
    }
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

/// A job's metadata, as of a job of that batch.
fn in_batch(metadata: Option<&RawValue>, batch: &RawValue) -> Result<Box<RawValue>, String> {
    type Object = BTreeMap<String, Box<RawValue>>;
    let object =
        |json: Option<&RawValue>| json.map_or_else(|| Ok(Object::new()), |json| serde_json::from_str(json.get()));
    let both = || {
        let mut metadata = object(metadata)?;
        let mut kiln = object(metadata.get("kiln").map(|kiln| &**kiln))?;
        kiln.insert("batch".to_owned(), batch.to_owned());
        metadata.insert("kiln".to_owned(), to_raw_value(&kiln)?);
        to_raw_value(&metadata)
    };
    both().map_err(|err| format!("metadata: {err}"))
}

/// A store that did not answer may have pushed the jobs. Whoever pushes them again must know that.
pub(super) fn perhaps_pushed(err: QueueError) -> anyhow::Error {
    let context = format!("{err}; what was not answered may have been pushed all the same");
    anyhow::Error::new(err).context(context)
}
