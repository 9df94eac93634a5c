//! The jobs that are measured: how they are made and pushed, all at once, one by one, or at even intervals.

use std::hint::spin_loop;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::times::unix_ns;
use crate::job::Job;
use crate::queue::{Push, QueueError, QueueName, Store};

/// Jobs that are pushed in one go, as `kiln push --batch` does.
const BATCH_JOBS: usize = 1_000;

/// Bytes of jobs that are pushed in one go, whatever their number.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// How long before a job is due the sleep ends and spinning begins: systems wake sleepers about so late.
const SLEEP_MARGIN: Duration = Duration::from_micros(100);

/// At shorter intervals than this, only sleep is used: spinning would keep a core busy.
const SPIN_INTERVAL: Duration = Duration::from_millis(1);

/// What all jobs of a benchmark have in common.
#[derive(Debug, Clone)]
pub(super) struct Template {
    pub(super) name: String,
    pub(super) queue: QueueName,
    pub(super) payload: Box<RawValue>,
}

impl Template {
    /// The job of this number. It has one attempt, so that a failed job is not measured twice.
    pub(super) fn job(&self, number: u64) -> Job {
        let mut job = Job::new(&self.name, self.queue.as_str(), self.payload.clone());
        job.id = number.to_string();
        job.max_attempts = 1;
        job
    }

    fn push(&self, number: u64, due_ms: Option<i64>) -> Push {
        Push {
            queue: self.queue.clone(),
            job: self.job(number).encode(),
            due_ms,
        }
    }

    /// How many jobs fit well into one message.
    pub(super) fn batch_jobs(&self) -> usize {
        (BATCH_BYTES / self.job(0).encode().len()).clamp(1, BATCH_JOBS)
    }

    /// Makes and pushes so many jobs, and returns how long that took.
    pub(super) async fn push_all(
        &self,
        store: &Store,
        jobs: u64,
        due_ms: Option<i64>,
        bar: &ProgressBar,
    ) -> Result<Duration, QueueError> {
        let (began, batch_jobs) = (Instant::now(), self.batch_jobs());
        let mut number = 0;
        while number < jobs {
            let end = jobs.min(number + batch_jobs as u64);
            let batch: Vec<_> = (number..end).map(|number| self.push(number, due_ms)).collect();
            store.push(&batch).await?;
            bar.inc(end - number);
            number = end;
        }
        Ok(began.elapsed())
    }

    /// Makes and pushes one job, as a producer does that has one.
    pub(super) async fn push_one(&self, store: &Store, number: u64) -> Result<(), QueueError> {
        store.push(&[self.push(number, None)]).await
    }

    /// Pushes jobs at even intervals, and returns when each was due.
    pub(super) async fn push_at_rate(&self, store: &Store, jobs: u64, per_s: u32) -> Result<Vec<u64>, QueueError> {
        let (template, store) = (self.clone(), store.clone());
        at_rate(jobs, per_s, move |numbers| {
            let (template, store) = (template.clone(), store.clone());
            async move {
                let batch: Vec<_> = numbers.map(|number| template.push(number, None)).collect();
                store.push(&batch).await
            }
        })
        .await
    }
}

/// Pushes jobs at even intervals, each in its time even if those before it are not taken yet. Returns when each was
/// due.
pub(super) async fn at_rate<F: Future<Output = Result<(), QueueError>> + Send + 'static>(
    jobs: u64,
    per_s: u32,
    push: impl Fn(Range<u64>) -> F + Send + 'static,
) -> Result<Vec<u64>, QueueError> {
    let (sender, mut failures) = mpsc::unbounded_channel();
    let (interval, runtime) = (Duration::from_secs(1) / per_s, Handle::current());
    // When a push fails, or the caller stops waiting, no further job is pushed.
    let over = CancellationToken::new();
    let _guard = over.clone().drop_guard();
    let ends = over.clone();
    let spawn = move |numbers: Range<u64>| {
        let (pushed, sender, over) = (push(numbers), sender.clone(), ends.clone());
        runtime.spawn(async move {
            if let Some(Err(err)) = over.run_until_cancelled(pushed).await {
                let _ = sender.send(err);
                over.cancel();
            }
        });
    };
    // A thread of its own: the timers of the runtime are a millisecond coarse.
    let schedule = spawn_blocking(move || keep_schedule(jobs, interval, &over, spawn)).await;
    // No message comes once every push has succeeded.
    match failures.recv().await {
        Some(err) => Err(err),
        None => Ok(schedule.unwrap_or_default()),
    }
}

/// Calls `push` for each job in its time, or for several jobs that have become due, until `over`.
fn keep_schedule(jobs: u64, interval: Duration, over: &CancellationToken, push: impl Fn(Range<u64>)) -> Vec<u64> {
    let first_ns = unix_ns() + nanos(interval);
    let due_ns = |number: u64| first_ns + number * nanos(interval);
    let mut number = 0;
    while number < jobs && !over.is_cancelled() {
        wait_until(due_ns(number), interval);
        let (now, start) = (unix_ns(), number);
        while number == start || (number < jobs && number - start < BATCH_JOBS as u64 && due_ns(number) <= now) {
            number += 1;
        }
        push(start..number);
    }
    (0..jobs).map(due_ns).collect()
}

fn wait_until(due_ns: u64, interval: Duration) {
    let left = || Duration::from_nanos(due_ns.saturating_sub(unix_ns()));
    if interval < SPIN_INTERVAL {
        thread::sleep(left());
        return;
    }
    thread::sleep(left().saturating_sub(SLEEP_MARGIN));
    while !left().is_zero() {
        spin_loop();
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
