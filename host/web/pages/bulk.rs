//! Work on everything that matches: begun, watched, broken off.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use maud::html;

use super::failed::{act_of, filter_of, in_words};
use super::layout::{Tab, badge, empty, lasted, when};
use super::{View, live, to};
use crate::admin::bulk::State as Doing;
use crate::admin::failed::Act;
use crate::text;
use crate::web::body::form;
use crate::web::guard::{Caller, Role};
use crate::web::problem::Problem;
use crate::web::room::Shared;
use crate::web::words;

pub(super) async fn begin(
    State(room): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Problem> {
    let form = form(body).await?;
    let id = room
        .begin_bulk(&caller, act_of(&form)?, filter_of(&form)?)
        .await?
        .id
        .clone();
    Ok((StatusCode::SEE_OTHER, [(LOCATION, format!("/bulk/{id}"))]).into_response())
}

/// What is done, in words: `Retry of failed jobs with kind trap`.
fn title(doing: &Doing) -> String {
    let what = match in_words(&doing.filter, None) {
        all if all.is_empty() => "all failed jobs".to_owned(),
        some => format!("failed jobs with {some}"),
    };
    match &doing.act {
        Act::Retry => format!("Retry of {what}"),
        Act::Delete => format!("Deletion of {what}"),
        Act::Move(to) => format!("Move to queue {to} of {what}"),
    }
}

fn state(doing: &Doing) -> maud::Markup {
    match doing.state {
        "running" => badge("under way", "warn"),
        "done" => badge("done", "good"),
        "aborted" => badge("broken off", "warn"),
        _ => badge("failed", "bad"),
    }
}

pub(super) async fn show(State(room): State<Shared>, Path(id): Path<String>, view: View) -> Result<Response, Problem> {
    let bulk = room
        .bulks
        .find(&id)
        .ok_or_else(|| Problem::missing("that work is not known here; this process may have been restarted"))?;
    let doing = bulk.state();
    let (progress, running) = (doing.progress, doing.is_running());
    let did = match &doing.act {
        Act::Retry => "put back into their queues".to_owned(),
        Act::Delete => "deleted".to_owned(),
        Act::Move(to) => format!("moved to queue {to}"),
    };
    let content = html! {
        nav.crumbs aria-label="Where you are" { a href="/failed" { "Failed jobs" } " / " a href="/bulk" { "Work" } " / " }
        div.head { h1 { (title(&doing)) } (state(&doing)) }
        div.card {
            p role="status" #progress {
                strong { (words::count(progress.done)) } " " (did) ", "
                (words::count(progress.seen)) " of " (words::count(progress.of)) " entries looked at, in " (lasted(doing.took_ms)) "."
            }
            progress max=(progress.of.max(1)) value=(if running { progress.seen } else { progress.of.max(1) }) aria-label="Entries looked at" {}
            @if let Some(error) = &doing.error { p.notice.bad role="alert" { "It ended early: " (text::line(error, text::MAX_LINE_BYTES)) ". What is done is done; begin it again for the rest." } }
            @if running && view.may(Role::Operator) {
                form method="post" action={ "/bulk/" (doing.id) "/abort" } { button.danger type="submit" { "Break off" } }
            }
            p.soft { "Begun " (when(words::parse_ms(&doing.at))) @if !doing.by.is_empty() { " by " (text::name(&doing.by)) } ". It goes on if you leave this page." }
        }
        p { a href="/failed" { "To the failed jobs" } " · " a href="/queues" { "To the queues" } }
    };
    Ok(live(&view, Tab::Failed, &title(&doing), &content))
}

pub(super) async fn list(State(room): State<Shared>, view: View) -> Response {
    let all = room.bulks.list();
    let content = html! {
        nav.crumbs aria-label="Where you are" { a href="/failed" { "Failed jobs" } " / " }
        h1 { "Work on the failed list" }
        @if all.is_empty() {
            (empty("Nothing was done since this dashboard started", &html! { a href="/failed" { "To the failed jobs" } }))
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Table: work" {
                table {
                    thead { tr { th scope="col" { "What" } th scope="col" { "State" } th.number scope="col" { "Done" } th scope="col" { "Begun" } th scope="col" { "By" } } }
                    tbody { @for doing in &all { tr { td { a href={ "/bulk/" (doing.id) } { (title(doing)) } } td { (state(doing)) } td.number { (words::count(doing.progress.done)) } td { (when(words::parse_ms(&doing.at))) } td { (text::name(&doing.by)) } } } }
                }
            }
        }
    };
    live(&view, Tab::Failed, "Work on the failed list", &content)
}

pub(super) async fn abort(
    State(room): State<Shared>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let bulk = room.bulks.find(&id).map(|bulk| Arc::clone(&bulk));
    let bulk = bulk.ok_or_else(|| Problem::missing("that work is not known here"))?;
    room.record(&caller.name, "abort", &format!("work {id} on the failed list"))
        .await?;
    bulk.abort();
    Ok(to(&format!("/bulk/{id}"), "aborted"))
}
