//! One job that failed: why, where in its code, with which payload; and retrying or deleting it.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::value::RawValue;

use super::layout::{Tab, badge, lasted, version, when};
use super::life::attempts;
use super::said::traces;
use super::{View, links, still, to, trial};
use crate::admin::AdminError;
use crate::admin::facts::Facts;
use crate::admin::failed::Act;
use crate::admin::job::words as words_of;
use crate::job::Job;
use crate::outcome::{Failure, FailureKind};
use crate::queue::{FailedEntry, Fate, QueueName};
use crate::text;
use crate::web::body::form;
use crate::web::guard::{Caller, Role};
use crate::web::problem::Problem;
use crate::web::room::{Room, Shared, Which};
use crate::web::words;

/// Bytes of a payload or of metadata that the page shows. The API has all of it.
const MAX_SHOWN_BYTES: usize = 64 * 1024;

/// The page of one failed job and what it offers, under each name that the job has.
pub(super) fn of_one() -> Router<Shared> {
    Router::new()
        .route("/", get(show))
        .route("/retry", post(retry))
        .route("/delete", post(delete))
        .route("/edit", post(edit))
        .route("/try", post(trial::begin))
}

async fn show(State(room): State<Shared>, which: Which, view: View) -> Result<Response, Problem> {
    match (room.entry(&which).await, &which) {
        (Ok(entry), _) => page(&room, &view, &which, &entry).await,
        (Err(AdminError::NoEntry(_)), Which::Job(id)) => super::life::elsewhere(&room, &view, id).await,
        (Err(err), _) => Err(err.into()),
    }
}

async fn page(room: &Room, view: &View, which: &Which, entry: &FailedEntry) -> Result<Response, Problem> {
    let (facts, failure) = (Facts::of(entry), entry.failure());
    let Ok(job) = entry.job() else {
        return Err(Problem::missing("that entry holds no job"));
    };
    let queue = QueueName::new(&facts.queue).ok();
    let words = words_of(&room.store, &job.id, Some(queue.as_slice())).await?;
    let content = html! {
        nav.crumbs aria-label="Where you are" { a href="/failed" { "Failed jobs" } " / " }
        div.head {
            h1 { (text::name(&job.name)) }
            (actions(view, which))
        }
        p.id.soft { (text::line(&job.id, text::MAX_LINE_BYTES)) }
        (why(room, job, failure.as_ref(), &facts))
        @if let Some(failure) = &failure { (traces(failure)) }
        h2 { "Payload" }
        @match room.redaction.instead_of_bytes(failure.as_ref(), job.payload.get()) {
            Some(instead) => p.notice { (instead) },
            None => (json(room, job.payload.get(), "payload")),
        }
        @if let Some(metadata) = &job.metadata { h2 { "Metadata" } (json(room, metadata.get(), "metadata")) }
        h2 { "Its life" }
        (life(job, &facts))
        (attempts(&words.attempts))
        (edit_form(room, view, which, job))
        (trial::form(room, view, which, &facts.cause.plugin))
        p { a href={ "/failed" (words::query(&[("cause", &facts.cause.id())])) } { "All that failed for this cause" } }
    };
    Ok(still(
        view,
        Tab::Failed,
        &format!("{} · Failed jobs", text::name(&job.name)),
        &content,
    ))
}

fn actions(view: &View, which: &Which) -> Markup {
    let path = which.path();
    html! {
        div.actions {
            @if view.may(Role::Operator) { form method="post" action={ (path) "/retry" } { button.primary type="submit" { "Retry" } } }
            @if view.may(Role::Admin) {
                details.pop {
                    summary.button.danger { "Delete…" }
                    form.card method="post" action={ (path) "/delete" } { p { "The job and its payload are gone for good." } button.danger type="submit" { "Delete this job" } }
                }
            }
        }
    }
}

/// Retrying it with another payload. Not offered where the payload is not shown whole.
fn edit_form(room: &Room, view: &View, which: &Which, job: &Job) -> Markup {
    let payload = job.payload.get();
    let is_whole = payload.len() <= MAX_SHOWN_BYTES && room.redaction.is_empty() && text::block(payload) == payload;
    let is_job = job
        .failure()
        .is_none_or(|failure| failure.kind != FailureKind::Malformed);
    html! {
        @if view.may(Role::Operator) && is_whole && is_job {
            details.card.more {
                summary { strong { "Edit it and retry" } }
                form method="post" action={ (which.path()) "/edit" } data-keep="" {
                    p.soft { "A new job with this payload goes to the queue, with an id of its own and all its attempts. The failed entry is deleted once that is done." }
                    div.field {
                        label for="payload" { "Payload, JSON" }
                        textarea #payload name="payload" rows="10" spellcheck="false" required { (room.redaction.pretty(payload, &["payload"])) }
                    }
                    div { button.primary type="submit" { "Retry with this payload" } }
                }
            }
        }
    }
}

fn why(room: &Room, job: &Job, failure: Option<&Failure>, facts: &Facts) -> Markup {
    let error = failure
        .map(|failure| failure.message.as_str())
        .or(job.error.as_deref())
        .unwrap_or("its writer did not say why");
    html! {
        div.notice.bad { @if let Some(failure) = failure { (badge(failure.kind.as_str(), "bad")) " " } strong { (text::message(error, text::MAX_LINE_BYTES)) } }
        dl.facts.card {
            div { dt { "Failed" } dd { (when(facts.failed_at_ms)) } }
            div { dt { "Queue" } dd { @if facts.queue.is_empty() { "not said" } @else { a href={ "/queues/" (words::part(&facts.queue)) } { (facts.queue) } } } }
            @if let Some(failure) = failure {
                @if !failure.handler.is_empty() { div { dt { "Version" } dd { (version(&failure.handler, &failure.digest)) } } }
                @if failure.attempt > 0 { div { dt { "Attempt" } dd { (failure.attempt) @if job.max_attempts > 0 { " of " (job.max_attempts) } } } }
                @if failure.attempt > 0 { div { dt { "It took" } dd { (lasted(failure.duration_ms)) } } }
                @if failure.cpu_ms > 0 { div { dt { "Processor time" } dd { (lasted(failure.cpu_ms)) } } }
                @if failure.peak_memory_bytes > 0 { div { dt { "Peak memory" } dd { (words::bytes(failure.peak_memory_bytes)) } } }
            } @else { div { dt { "Attempts" } dd { (job.attempts) } } }
            @if job.lost > 0 { div { dt { "Hosts that died under it" } dd { (job.lost) } } }
            (links::batches(room, job.metadata.as_deref()))
            (links::trace(room, job.metadata.as_deref()))
        }
    }
}

pub(super) fn json(room: &Room, json: &str, of: &str) -> Markup {
    if json.len() > MAX_SHOWN_BYTES && !room.redaction.is_empty() {
        return html! { p.notice { "It has " (words::bytes(json.len() as u64)) ", and is not shown because parts of it are to be hidden." } };
    }
    let cut = &json[..json.floor_char_boundary(MAX_SHOWN_BYTES)];
    let shown = if cut.len() < json.len() {
        text::block(cut).into_owned()
    } else {
        room.redaction.pretty(json, &[of])
    };
    html! {
        pre tabindex="0" { (shown) }
        @if cut.len() < json.len() { p.soft { "The first " (words::bytes(cut.len() as u64)) " of " (words::bytes(json.len() as u64)) "." } }
    }
}

/// What happened to it, in order, as far as the entry says.
fn life(job: &Job, facts: &Facts) -> Markup {
    let times = &job.times;
    let at = |text: &Option<String>| text.as_deref().and_then(words::parse_ms);
    let mut events = vec![
        (at(&times.created_at), "pushed"),
        (at(&times.available_at), "due"),
        (at(&times.started_at), "last attempt began"),
        (facts.failed_at_ms, "failed for good"),
    ];
    events.retain(|(at, _)| at.is_some());
    events.sort();
    html! {
        ol.life { @for (at, what) in events { li { strong { (what) } " " (when(at)) } } }
    }
}

async fn done(room: &Room, caller: &Caller, which: Which, act: &Act) -> Result<Response, Problem> {
    Ok(match room.work_on_one(caller, &which, act).await? {
        Fate::Taken => to("/failed", if *act == Act::Retry { "retried" } else { "deleted" }),
        Fate::Gone => to("/failed", "gone"),
        Fate::Stays => to(&which.path(), "stays"),
    })
}

async fn retry(
    State(room): State<Shared>,
    which: Which,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    done(&room, &caller, which, &Act::Retry).await
}

async fn delete(
    State(room): State<Shared>,
    which: Which,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    caller.needs(Role::Admin)?;
    done(&room, &caller, which, &Act::Delete).await
}

async fn edit(
    State(room): State<Shared>,
    which: Which,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Problem> {
    let form = form(body).await?;
    let payload = form.get("payload").unwrap_or_default().to_owned();
    let payload =
        RawValue::from_string(payload).map_err(|err| Problem::bad(format!("the payload is no JSON: {err}")))?;
    let edited = room.retry_edited(&caller, &which, payload).await?;
    let done = if edited.original == Fate::Gone {
        "edited-kept"
    } else {
        "edited"
    };
    Ok(to(&Which::Job(edited.id).path(), done))
}

pub(super) async fn cancel(
    State(room): State<Shared>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    room.cancel(&caller, &id, false).await?;
    Ok(to(&Which::Job(id).path(), "cancelled"))
}

pub(super) async fn uncancel(
    State(room): State<Shared>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    room.cancel(&caller, &id, true).await?;
    Ok(to(&Which::Job(id).path(), "uncancelled"))
}
