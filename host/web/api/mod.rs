//! The API: what the pages show and do, as JSON.
//!
//! Lists have `items`, and `next` where there is more: an opaque text to give back as `cursor`. What goes wrong is told as
//! `application/problem+json`. `openapi.json` beside this describes all of it, and a test holds the two together.

mod failed;
mod flow;
mod jobs;
mod queues;
mod request;
mod schedules;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use maud::{DOCTYPE, html};
use serde::Serialize;
use serde_json::{Value, json};

use super::live::{HOUR, SAMPLE_INTERVAL, Sample};
use super::pages::concerns;
use super::problem::Problem;
use super::room::{Room, Shared};
use crate::admin::audit;
use crate::admin::waits::WaitFigures;

/// Items of a list where the caller does not say how many, and at most.
const ITEMS_DEFAULT: usize = 50;
const ITEMS_MAX: usize = 1_000;

/// The description of the API, as `OpenAPI` has it.
const DESCRIPTION: &str = include_str!("openapi.json");

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/", get(docs))
        .route(
            "/openapi.json",
            get(async || ([(CONTENT_TYPE, "application/json")], DESCRIPTION)),
        )
        .route("/overview", get(overview))
        .route("/queues", get(queues::list))
        .route("/queues/{queue}", get(queues::one))
        .route("/queues/{queue}/load", get(queues::load))
        .route("/queues/{queue}/jobs", get(queues::jobs))
        .route("/queues/{queue}/pause", post(queues::pause))
        .route("/queues/{queue}/resume", post(queues::resume))
        .route("/queues/{queue}/lanes", get(flow::lanes))
        .route("/batches/{id}", get(flow::batch))
        .route("/jobs", post(jobs::push))
        .route("/jobs/{id}", get(jobs::one))
        .route("/failed", get(failed::list))
        .route("/failed/groups", get(failed::groups))
        .route("/jobs/{id}/cancel", post(jobs::cancel).delete(jobs::uncancel))
        .route("/schedules", get(schedules::list))
        .route("/schedules/run", post(schedules::run))
        .route("/stats", get(schedules::statistics))
        .route("/tries/{id}", get(failed::tried))
        .nest("/failed/{id}", failed::of_one())
        .nest("/entries/{entry}", failed::of_one())
        .route("/bulk", get(failed::bulks).post(failed::begin))
        .route("/bulk/{id}", get(failed::bulk))
        .route("/bulk/{id}/abort", post(failed::abort))
        .route("/plugins", get(queues::plugins))
        .route("/plugins/{plugin}/release", post(queues::release))
        .route("/hosts", get(queues::hosts))
        .route("/hosts/{host}/drain", post(queues::drain))
        .route("/audit", get(deeds))
        .fallback(super::pages::nothing)
}

/// An answer of JSON.
fn answer(value: &impl Serialize) -> Response {
    answer_with(StatusCode::OK, value)
}

fn answer_with(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_string(value).unwrap_or_default();
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

/// A part of a list.
fn items(items: &[impl Serialize], next: Option<String>) -> Response {
    let mut page = json!({"items": items});
    if let Some(next) = next {
        page["next"] = next.into();
    }
    answer(&page)
}

/// Where a list goes on: nobody's to read but ours.
fn cursor(place: impl std::fmt::Display) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("1.{place}"))
}

/// The place that a cursor names; none: the beginning.
fn place<T: std::str::FromStr>(query: &super::body::Pairs) -> Result<Option<T>, Problem> {
    let Some(given) = query.get("cursor") else {
        return Ok(None);
    };
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(given).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let place = text.and_then(|text| text.strip_prefix("1.")?.parse().ok());
    place
        .map(Some)
        .ok_or_else(|| Problem::bad("that cursor is not from a list of this API"))
}

/// So many items of a list, each after its place in it, and where the list goes on.
fn some<T, P: std::fmt::Display>(mut all: impl Iterator<Item = (P, T)>, count: usize) -> (Vec<T>, Option<String>) {
    let (mut some, mut last) = (Vec::new(), None);
    for (place, item) in all.by_ref().take(count) {
        some.push(item);
        last = Some(place);
    }
    let next = all.next().and(last).map(cursor);
    (some, next)
}

/// How many items are asked for.
fn count(query: &super::body::Pairs) -> Result<usize, Problem> {
    let Some(given) = query.get("limit") else {
        return Ok(ITEMS_DEFAULT);
    };
    let wrong = || Problem::bad(format!("a limit is a number from 1 to {ITEMS_MAX}"));
    let limit: usize = given.parse().map_err(|_| wrong())?;
    if (1..=ITEMS_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(wrong())
    }
}

/// The latest sample, of a store that answers.
async fn sample(room: &Room) -> Result<std::sync::Arc<Sample>, Problem> {
    let unavailable = |why: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why);
    let sample = room.sampler.latest().await;
    let sample = sample.ok_or_else(|| unavailable("the store has not answered yet".to_owned()))?;
    match &sample.error {
        Some(error) => Err(unavailable(error.clone())),
        None => Ok(sample),
    }
}

async fn overview(State(room): State<Shared>) -> Result<Response, Problem> {
    let sample = sample(&room).await?;
    room.settle_index().await;
    let index = std::sync::Arc::clone(&room.index);
    let looked = tokio::task::spawn_blocking(move || index.overall(HOUR, SAMPLE_INTERVAL));
    let groups = looked.await.unwrap_or_default().groups;
    Ok(answer(&json!({
        "at": format!("{:.3}", sample.time),
        "totals": sample.totals(),
        "failed": sample.figures.failed,
        "faults": sample.faults,
        "oldest_ms": sample.oldest_of_all().map(|(_, age)| age.as_millis()),
        "wait": WaitFigures::of(&sample.waits.all),
        "rate": sample.fleet.rate,
        "concerns": concerns(&sample, &groups),
        "history": *sample.history,
    })))
}

async fn deeds(State(room): State<Shared>, uri: axum::http::Uri) -> Result<Response, Problem> {
    let query = super::body::Pairs::of(uri.query().unwrap_or_default().as_bytes());
    Ok(items(&audit::list(&room.store, count(&query)?).await?, None))
}

/// The description for people.
async fn docs() -> Response {
    let described: Value = serde_json::from_str(DESCRIPTION).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let none = serde_json::Map::new();
    let paths = described["paths"].as_object().unwrap_or(&none);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; meta name="viewport" content="width=device-width, initial-scale=1"; meta name="color-scheme" content="light dark"; title { "API · Kiln" } link rel="icon" href="/assets/kiln.svg" type="image/svg+xml"; link rel="stylesheet" href="/assets/kiln.css"; }
            body {
                header.top { a.brand href="/" { "Kiln" } span.soft { "API" } }
                main #main {
                    h1 { "The API" }
                    p.soft { (text(&described["info"]["description"])) " " a href="/api/v1/openapi.json" { "openapi.json" } }
                    @for (path, methods) in paths {
                        @for (method, about) in methods.as_object().unwrap_or(&none) {
                            section.card {
                                h2 { code { (method.to_uppercase()) " /api/v1" (path) } }
                                p { (text(&about["summary"])) }
                                @if let Some(parameters) = about["parameters"].as_array() {
                                    ul.plain { @for parameter in parameters { li { code { (text(&parameter["name"])) } " " (text(&parameter["description"])) } } }
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], page.into_string()).into_response()
}
