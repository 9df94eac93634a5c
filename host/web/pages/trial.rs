//! A failed job tried on another component: the form for it, and what came of it beside what had failed.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::layout::{Tab, badge, lasted, version};
use super::said::{outputs, traces};
use super::{View, live};
use crate::admin::trial::Tried;
use crate::outcome::Failure;
use crate::text;
use crate::web::body::read;
use crate::web::guard::{Caller, Role};
use crate::web::multipart::Parts;
use crate::web::problem::Problem;
use crate::web::room::{Room, Shared, Which};
use crate::web::trials::{Asked, MAX_UPLOAD_BYTES, Record};
use crate::web::words;

/// Bytes of a form that brings a component along.
const MAX_FORM_BYTES: usize = MAX_UPLOAD_BYTES + 128 * 1024;

/// The form on the page of a failed job; nothing where jobs are not tried.
pub(super) fn form(room: &Room, view: &View, which: &Which, plugin: &str) -> Markup {
    let serves = room.trials.serves(plugin);
    html! {
        @if room.trials.are_possible() && view.may(Role::Admin) {
            details.card.more {
                summary { strong { "Try it on another version" } }
                form method="post" action={ (which.path()) "/try" } enctype="multipart/form-data" {
                    p.soft { "One attempt at this job, here and now. Nothing is settled: it stays where it is, whatever comes of it. It reads the buckets as they are now; what it would write is shown, and not written." }
                    div.field {
                        label for="component" { "A component" @if serves { ", or none for " (text::name(plugin)) " as it serves now" } }
                        input #component type="file" name="component" accept=".wasm,application/wasm" required[!serves];
                    }
                    div.field {
                        label for="manifest" { "A manifest" @if serves { ", or none for the one that is in force" } }
                        textarea #manifest name="manifest" rows="3" spellcheck="false" placeholder="[[grants.http]]\norigin = \"https://api.example.com\"" {}
                    }
                    label.choice { input type="checkbox" name="egress" value="on"; " Send its requests. Without this they are shown, and it is told that the server cannot be reached." }
                    div { button type="submit" { "Try it" } }
                }
            }
        }
    }
}

pub(super) async fn begin(
    State(room): State<Shared>,
    which: Which,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.needs(Role::Admin)?;
    let body = read(body, MAX_FORM_BYTES).await?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|of| of.to_str().ok());
    let parts = Parts::of(content_type.unwrap_or_default(), &body)?;
    let asked = Asked {
        component: parts.get("component").map(<[u8]>::to_vec),
        manifest: parts
            .text("manifest")
            .map(str::to_owned)
            .filter(|text| !text.trim().is_empty()),
        sends: parts.text("egress") == Some("on"),
    };
    let record = room.try_one(&caller, &which, asked).await?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, format!("/tries/{}", record.id))]).into_response())
}

pub(super) async fn show(State(room): State<Shared>, Path(id): Path<String>, view: View) -> Result<Response, Problem> {
    view.caller.needs(Role::Admin)?;
    let record = room
        .trials
        .find(&id)
        .ok_or_else(|| Problem::missing("that try is not known here; this process may have been restarted"))?;
    let ended = record.ended();
    let state = match &ended {
        None => badge("under way", "warn"),
        Some(Ok(tried)) if tried.failure.is_none() => badge(tried.outcome, "good"),
        Some(Ok(_)) => badge("failed", "bad"),
        Some(Err(_)) => badge("not run", "bad"),
    };
    let back = Which::Entry(record.entry.clone()).path();
    let content = html! {
        nav.crumbs aria-label="Where you are" { a href="/failed" { "Failed jobs" } " / " a href=(back) { "The job" } " / " }
        div.head { h1 { "Tried on another version" } (state) }
        p.id.soft { (text::line(&record.job, text::MAX_LINE_BYTES)) @if !record.by.is_empty() { ", by " (text::name(&record.by)) } }
        @match &ended {
            None => { p.notice.warn role="status" { "The component is compiled, and the job is run on it. This page brings itself up to date." } }
            Some(Err(why)) => { p.notice.bad role="alert" { "It was not run: " (text::message(why, text::MAX_LINE_BYTES)) } }
            Some(Ok(tried)) => {
                p.soft role="status" { "Nothing was settled: the job is where it was. " @if tried.sent { "Its requests were sent." } @else { "No request was sent." } }
                (beside(&record, &room, tried))
            }
        }
        p { a href=(back) { "To the job, to try it again or to retry it" } }
    };
    Ok(live(&view, Tab::Failed, "Tried", &content))
}

/// What had failed, and what came of the trial.
fn beside(record: &Record, room: &Room, tried: &Tried) -> Markup {
    html! {
        div.columns {
            section aria-labelledby="before" { h2 #before { "As it failed" } (original(record)) }
            section aria-labelledby="now" { h2 #now { "As it was tried" } (outcome(room, tried)) }
        }
        @if !tried.sent { (would_send(room, tried)) }
    }
}

fn original(record: &Record) -> Markup {
    html! {
        @if let Some(failure) = &record.original { (failed(failure, &failure.handler, &failure.digest)) (traces(failure)) }
        @else { div.notice.bad { (record.message) } }
    }
}

fn failed(failure: &Failure, plugin: &str, digest: &str) -> Markup {
    html! {
        div.notice.bad { (badge(failure.kind.as_str(), "bad")) " " strong { (text::message(&failure.message, text::MAX_LINE_BYTES)) } }
        @if !plugin.is_empty() { p.soft { (version(plugin, digest)) " in " (lasted(failure.duration_ms)) } }
    }
}

fn outcome(room: &Room, tried: &Tried) -> Markup {
    html! {
        @match &tried.failure {
            Some(failure) => { (failed(failure, &tried.plugin, &tried.digest)) (traces(failure)) }
            None => {
                div.notice.good { (badge(tried.outcome, "good")) " in " (lasted(tried.duration_ms)) ", " (lasted(tried.cpu_ms)) " of processor time, " (words::bytes(tried.peak_memory_bytes)) " at most" }
                p.soft { (version(&tried.plugin, &tried.digest)) }
                @if let Some(result) = &tried.result { h2 { "Result" } pre tabindex="0" { (room.redaction.pretty(result.get(), &["result"])) } }
                (outputs(&tried.stderr, &tried.stdout))
            }
        }
        @if !tried.log.is_empty() {
            h2 { "Log" }
            pre tabindex="0" { @for line in &tried.log { (line.level) " " (text::block(&line.message)) "\n" } @if tried.log_dropped > 0 { "and " (words::count(tried.log_dropped)) " lines more" } }
        }
        @if !tried.writes.is_empty() {
            h2 { "Would write" }
            ul.plain { @for write in &tried.writes { @for change in &write.changes { li { code { (text::name(write.bucket.as_str())) } " " code { (text::name(&change.key)) } " " (change.action) } } } }
        }
    }
}

fn would_send(room: &Room, tried: &Tried) -> Markup {
    let would = &tried.would_send;
    html! {
        h2 { "Would send" }
        @if would.requests.is_empty() { p.soft { "No HTTP request." } }
        @for request in &would.requests {
            div.card {
                p { code { (text::name(&request.method)) } " " strong { (text::line(&request.url, text::MAX_LINE_BYTES)) } " " span.soft { (words::bytes(request.body_bytes)) } }
                @if !request.headers.is_empty() { ul.plain.soft { @for (name, value) in &request.headers { li { (text::name(name)) ": " (text::line(value, text::MAX_LINE_BYTES)) } } } }
                @if !request.body.is_empty() {
                    @if room.redaction.is_empty() { pre tabindex="0" { (text::block(&request.body)) } }
                    @else { p.soft { "Its body is not shown because parts of payloads are to be hidden." } }
                }
            }
        }
        @if would.more > 0 { p.soft { "And " (words::of(would.more, "request", "requests")) " more." } }
    }
}
