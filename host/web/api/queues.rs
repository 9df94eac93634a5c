//! Queues, plugins and hosts.

use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::{answer, count, cursor, items, place, sample, some};
use crate::admin::AdminError;
use crate::admin::jobs as seen;
use crate::admin::pause as pausing;
use crate::admin::queues::Figure;
use crate::admin::waits::WaitFigures;
use crate::queue::{Counts, MAX_PEEKED, Pausable, Place, QueueName};
use crate::web::body::{MAX_PLACE, Pairs, read};
use crate::web::guard::Caller;
use crate::web::live::Sample;
use crate::web::problem::Problem;
use crate::web::room::Shared;

/// Bytes of a request to pause.
const MAX_PAUSE_BYTES: usize = 4 * 1024;

pub(super) fn query_of(uri: &Uri) -> Pairs {
    Pairs::of(uri.query().unwrap_or_default().as_bytes())
}

pub(super) fn name_of(queue: &str) -> Result<QueueName, Problem> {
    QueueName::new(queue).map_err(Problem::missing)
}

fn described(sample: &Sample, name: &str, figure: &Figure) -> serde_json::Value {
    let mut described = serde_json::to_value(figure).unwrap_or_default();
    described["name"] = name.into();
    described["wait"] = json!(sample.waits.queues.get(name).and_then(WaitFigures::of));
    described["oldest_ms"] = json!(sample.oldest(name).map(|age| age.as_millis()));
    described
}

pub(super) async fn list(State(room): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    let query = query_of(&uri);
    query.only(&["cursor", "limit"])?;
    let (after, count) = (place::<String>(&query)?, count(&query)?);
    let sample = sample(&room).await?;
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let queues = sample.figures.queues.range::<String, _>((from, Bound::Unbounded));
    let (found, next) = some(queues.map(|queue| (queue.0, queue)), count);
    let described = found.into_iter().map(|(name, figure)| described(&sample, name, figure));
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
pub(super) async fn plugins(State(room): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    let query = query_of(&uri);
    query.only(&["cursor", "limit"])?;
    let (after, count) = (place::<Pair>(&query)?, count(&query)?);
    let sample = sample(&room).await?;
    let first = after.as_ref().map_or("", |after| &after.host);
    let reports = sample
        .fleet
        .hosts
        .range::<str, _>((Bound::Included(first), Bound::Unbounded));
    let pairs = reports.flat_map(|(host, report)| {
        let mut plugins: Vec<_> = report.plugins.iter().collect();
        plugins.sort_by(|a, b| a.name.cmp(&b.name));
        let pair = move |name: &str| Pair {
            host: host.clone(),
            plugin: name.to_owned(),
        };
        plugins.into_iter().map(move |plugin| (pair(&plugin.name), plugin))
    });
    let left = pairs.filter(|(pair, _)| after.as_ref().is_none_or(|after| pair > after));
    let (found, next) = some(left.map(|(pair, plugin)| (pair.clone(), (pair, plugin))), count);
    let described = found.into_iter().map(|(pair, plugin)| {
        let mut described = serde_json::to_value(plugin).unwrap_or_default();
        described["host"] = pair.host.into();
        described
    });
    Ok(items(&described.collect::<Vec<_>>(), next))
}

/// A place in the list of plugins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    host: String,
    plugin: String,
}

/// No file's stem has a slash.
impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.plugin)
    }
}

impl FromStr for Pair {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (host, plugin) = text.rsplit_once('/').ok_or(())?;
        let (host, plugin) = (host.to_owned(), plugin.to_owned());
        Ok(Self { host, plugin })
    }
}

pub(super) async fn release(
    State(room): State<Shared>,
    Path(plugin): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    Ok(answer(&json!({"hosts": room.release(&caller, &plugin).await?})))
}

pub(super) async fn hosts(State(room): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    let query = query_of(&uri);
    query.only(&["cursor", "limit"])?;
    let (after, count) = (place::<String>(&query)?, count(&query)?);
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
    for (name, report) in &sample.fleet.hosts {
        let host = hosts.entry(name).or_insert_with(|| json!({"name": name, "queues": {}}));
        host["since"] = report.since.as_str().into();
    }
    let left = hosts
        .into_iter()
        .filter(|(name, _)| after.as_deref().is_none_or(|after| *name > after));
    let (found, next) = some(left, count);
    Ok(items(&found, next))
}

pub(super) async fn drain(
    State(room): State<Shared>,
    Path(host): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    room.drain(&caller, &host).await?;
    Ok(answer(&json!({"host": host, "asked": true})))
}
