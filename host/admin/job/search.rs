//! Looking for the jobs with an id where jobs lie.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{MAX_FOUND, MAX_SEARCHED, Searched, State};
use crate::job::{Job, Label};
use crate::outcome::Lane;
use crate::queue::{JobsPage, Part as Lies, QueueError, QueueName, Seen, Store};

/// A job, where it lies. Its texts are the producer's.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// The queue.
    pub queue: String,
    /// Where in it.
    #[serde(flatten)]
    pub part: Part,
    /// The job's name.
    pub name: Option<String>,
    /// Attempts so far; none of a job too large to be read here.
    pub attempts: Option<u32>,
    /// Attempts in all, if the job says; else its plugin's manifest decides.
    pub max_attempts: Option<u32>,
    /// When it was made, RFC 3339, as its producer wrote it.
    pub created_at: Option<String>,
    /// Since when it may run, in milliseconds since the Unix epoch; of a delayed job, when it falls due.
    pub due_ms: Option<i64>,
    /// Its length.
    pub bytes: u64,
    /// Why its last attempt failed.
    pub error: Option<String>,
    /// Its metadata, if all of it was read.
    #[serde(skip)]
    pub metadata: Option<Box<RawValue>>,
}

/// Where in a queue a job lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Part {
    /// A worker holds it.
    InFlight {
        /// Which.
        host: String,
    },
    /// It is ready.
    Ready {
        /// How many are taken before it, by their order alone.
        before: u64,
    },
    /// It waits in a lane.
    Waiting {
        /// Which: `plugin:NAME`, `job:NAME` or `large`.
        lane: String,
        /// How many are in the lane before it.
        before: u64,
    },
    /// It waits for its time.
    Delayed,
}

impl Part {
    /// What it says about the job's state.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::InFlight { .. } => State::InFlight,
            Self::Ready { .. } => State::Ready,
            Self::Waiting { .. } => State::Waiting,
            Self::Delayed => State::Delayed,
        }
    }

    fn of(lies: &Lies, before: u64) -> Self {
        match lies {
            Lies::InFlight(host) => Self::InFlight { host: host.clone() },
            Lies::Ready => Self::Ready { before },
            Lies::Lane(lane) => Self::Waiting {
                lane: lane.to_string(),
                before,
            },
            Lies::Delayed => Self::Delayed,
        }
    }
}

/// Looks for jobs with an id in some queues.
pub(super) async fn search(
    store: &Store,
    id: &str,
    queues: &[QueueName],
    all: bool,
    searched: &mut Searched,
) -> Result<Vec<Found>, QueueError> {
    let mut found = Vec::new();
    searched.all_jobs = true;
    // In flight first, in all queues: these are few, and most asked for.
    let (mut in_flight, mut others) = (Vec::new(), Vec::new());
    for queue in queues {
        let counts = store.counts(queue).await?;
        in_flight.extend(counts.hosts.into_keys().map(|host| (queue, Lies::InFlight(host))));
        let lanes = counts.lanes.into_keys().map(|lane| Lies::Lane(Lane::from(lane)));
        others.extend(
            [Lies::Delayed, Lies::Ready]
                .into_iter()
                .chain(lanes)
                .map(|part| (queue, part)),
        );
    }
    for (queue, lies) in in_flight.into_iter().chain(others) {
        let mut from = None;
        loop {
            if !all && searched.jobs >= MAX_SEARCHED {
                searched.all_jobs = false;
                return Ok(found);
            }
            let page = store.jobs(queue, &lies, from.as_deref()).await?;
            searched.jobs += page.jobs.len() as u64;
            let room = MAX_FOUND - found.len();
            found.extend(of_page(&page, id, queue, &lies).take(room));
            from = page.next;
            if from.is_none() || found.len() == MAX_FOUND {
                break;
            }
        }
    }
    Ok(found)
}

/// The jobs with this id on a page.
fn of_page<'a>(page: &'a JobsPage, id: &'a str, queue: &'a QueueName, lies: &'a Lies) -> impl Iterator<Item = Found> {
    // A list is read from its end: what is left of it stands before this page.
    let left: u64 = page.next.as_ref().and_then(|next| next.parse().ok()).unwrap_or(0);
    let places = (0..page.jobs.len() as u64).rev().map(move |place| left + place);
    let here = page.jobs.iter().zip(places);
    here.filter(|(seen, _)| Label::of(&seen.job.bytes).id.as_deref() == Some(id))
        .map(|(seen, before)| Found::of(seen, queue, Part::of(lies, before)))
}

impl Found {
    fn of(seen: &Seen, queue: &QueueName, part: Part) -> Self {
        let bytes = &seen.job.bytes;
        let job = (bytes.len() == seen.job.len).then(|| Job::decode(bytes).ok()).flatten();
        let label = Label::of(bytes);
        let times = job.as_ref().map(|job| &job.times);
        let own = times.and_then(|times| times.available_at.as_deref()?.parse::<Timestamp>().ok());
        Self {
            queue: queue.to_string(),
            part,
            name: label.name,
            attempts: job.as_ref().map(|job| job.attempts),
            max_attempts: job.as_ref().map(|job| job.max_attempts).filter(|most| *most > 0),
            created_at: label.created_at,
            due_ms: seen.due_ms.or(own.map(Timestamp::as_millisecond)),
            bytes: seen.job.len as u64,
            metadata: job.as_ref().and_then(|job| job.metadata.clone()),
            error: job.and_then(|job| job.error),
        }
    }
}
