//! The failed list, and work on it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{answer, answer_with, count, cursor, items, place};
use crate::admin::AdminError;
use crate::admin::failed::{Act, Filter};
use crate::admin::index::Group;
use crate::job::MAX_PAYLOAD_BYTES;
use crate::queue::Fate;
use crate::web::body::{Pairs, read};
use crate::web::guard::{Caller, Role};
use crate::web::live::HOUR;
use crate::web::pages::filter_of;
use crate::web::problem::Problem;
use crate::web::room::{Room, Shared, Which};
use crate::web::trials::{Asked as TrialAsked, MAX_UPLOAD_BYTES};

/// Bytes of a request to do something to all that matches, or to move one job.
const MAX_ASKED_BYTES: usize = 16 * 1024;

/// Bytes of a request to retry a job with another payload.
const MAX_EDIT_BYTES: usize = MAX_PAYLOAD_BYTES + 1024;

/// What can be asked for.
const KEYS: [&str; 10] = [
    "kind",
    "name",
    "plugin",
    "digest",
    "queue",
    "cause",
    "text",
    "older_than",
    "cursor",
    "limit",
];

fn query_of(uri: &Uri) -> Result<Pairs, Problem> {
    let query = Pairs::of(uri.query().unwrap_or_default().as_bytes());
    query.only(&KEYS)?;
    Ok(query)
}

pub(super) async fn list(State(room): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    let query = query_of(&uri)?;
    let (filter, before, count) = (filter_of(&query)?, place::<i64>(&query)?, count(&query)?);
    super::sample(&room).await?;
    room.settle_index().await;
    let index = Arc::clone(&room.index);
    // Before the look: what is told to be whole is.
    let coverage = index.coverage();
    let looked = tokio::task::spawn_blocking(move || index.find(&filter, before, count));
    let found = looked.await.unwrap_or_default();
    let next = found.next.map(cursor);
    Ok(answer(&json!({
        "items": found.entries,
        "matching": found.matching,
        "next": next,
        "index": coverage,
    })))
}

pub(super) async fn groups(State(room): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    let query = query_of(&uri)?;
    let (filter, most) = (filter_of(&query)?, count(&query)?);
    super::sample(&room).await?;
    room.settle_index().await;
    let index = Arc::clone(&room.index);
    let coverage = index.coverage();
    let grouped = tokio::task::spawn_blocking(move || index.groups(&filter, HOUR));
    let groups = grouped.await.unwrap_or_default();
    let described = groups.iter().take(most).map(|group: &Group| {
        json!({
            "cause": group.id,
            "together": group.is_together(),
            "kind": group.cause.kind,
            "plugin": group.cause.plugin,
            "digest": group.cause.digest,
            "place": group.cause.place,
            "count": group.count,
            "first_ms": group.times_ms.map(|(first, _)| first),
            "last_ms": group.times_ms.map(|(_, last)| last),
            "last_hour": group.parts,
            "newest": group.newest,
        })
    });
    Ok(answer(
        &json!({"items": described.collect::<Vec<_>>(), "index": coverage}),
    ))
}

/// What there is of one failed job, under each name that it has.
pub(super) fn of_one() -> Router<Shared> {
    Router::new()
        .route("/", get(one).delete(delete))
        .route("/retry", post(retry))
        .route("/move", post(move_one))
        .route("/edit", post(edit))
        .route("/try", post(try_one))
}

async fn one(State(room): State<Shared>, which: Which) -> Result<Response, Problem> {
    super::jobs::failed(&room, &which).await
}

async fn work(room: &Room, caller: &Caller, which: Which, act: &Act) -> Result<Response, Problem> {
    match room.work_on_one(caller, &which, act).await? {
        Fate::Taken => Ok(match which {
            Which::Job(id) => answer(&json!({"id": id, "done": true})),
            Which::Entry(name) => answer(&json!({"entry": name, "done": true})),
        }),
        Fate::Gone => Err(Problem::missing("that entry is no longer in the failed list")),
        Fate::Stays => Err(Problem::new(
            StatusCode::CONFLICT,
            "that entry holds no job that could be put back",
        )),
    }
}

async fn retry(
    State(room): State<Shared>,
    which: Which,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    work(&room, &caller, which, &Act::Retry).await
}

async fn delete(
    State(room): State<Shared>,
    which: Which,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    work(&room, &caller, which, &Act::Delete).await
}

/// Where a job is to be moved.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Goal {
    to: String,
}

async fn move_one(
    State(room): State<Shared>,
    which: Which,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Problem> {
    let body = read(body, MAX_ASKED_BYTES).await?;
    let goal: Goal = serde_json::from_slice(&body).map_err(|err| Problem::bad(err.to_string()))?;
    let act = Act::named("move", Some(&goal.to)).map_err(Problem::bad)?;
    work(&room, &caller, which, &act).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

async fn edit(
    State(room): State<Shared>,
    which: Which,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Problem> {
    let body = read(body, MAX_EDIT_BYTES).await?;
    let edit: Edit<'_> = serde_json::from_slice(&body).map_err(|err| Problem::bad(err.to_string()))?;
    let edited = room.retry_edited(&caller, &which, edit.payload.to_owned()).await?;
    let told =
        json!({"id": edited.id, "queue": edited.queue.as_str(), "original_deleted": edited.original == Fate::Taken});
    Ok(answer_with(StatusCode::CREATED, &told))
}

/// How a job is to be tried: the body is the component, `application/wasm`, or empty for what serves now.
async fn try_one(
    State(room): State<Shared>,
    which: Which,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    body: Body,
) -> Result<Response, Problem> {
    caller.needs(Role::Admin)?;
    let query = Pairs::of(uri.query().unwrap_or_default().as_bytes());
    query.only(&["egress", "manifest"])?;
    let sends = match query.get("egress") {
        None | Some("off") => false,
        Some("on") => true,
        Some(_) => return Err(Problem::bad("egress is on or off")),
    };
    let asked = {
        let body = read(body, MAX_UPLOAD_BYTES).await?;
        TrialAsked {
            component: (!body.is_empty()).then(|| body.to_vec()),
            manifest: query.get("manifest").map(str::to_owned),
            sends,
        }
    };
    let record = room.try_one(&caller, &which, asked).await?;
    record.over().await;
    Ok(answer(&record.told()))
}

pub(super) async fn tried(
    State(room): State<Shared>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    caller.needs(Role::Admin)?;
    let record = room.trials.find(&id);
    let record = record.ok_or_else(|| Problem::missing("that try is not known here"))?;
    Ok(answer(&record.told()))
}

/// Work on everything that matches.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    act: String,
    /// The queue, for a move.
    to: Option<String>,
    /// Has to be there: nobody shall work on everything for having forgotten it.
    filter: Filter,
    /// Only say how many match.
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn begin(
    State(room): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Problem> {
    let body = read(body, MAX_ASKED_BYTES).await?;
    let asked: Asked = serde_json::from_slice(&body).map_err(|err| Problem::bad(err.to_string()))?;
    let act = Act::named(&asked.act, asked.to.as_deref()).map_err(Problem::bad)?;
    if asked.dry_run {
        if asked.filter.names_others() {
            return Err(AdminError::NotApart.into());
        }
        super::sample(&room).await?;
        room.settle_index().await;
        let (index, filter) = (Arc::clone(&room.index), asked.filter.clone());
        let counted = tokio::task::spawn_blocking(move || index.count(&filter));
        let matching = counted.await.unwrap_or_default();
        return Ok(answer(&json!({"matching": matching, "index": room.index.coverage()})));
    }
    let bulk = room.begin_bulk(&caller, act, asked.filter).await?;
    Ok(answer_with(StatusCode::ACCEPTED, &bulk.state()))
}

pub(super) async fn bulks(State(room): State<Shared>) -> Response {
    items(&room.bulks.list(), None)
}

pub(super) async fn bulk(State(room): State<Shared>, Path(id): Path<String>) -> Result<Response, Problem> {
    let bulk = room
        .bulks
        .find(&id)
        .ok_or_else(|| Problem::missing("that work is not known here"))?;
    Ok(answer(&bulk.state()))
}

pub(super) async fn abort(
    State(room): State<Shared>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let bulk = room
        .bulks
        .find(&id)
        .ok_or_else(|| Problem::missing("that work is not known here"))?;
    room.record(&caller.name, "abort", &format!("work {id} on the failed list"))
        .await?;
    bulk.abort();
    Ok(answer_with(StatusCode::ACCEPTED, &bulk.state()))
}
