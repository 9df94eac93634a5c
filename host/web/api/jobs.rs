//! One job by its id, and pushing jobs.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use super::request::Request;
use super::{answer, answer_with};
use crate::admin::AdminError;
use crate::admin::facts::Facts;
use crate::admin::job::{Found, Life, Running, Searched, State as JobState, life};
use crate::admin::results::{self, Outcome};
use crate::config::parse_duration;
use crate::job::{Job, MAX_PAYLOAD_BYTES, null};
use crate::outcome::{AttemptRecord, Failure, FailureKind, RunningReport};
use crate::queue::{FailedEntry, Push, QUEUE_DEFAULT, QueueName, cancellable};
use crate::web::body::{Pairs, read};
use crate::web::guard::Caller;
use crate::web::problem::Problem;
use crate::web::room::{Room, Shared, Which};

/// Jobs of one request.
const MAX_JOBS: usize = 1_000;

/// Bytes of a request that pushes: one job of the largest kind, or many small ones.
const MAX_BYTES: usize = MAX_PAYLOAD_BYTES + 1024 * 1024;

/// Longest time that a request waits for a job to end.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// Jobs that are read and described at once. Each may have tens of MiB, in memory several times over.
static DESCRIBED: Semaphore = Semaphore::const_new(2);

/// What a failed entry says. Payload and metadata are the text that the entry has: as a tree, numbers would be rounded, and
/// a large one would take many times its length.
#[derive(Serialize)]
struct Described<'a> {
    id: &'a str,
    state: &'static str,
    name: &'a str,
    queue: &'a str,
    attempts: u32,
    max_attempts: u32,
    created_at: Option<&'a str>,
    available_at: Option<&'a str>,
    started_at: Option<&'a str>,
    failed_at: Option<&'a str>,
    error: Option<&'a str>,
    cause: String,
    failure: Option<Failure>,
    payload: Box<RawValue>,
    metadata: Option<Box<RawValue>>,
}

/// What a failed entry says, with what is to be hidden left out.
fn described(room: &Room, entry: &FailedEntry) -> Result<Box<RawValue>, Problem> {
    let job = entry.job().map_err(|err| Problem::missing(err.to_string()))?;
    let (facts, failure) = (Facts::of(entry), entry.failure());
    let shown = |json: &str, of: &str| {
        let plain = room.redaction.plain(json, &[of]);
        RawValue::from_string(plain).unwrap_or_else(|_| null())
    };
    let payload = match room.redaction.instead_of_bytes(failure.as_ref(), job.payload.get()) {
        Some(instead) => raw(&instead),
        None => shown(job.payload.get(), "payload"),
    };
    Ok(raw(&Described {
        id: &job.id,
        state: "failed",
        name: &job.name,
        queue: &facts.queue,
        attempts: job.attempts,
        max_attempts: job.max_attempts,
        created_at: job.times.created_at.as_deref(),
        available_at: job.times.available_at.as_deref(),
        started_at: job.times.started_at.as_deref(),
        failed_at: job.times.failed_at.as_deref(),
        error: job.error.as_deref(),
        cause: facts.cause.id(),
        failure,
        payload,
        metadata: job.metadata.as_ref().map(|metadata| shown(metadata.get(), "metadata")),
    }))
}

/// A failed job.
pub(super) async fn failed(room: &Shared, which: &Which) -> Result<Response, Problem> {
    let _place = DESCRIBED.acquire().await;
    let (entry, room) = (room.entry(which).await?, Arc::clone(room));
    // However large it is, whatever else runs in this process goes on.
    let described = tokio::task::spawn_blocking(move || described(&room, &entry));
    Ok(answer(&described.await.map_err(|err| Problem::bad(err.to_string()))??))
}

/// A job by its id, wherever it is. With `wait`, as soon as it has ended.
pub(super) async fn one(State(room): State<Shared>, Path(id): Path<String>, uri: Uri) -> Result<Response, Problem> {
    let query = Pairs::of(uri.query().unwrap_or_default().as_bytes());
    query.only(&["wait"])?;
    let asked = uri.query().filter(|query| !query.is_empty());
    let wait = asked.map(|_| parse_duration(query.get("wait").unwrap_or_default()));
    let wait = wait.transpose().map_err(Problem::bad)?;
    match failed(&room, &Which::Job(id.clone())).await {
        Err(problem) if problem.is_missing() => {}
        answered => return answered,
    }
    if let Some(wait) = wait {
        results::wait(&room.store, &id, Some(wait.min(MAX_WAIT))).await?;
    }
    let _place = DESCRIBED.acquire().await;
    let look = room.look().await;
    let life = life(&room.store, &id, &look).await?;
    if life.is_unknown() && life.outcome.is_none() {
        return Err(Problem::missing(
            "this job is not in the failed list, no result of it is kept, and it is not among the jobs that were looked at",
        ));
    }
    Ok(answer(&Lived::of(&room, &life)))
}

pub(super) async fn cancel(
    State(room): State<Shared>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    Ok(answer(&room.cancel(&caller, &id, false).await?))
}

pub(super) async fn uncancel(
    State(room): State<Shared>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    Ok(answer(&room.cancel(&caller, &id, true).await?))
}

/// What is known of a job that is in no failed entry.
#[derive(Serialize)]
struct Lived<'a> {
    id: &'a str,
    state: JobState,
    found: &'a [Found],
    running: &'a [Running],
    progress: Option<&'a RunningReport>,
    attempts: &'a [AttemptRecord],
    /// What it returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    /// How it failed, where it asked for an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<FailureKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    cancelled: &'a [String],
    searched: Searched,
}

impl<'a> Lived<'a> {
    fn of(room: &Room, life: &'a Life) -> Self {
        let (result, kind, message) = match &life.outcome {
            Some(Outcome::Completed { result, .. }) => (result.as_ref(), None, None),
            Some(Outcome::Failed { kind, message }) => (None, Some(*kind), Some(message.as_str())),
            None => (None, None, None),
        };
        let shown = |json: &RawValue| RawValue::from_string(room.redaction.plain(json.get(), &["result"]));
        Self {
            id: &life.id,
            state: life.state,
            found: &life.found,
            running: &life.running,
            progress: life.progress.as_ref(),
            attempts: &life.attempts,
            result: result.map(|json| shown(json).unwrap_or_else(|_| null())),
            kind,
            message,
            cancelled: &life.cancelled,
            searched: life.searched,
        }
    }
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| null())
}

/// A job to push.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked<'a> {
    /// What the job is to be known by. Nobody looks whether another has it.
    id: Option<String>,
    name: String,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    queue: Option<String>,
    /// When it may run first, in milliseconds from now.
    delay_ms: Option<u64>,
    max_attempts: Option<u32>,
    /// JSON text of an object.
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

impl Asked<'_> {
    /// The job, under the id of its place in a request that brought a key, if it has none of its own.
    fn push(self, now: Timestamp, own: Option<String>) -> Result<(String, Push), String> {
        if self.name.is_empty() {
            return Err("a job has a name".to_owned());
        }
        let queue = QueueName::new(self.queue.as_deref().unwrap_or(QUEUE_DEFAULT))?;
        let payload = self.payload.map_or_else(null, ToOwned::to_owned);
        let mut job = Job::new(&self.name, queue.as_str(), payload);
        if let Some(id) = self.id.as_deref().map(cancellable).transpose()?.or(own) {
            job.id = id;
        }
        job.max_attempts = self.max_attempts.unwrap_or(0);
        job.metadata = self.metadata.map(ToOwned::to_owned);
        let due = self.delay_ms.map(|ms| {
            let due = now
                .saturating_add(std::time::Duration::from_millis(ms))
                .unwrap_or(Timestamp::MAX);
            job.delay_until(now, due);
            due.as_millisecond()
        });
        let text = job.encode();
        // What a host would refuse is refused here.
        Job::decode(text.as_bytes()).map_err(|err| err.to_string())?;
        if let Some(why) = &job.options().0.plans().refused {
            return Err(why.clone());
        }
        Ok((
            job.id,
            Push {
                queue,
                job: text,
                due_ms: due,
            },
        ))
    }
}

/// Pushes a job, or an array of them: all or, where one makes no sense, none. A request with a key of its own is carried out
/// once, however often it is made.
pub(super) async fn push(
    State(room): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = read(body, MAX_BYTES).await?;
    let is_batch = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let wrong = |err: serde_json::Error| Problem::bad(format!("that is no job to push: {err}"));
    let asked: Vec<Asked<'_>> = if is_batch {
        serde_json::from_slice(&body).map_err(wrong)?
    } else {
        vec![serde_json::from_slice(&body).map_err(wrong)?]
    };
    if asked.is_empty() || asked.len() > MAX_JOBS {
        return Err(Problem::bad(format!("a request pushes 1 to {MAX_JOBS} jobs")));
    }
    let request = Request::of(&headers, &body)?;
    let now = room.store.now().await.map_err(AdminError::from)?;
    let pushes = asked.into_iter().enumerate().map(|(place, asked)| {
        let pushed = asked.push(now, request.as_ref().map(|request| request.id(place)));
        pushed.map_err(|why| Problem::bad(format!("job {place}: {why}")))
    });
    let (ids, pushes): (Vec<_>, Vec<_>) = pushes.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    let is_new = match &request {
        Some(request) => request.begin(&room.store).await?,
        None => true,
    };
    if is_new {
        let what = format!("{} jobs, the first to queue {}", pushes.len(), pushes[0].queue.as_str());
        room.record(&caller.name, "push", &what).await?;
        room.store.push(&pushes).await.map_err(AdminError::from)?;
        if let Some(request) = &request {
            request.end(&room.store).await?;
        }
    }
    let ids: Vec<_> = ids.into_iter().map(|id| json!({"id": id})).collect();
    if is_batch {
        return Ok(answer_with(StatusCode::CREATED, &json!({"items": ids})));
    }
    Ok(answer_with(StatusCode::CREATED, &ids[0]))
}
