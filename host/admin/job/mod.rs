//! The life of one job, from all that is known of it: where it lies, its attempts, what it came to, whether it is cancelled.
//!
//! Jobs are not indexed by their ids, so a job that has not ended is looked for: in flight first, then among those that were
//! pushed last. Nothing here moves a job.

mod search;

use serde::Serialize;

use super::AdminError;
use super::failed::{PAGE_ENTRIES, Summary};
use super::plugins::{Hosts, hosts};
use super::results::{self, Outcome};
use crate::outcome::{AttemptRecord, Failure, RunningReport};
use crate::queue::{FailedEntry, QueueError, QueueName, Search, Store};
pub use search::{Found, Part};

/// Jobs that a brief search looks at, of all queues together. Redis reads as many in some tens of milliseconds, a few
/// hundred at a time.
pub const MAX_SEARCHED: u64 = 20_000;

/// Entries of the failed list that a brief search looks at, the newest first.
pub const MAX_FAILED_SEARCHED: u64 = 10_000;

/// Jobs with one id that are told of. Producers may push an id twice.
pub const MAX_FOUND: usize = 10;

/// Where and how far to look for a job.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// In which queues; none: in all that are known.
    pub queues: Option<Vec<QueueName>>,
    /// Whether to look at every job and every failed entry, however many there are.
    pub all: bool,
    /// Whether to leave the failed list out, for a caller that has an index of it.
    pub without_failed: bool,
    /// The reports of hosts, of a caller that has them.
    pub hosts: Option<Hosts>,
}

/// What is known of a job.
#[derive(Debug, Serialize)]
pub struct Life {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: State,
    /// The places where its bytes lie, at most [`MAX_FOUND`]. More than one: jobs were pushed with the same id.
    pub found: Vec<Found>,
    /// The attempts under way that workers have told of in the last seconds: those that run for at least a second, the
    /// longest of each worker.
    pub running: Vec<Running>,
    /// What the attempt under way reported last; none: it reported nothing, or none is under way.
    pub progress: Option<RunningReport>,
    /// What is kept of its attempts, the oldest first: by default of those that failed.
    pub attempts: Vec<AttemptRecord>,
    /// What it came to, if that is kept: its answer, or its result.
    pub outcome: Option<Outcome>,
    /// Its entry in the failed list: the newest.
    pub failed: Option<Failed>,
    /// The queues in which it is marked as cancelled.
    pub cancelled: Vec<String>,
    /// How far was looked.
    pub searched: Searched,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A worker holds it: it runs, or is about to.
    InFlight,
    /// It is ready to be taken.
    Ready,
    /// It waits in a lane: for its plugin, for room, or because its name is paused.
    Waiting,
    /// It waits for its time.
    Delayed,
    /// It completed, and its result is still kept.
    Completed,
    /// It failed for good.
    Failed,
    /// Nothing of it was found: it has completed without a result that is still kept, was deleted or dropped, was never
    /// pushed, or lies where a brief search does not look.
    Unknown,
}

/// What the attempts at a job came to and said.
#[derive(Debug, Default, Serialize)]
pub struct Words {
    /// Those that are kept, the oldest first.
    pub attempts: Vec<AttemptRecord>,
    /// What the one under way reported last.
    pub progress: Option<RunningReport>,
}

impl Words {
    /// Whether the last attempt that is kept was the job's last.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let is_last = |attempt: &AttemptRecord| attempt.again_in_ms.is_none();
        self.progress.is_none() && self.attempts.last().is_some_and(is_last)
    }
}

/// An attempt under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Running {
    /// The worker that runs it.
    pub host: String,
    /// The queue the job was taken from.
    pub queue: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// An entry of the failed list.
#[derive(Debug, Serialize)]
pub struct Failed {
    /// In short.
    #[serde(flatten)]
    pub summary: Summary,
    /// The attempts that the job has had.
    pub attempts: u32,
    /// How it failed, where Kiln wrote the entry.
    pub failure: Option<Failure>,
}

/// How far was looked for a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Searched {
    /// Jobs looked at.
    pub jobs: u64,
    /// Whether these were all jobs of the queues.
    pub all_jobs: bool,
    /// Failed entries looked at.
    pub failed: u64,
    /// Whether these were all there are.
    pub all_failed: bool,
}

impl State {
    /// Its name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Ready => "ready",
            Self::Waiting => "waiting",
            Self::Delayed => "delayed",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

impl Life {
    fn state(&self) -> State {
        // A job that has not ended goes before what an earlier one with its id came to.
        if let Some(state) = self
            .found
            .iter()
            .map(|found| found.part.state())
            .min_by_key(|state| *state as u8)
        {
            return state;
        }
        match (&self.outcome, &self.failed, self.attempts.last()) {
            (Some(Outcome::Failed { .. }), ..) | (None, Some(_), _) => State::Failed,
            (Some(Outcome::Completed { .. }), ..) => State::Completed,
            (None, None, Some(last)) if last.failure.is_none() => State::Completed,
            (None, None, _) => State::Unknown,
        }
    }

    /// Whether nothing at all is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.state == State::Unknown && self.cancelled.is_empty() && self.attempts.is_empty()
    }
}

/// Tells what is known of the job with this id.
///
/// # Errors
/// When the store fails.
pub async fn life(store: &Store, id: &str, look: &Look) -> Result<Life, AdminError> {
    let queues = match &look.queues {
        Some(queues) => queues.clone(),
        None => store.queues(Search::Brief).await?.queues,
    };
    let mut searched = Searched::default();
    let found = search::search(store, id, &queues, look.all, &mut searched).await?;
    let failed = if look.without_failed {
        None
    } else {
        newest_failed(store, id, look.all, &mut searched).await?
    };
    let (Words { attempts, progress }, cancelled) = past(store, id, &queues).await?;
    let mut life = Life {
        id: id.to_owned(),
        state: State::Unknown,
        found,
        progress,
        running: match &look.hosts {
            Some(hosts) => running(hosts, id),
            None => running(&hosts(store, None).await?, id),
        },
        attempts,
        outcome: results::result(store, id).await?,
        failed,
        cancelled,
        searched,
    };
    life.state = life.state();
    Ok(life)
}

/// What the attempts at a job said, as far as it is kept.
///
/// # Errors
/// When the store fails.
pub async fn words(store: &Store, id: &str, queues: Option<&[QueueName]>) -> Result<Words, AdminError> {
    let queues = match queues {
        Some(queues) => queues.to_vec(),
        None => store.queues(Search::Brief).await?.queues,
    };
    Ok(past(store, id, &queues).await?.0)
}

/// What is kept of the attempts at a job, and the queues in which it is cancelled.
async fn past(store: &Store, id: &str, queues: &[QueueName]) -> Result<(Words, Vec<String>), AdminError> {
    let (mut cancelled, mut attempts) = (Vec::new(), Vec::new());
    for queue in queues {
        let past = store.past(queue, id).await?;
        cancelled.extend(past.cancelled.then(|| queue.to_string()));
        attempts.extend(AttemptRecord::read(&past.attempts));
    }
    attempts.sort_by_key(|attempt| attempt.ended_ms);
    let progress = store.progress(id).await?;
    // A report of another version of Kiln may be one that this one cannot read.
    let progress = progress.and_then(|json| serde_json::from_str(&json).ok());
    Ok((Words { attempts, progress }, cancelled))
}

/// The attempts at a job that workers have told of.
fn running(hosts: &Hosts, id: &str) -> Vec<Running> {
    let all = hosts.iter();
    let all = all.flat_map(|(host, report)| report.running.iter().map(move |running| (host, running)));
    all.filter(|(_, running)| running.id == id)
        .map(|(host, running)| Running {
            host: host.clone(),
            queue: running.queue.clone(),
            since_ms: running.since_ms,
        })
        .collect()
}

/// The newest failed entry of the job with this id.
async fn newest_failed(
    store: &Store,
    id: &str,
    all: bool,
    searched: &mut Searched,
) -> Result<Option<Failed>, QueueError> {
    let mut end = store.failed_len().await?;
    while end > 0 && (all || searched.failed < MAX_FAILED_SEARCHED) {
        let page = store.failed_before(end, PAGE_ENTRIES).await?;
        let Some(start) = page.first().map(FailedEntry::place) else {
            break;
        };
        searched.failed += page.len() as u64;
        end = start;
        let of_job = |entry: &&FailedEntry| entry.job().is_ok_and(|job| job.id == id);
        if let Some(entry) = page.iter().rfind(of_job) {
            return Ok(Failed::of(entry));
        }
    }
    searched.all_failed = end == 0;
    Ok(None)
}

impl Failed {
    /// What an entry says; none if it holds no job.
    #[must_use]
    pub fn of(entry: &FailedEntry) -> Option<Self> {
        Some(Self {
            summary: Summary::of(entry)?,
            attempts: entry.job().ok()?.attempts,
            failure: entry.failure(),
        })
    }
}
