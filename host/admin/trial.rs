//! A failed job run again on a component of an operator's choice, to see what would come of it.
//!
//! Nothing does: no queue, no result and no other job is touched, what it writes to its buckets is noted and seen by itself
//! alone, and unless the operator wants otherwise its HTTP requests are noted and not sent.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::AdminError;
use super::facts::Facts;
use super::overlay::Overlay;
use crate::config::{Egress, Limit, Manifest, SandboxSettings};
use crate::job::{Job, saturating_ns};
use crate::outcome::{Attempt, Failure, FailureKind, Outcome};
use crate::queue::FailedEntry;
use crate::recording::{Tape, Withheld, Would};
use crate::sandbox::{AttemptContext, CompileStop, Handler, Listener, LogLine, Sandbox, Speaker};
use crate::state::{Keeper, Write};

/// Time that the attempt may take, whatever its job and its manifest say.
pub const MAX_ATTEMPT_TIME: Duration = Duration::from_mins(1);

/// Time that compiling the component may take.
pub const MAX_COMPILE_TIME: Duration = Duration::from_mins(3);

/// Lines of the handler's log that are kept: the first ones.
pub const MAX_LOG_LINES: usize = 500;

/// What a failed job is tried on.
#[derive(Debug)]
pub struct Trial {
    /// The name of the plugin, for messages.
    pub plugin: String,
    /// The component.
    pub component: Vec<u8>,
    /// What it is granted, and its limits.
    pub manifest: Manifest,
    /// Whether its HTTP requests and TCP connections are really made.
    pub sends: bool,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Tried {
    /// The job's id.
    pub id: String,
    /// The name of the plugin.
    pub plugin: String,
    /// SHA-256 of the component, hexadecimal.
    pub digest: String,
    /// `completed`, `failed` or `stopped`.
    pub outcome: &'static str,
    /// What the handler returned.
    pub result: Option<Box<RawValue>>,
    /// How and why it failed.
    pub failure: Option<Failure>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Processor time, in milliseconds.
    pub cpu_ms: u64,
    /// The most memory it had at once, in bytes.
    pub peak_memory_bytes: u64,
    /// The last of its standard output.
    pub stdout: String,
    /// The last of its standard error.
    pub stderr: String,
    /// What it logged.
    pub log: Vec<Line>,
    /// Lines beyond those.
    pub log_dropped: u64,
    /// Whether its requests were really sent.
    pub sent: bool,
    /// The requests that were not.
    pub would_send: Would,
    /// What it would have written to its buckets.
    pub writes: Vec<Write>,
}

/// A line that the handler logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// `error`, `warn` and so on.
    pub level: String,
    /// What it says.
    pub message: String,
}

/// Keeps what the handler logs.
#[derive(Debug, Default)]
struct Heard(Mutex<(Vec<Line>, u64)>);

impl Listener for Heard {
    fn log(&self, _: &Speaker<'_>, line: &LogLine<'_>) {
        let mut heard = self.0.lock();
        if heard.0.len() >= MAX_LOG_LINES {
            heard.1 += 1;
            return;
        }
        heard.0.push(Line {
            level: line.level.as_str().to_ascii_lowercase(),
            message: line.message.to_owned(),
        });
    }

    fn progress(&self, _: &Speaker<'_>, _: u8, _: &str) {}
}

/// Makes one attempt at the job of a failed entry, in a sandbox of its own with these settings. Its buckets are those that the
/// settings say, and are only read.
///
/// # Errors
/// When the entry holds no job that could be run, the component does not load, or the sandbox does not start. What the handler
/// does is no error.
pub async fn run(settings: &SandboxSettings, entry: &FailedEntry, trial: Trial) -> Result<Tried, AdminError> {
    let (mut job, queue) = job_of(entry)?;
    let withheld = Arc::<Withheld>::default();
    let tape = (!trial.sends).then(|| Tape::Withhold(Arc::clone(&withheld)));
    let state = Arc::new(Overlay::over(settings.state.clone()));
    let settings = SandboxSettings {
        concurrency: NonZeroU32::MIN,
        state: Some(Arc::clone(&state) as Arc<dyn Keeper>),
        egress: Egress {
            tape,
            ..settings.egress.clone()
        },
        ..settings.clone()
    };
    let (sends, plugin) = (trial.sends, trial.plugin.clone());
    // Kept until the attempt is over: its threads are the sandbox's.
    let (_sandbox, handler) = load(settings, trial).await?;
    let own = if job.timeout_ns > 0 {
        Duration::from_nanos(job.timeout_ns.unsigned_abs())
    } else {
        handler.limits().time(Limit::Timeout)
    };
    job.timeout_ns = saturating_ns(own.min(MAX_ATTEMPT_TIME));
    let heard = Arc::<Heard>::default();
    let context = AttemptContext {
        listener: Some(Arc::clone(&heard) as Arc<dyn Listener>),
        ..AttemptContext::default()
    };
    let attempt = handler.run(&job, &queue, &context).await;
    let (log, log_dropped) = heard.0.lock().clone();
    let (mut writes, tried) = (state.take_writes(), Tried::of(&job, plugin, handler.digest(), attempt));
    writes.extend(tried.writes);
    Ok(Tried {
        writes,
        log,
        log_dropped,
        sent: sends,
        would_send: withheld.would(),
        ..tried
    })
}

impl Tried {
    fn of(job: &Job, plugin: String, digest: &str, attempt: Attempt) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (outcome, result, failure) = match attempt.outcome {
            Outcome::Completed { result } => ("completed", result, None),
            Outcome::Failed { failure, .. } => ("failed", None, Some(failure)),
            Outcome::Stopped => ("stopped", None, None),
        };
        let report = attempt.report;
        Self {
            id: job.id.clone(),
            plugin,
            digest: digest.to_owned(),
            outcome,
            result: result.and_then(|json| RawValue::from_string(json).ok()),
            failure,
            duration_ms: ms(report.duration),
            cpu_ms: ms(report.cpu),
            peak_memory_bytes: report.peak_memory_bytes,
            stdout: report.stdout.text,
            stderr: report.stderr.text,
            log: Vec::new(),
            log_dropped: 0,
            sent: false,
            would_send: Would::default(),
            writes: attempt.asked.writes,
        }
    }
}

/// The job as its last attempt had it, and the queue that it came from.
fn job_of(entry: &FailedEntry) -> Result<(Job, String), AdminError> {
    let untriable = |why: &str| AdminError::Untriable(why.to_owned());
    let job = entry.job().map_err(|err| untriable(&err.to_string()))?;
    let failure = entry.failure();
    if let Some(FailureKind::Malformed) = failure.as_ref().map(|failure| failure.kind) {
        return Err(untriable("it holds bytes that are no job"));
    }
    let mut job = job.clone();
    let attempt = failure.map_or(job.attempts, |failure| failure.attempt);
    job.attempts = attempt.saturating_sub(1);
    Ok((job, Facts::of(entry).queue))
}

/// Compiles and links the component, off the threads that serve others.
async fn load(settings: SandboxSettings, trial: Trial) -> Result<(Sandbox, Handler), AdminError> {
    let stop = Arc::<CompileStop>::default();
    let stopped = Arc::clone(&stop);
    let loading = tokio::task::spawn_blocking(move || {
        let sandbox = Sandbox::new(&settings)?;
        let handler = sandbox.load_unless(&stopped, &trial.plugin, &trial.component, &trial.manifest)?;
        Ok::<_, AdminError>((sandbox, handler))
    });
    let mut loading = std::pin::pin!(loading);
    let joined = if let Ok(joined) = timeout(MAX_COMPILE_TIME, loading.as_mut()).await {
        joined
    } else {
        stop.stop();
        loading.await
    };
    joined.map_err(|err| AdminError::Untriable(format!("the host failed: {err}")))?
}
