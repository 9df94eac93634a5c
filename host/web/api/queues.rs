//! Queues, plugins and hosts.

use std::ops::Bound;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::{answer, count, cursor, items, place, sample};
use crate::admin::AdminError;
use crate::admin::jobs as seen;
use crate::admin::pause as pausing;
use crate::admin::queues::Figure;
use crate::queue::{Counts, MAX_PEEKED, Pausable, Place, QueueName};
use crate::web::body::{MAX_PLACE, Pairs, read};
use crate::web::guard::Caller;
use crate::web::live::Sample;
use crate::web::problem::Problem;
use crate::web::room::Shared;

/// Bytes of a request to pause.
const MAX_PAUSE_BYTES: usize = 4 * 1024;

fn query_of(uri: &Uri) -> Pairs {
    Pairs::of(uri.query().unwrap_or_default().as_bytes())
}

fn name_of(queue: &str) -> Result<QueueName, Problem> {
    QueueName::new(queue).map_err(Problem::missing)
}

fn described(sample: &Sample, name: &str, figure: &Figure) -> serde_json::Value {
    let mut described = serde_json::to_value(figure).unwrap_or_default();
    described["name"] = name.into();
    described["oldest_ms"] = json!(sample.oldest(name).map(|age| age.as_millis()));
    described
}

pub(super) async fn list(State(room): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    let query = query_of(&uri);
    query.only(&["cursor", "limit"])?;
    let (after, count) = (place::<String>(&query)?, count(&query)?);
    let sample = sample(&room).await?;
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut queues = sample.figures.queues.range::<String, _>((from, Bound::Unbounded));
    let some: Vec<_> = queues.by_ref().take(count).collect();
    let last = some.last().map(|(name, _)| (*name).clone());
    let next = queues.next().and(last).map(cursor);
    let described = some.into_iter().map(|(name, figure)| described(&sample, name, figure));
    Ok(items(&described.collect::<Vec<_>>(), next))
}

pub(super) async fn one(State(room): State<Shared>, Path(name): Path<String>) -> Result<Response, Problem> {
    let sample = sample(&room).await?;
    let figure = sample.figures.queues.get(&name);
    let figure = figure.ok_or_else(|| Problem::missing("nobody serves this queue, and it holds nothing"))?;
    Ok(answer(&described(&sample, &name, figure)))
}

/// How many jobs a queue has for workers, now: one number, for what starts workers and stops them. A queue that nobody has
/// heard of has none.
pub(super) async fn load(State(room): State<Shared>, Path(name): Path<String>) -> Result<Response, Problem> {
    let (queue, sample) = (name_of(&name)?, sample(&room).await?);
    let counts = match sample.figures.queues.get(&name) {
        Some(Figure::Counted(counts)) => counts.clone(),
        Some(Figure::Fault { error, .. }) => {
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.clone()));
        }
        None => Counts::default(),
    };
    // What runs is to end; what else a paused queue holds waits for somebody.
    let jobs = if counts.paused.is_some() {
        counts.in_flight
    } else {
        let due = due(&room, &queue).await?;
        counts.ready + counts.waiting + counts.in_flight + due
    };
    Ok(answer(&json!({"jobs": jobs})))
}

/// Delayed jobs whose time has come, up to [`MAX_PEEKED`]: workers make them ready, and where none runs nobody does.
async fn due(room: &Shared, queue: &QueueName) -> Result<u64, Problem> {
    let now_ms = room.store.now().await.map_err(AdminError::from)?.as_millisecond();
    let first = seen::peek(&room.store, queue, Place::Delayed, 0, MAX_PEEKED).await?;
    let due = first.iter().filter(|job| job.due_ms.is_some_and(|due| due <= now_ms));
    Ok(due.count() as u64)
}

pub(super) async fn jobs(State(room): State<Shared>, Path(name): Path<String>, uri: Uri) -> Result<Response, Problem> {
    let (queue, query) = (name_of(&name)?, query_of(&uri));
    let of = match query.get("state") {
        None | Some("ready") => Place::Ready,
        Some("delayed") => Place::Delayed,
        Some("in_flight") => Place::InFlight,
        Some(_) => return Err(Problem::bad("a state is ready, delayed or in_flight")),
    };
    let (start, count) = (place::<u64>(&query)?.unwrap_or(0), count(&query)?.min(MAX_PEEKED));
    if start > MAX_PLACE {
        return Err(Problem::bad("no list is that long"));
    }
    let found = seen::peek(&room.store, &queue, of, start, count).await?;
    let next = (found.len() == count).then(|| cursor(start + count as u64));
    Ok(items(&found, next))
}

/// Why a queue is paused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    #[serde(default)]
    reason: String,
}

pub(super) async fn pause(
    State(room): State<Shared>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Problem> {
    let queue = name_of(&name)?;
    let body = read(body, MAX_PAUSE_BYTES).await?;
    let asked: Reason = serde_json::from_slice(&body).map_err(|err| Problem::bad(err.to_string()))?;
    let reason = asked.reason.as_str();
    room.record(&caller.name, "pause", &format!("queue {name}: {reason}"))
        .await?;
    Ok(answer(
        &pausing::pause(&room.store, &Pausable::Queue(queue), &caller.name, reason).await?,
    ))
}

pub(super) async fn resume(
    State(room): State<Shared>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let queue = name_of(&name)?;
    room.record(&caller.name, "resume", &format!("queue {name}")).await?;
    Ok(answer(&pausing::resume(&room.store, &Pausable::Queue(queue)).await?))
}

/// What every host reports of each plugin, one item for each pair.
pub(super) async fn plugins(State(room): State<Shared>) -> Result<Response, Problem> {
    let sample = sample(&room).await?;
    let mut all = Vec::new();
    for (host, report) in &sample.hosts {
        for plugin in &report.plugins {
            let mut described = serde_json::to_value(plugin).unwrap_or_default();
            described["host"] = host.as_str().into();
            all.push(described);
        }
    }
    Ok(items(&all, None))
}

pub(super) async fn release(
    State(room): State<Shared>,
    Path(plugin): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    Ok(answer(&json!({"hosts": room.release(&caller, &plugin).await?})))
}

pub(super) async fn hosts(State(room): State<Shared>) -> Result<Response, Problem> {
    let sample = sample(&room).await?;
    let mut hosts = std::collections::BTreeMap::<&str, serde_json::Value>::new();
    for (queue, counts) in sample.queues() {
        for (name, state) in &counts.hosts {
            let host = hosts
                .entry(name)
                .or_insert_with(|| json!({"name": name, "since": null, "queues": {}}));
            host["queues"][queue] = json!(state);
        }
    }
    for (name, report) in &sample.hosts {
        let host = hosts.entry(name).or_insert_with(|| json!({"name": name, "queues": {}}));
        host["since"] = report.since.as_str().into();
    }
    Ok(items(&hosts.into_values().collect::<Vec<_>>(), None))
}

pub(super) async fn drain(
    State(room): State<Shared>,
    Path(host): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    room.drain(&caller, &host).await?;
    Ok(answer(&json!({"host": host, "asked": true})))
}
