//! Schedules, and what jobs came to over time.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;

use super::{answer, answer_with, items};
use crate::admin::stats;
use crate::config::parse_duration;
use crate::web::body::{Pairs, read};
use crate::web::guard::Caller;
use crate::web::problem::Problem;
use crate::web::room::Shared;

/// Bytes of a request to run a schedule.
const MAX_RUN_BYTES: usize = 4 * 1024;

/// How far back statistics are asked for where the caller does not say, and at most.
const SINCE_DEFAULT: Duration = Duration::from_hours(24);
const SINCE_MAX: Duration = Duration::from_hours(400 * 24);

pub(super) async fn list(State(room): State<Shared>) -> Result<Response, Problem> {
    Ok(items(&room.schedules().await?, None))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    name: String,
}

pub(super) async fn run(
    State(room): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Problem> {
    let body = read(body, MAX_RUN_BYTES).await?;
    let run: Run = serde_json::from_slice(&body).map_err(|err| Problem::bad(err.to_string()))?;
    let pushed = room.run_schedule(&caller, &run.name).await?;
    Ok(answer_with(StatusCode::CREATED, &pushed))
}

pub(super) async fn statistics(State(room): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    let query = Pairs::of(uri.query().unwrap_or_default().as_bytes());
    query.only(&["since"])?;
    let since = query.get("since").map(parse_duration).transpose();
    let since = since.map_err(Problem::bad)?.unwrap_or(SINCE_DEFAULT);
    if since.is_zero() || since > SINCE_MAX {
        return Err(Problem::bad("since is a time of up to 9600h, like 24h"));
    }
    Ok(answer(&stats::since(&room.store, since).await?))
}
