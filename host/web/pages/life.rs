//! The life of a job: where it is, what it reports, its attempts.

use axum::response::Response;
use maud::{Markup, html};

use super::job::json;
use super::layout::{Tab, badge, empty, lasted, version, when};
use super::said::outputs;
use super::{View, links, still};
use crate::admin::job::{Found, Life, Part, State, life};
use crate::admin::lanes::waits_for;
use crate::admin::results::Outcome;
use crate::outcome::{AttemptRecord, RunningReport};
use crate::text;
use crate::web::guard::Role;
use crate::web::problem::Problem;
use crate::web::room::{Room, Which};
use crate::web::words;

/// A job that is not in the failed list.
pub(super) async fn elsewhere(room: &Room, view: &View, id: &str) -> Result<Response, Problem> {
    let look = room.look().await;
    let life = life(&room.store, id, &look).await?;
    let content = html! {
        div.head { h1 { "Job" } }
        p.id.soft { (text::line(id, text::MAX_LINE_BYTES)) }
        @if life.is_unknown() && life.outcome.is_none() { (unknown(room, view, &life)) } @else { (known(room, &life)) }
        @if view.may(Role::Operator) && life.state != State::Completed {
            form method="post" action={ (Which::Job(id.to_owned()).path()) "/cancel" } { button.danger type="submit" { "Cancel it" } }
        }
        p { a href="/failed" { "To the failed jobs" } }
    };
    Ok(still(view, Tab::None, "Job", &content))
}

fn unknown(room: &Room, view: &View, life: &Life) -> Markup {
    let coverage = room.index.coverage();
    empty(
        "This job is not in the failed list",
        &html! {
            @if life.searched.all_jobs { "No queue holds it: it has completed without a result that is still kept, or was deleted. " }
            @else { "It is not among the " (words::count(life.searched.jobs)) " jobs that were looked at: it waits farther back, has completed without a result that is still kept, or was deleted. " }
            @if view.may(Role::Operator) { "If it has not ended, it can be cancelled wherever it is." }
            " " @if coverage.building { "The failed list is still being read: " (words::count(coverage.indexed)) " of " (words::count(coverage.len)) "." }
        },
    )
}

fn known(room: &Room, life: &Life) -> Markup {
    html! {
        p {
            (state(life.state))
            @if !life.cancelled.is_empty() { " " (badge("cancelled", "bad")) @if !life.found.is_empty() { " It ends when a worker comes to it." } }
        }
        @for found in &life.found { (place(room, found)) }
        @for running in &life.running { p { "Runs on " strong { (text::name(&running.host)) } ", since " (when(Some(running.since_ms))) "." } }
        @if let Some(report) = &life.progress { (progress(report)) }
        @match &life.outcome {
            Some(Outcome::Completed { result: Some(result), .. }) => { h2 { "Result" } (json(room, result.get(), "result")) }
            Some(Outcome::Completed { result_bytes: Some(bytes), .. }) => p { "Its result has " (words::bytes(*bytes as u64)) ", and is not kept." },
            Some(Outcome::Failed { kind, message }) => div.notice.bad { (badge(kind.as_str(), "bad")) " " strong { (text::message(message, text::MAX_LINE_BYTES)) } },
            _ => {}
        }
        (attempts(&life.attempts))
    }
}

fn state(state: State) -> Markup {
    let (word, colour) = match state {
        State::InFlight => ("in flight", "info"),
        State::Ready => ("ready", "info"),
        State::Waiting => ("waiting", "info"),
        State::Delayed => ("delayed", "info"),
        State::Completed => ("completed", "good"),
        State::Failed => ("failed", "bad"),
        State::Unknown => ("not found", "info"),
    };
    badge(word, colour)
}

/// Where one of its jobs lies.
fn place(room: &Room, found: &Found) -> Markup {
    html! {
        dl.facts.card {
            @if let Some(name) = &found.name { div { dt { "Name" } dd { (text::name(name)) } } }
            div { dt { "Queue" } dd { a href={ "/queues/" (words::part(&found.queue)) } { (text::name(&found.queue)) } } }
            @match &found.part {
                Part::InFlight { host } => div { dt { "Held by" } dd { (text::name(host)) } },
                Part::Ready { before } => div { dt { "Before it" } dd { (words::of(*before, "job", "jobs")) } },
                Part::Waiting { lane, before } => {
                    div { dt { "Waits for" } dd { (text::name(&waits_for(lane))) } }
                    div { dt { "Before it" } dd { (words::of(*before, "job", "jobs")) } }
                }
                Part::Delayed => div { dt { "Due" } dd { (when(found.due_ms)) } },
            }
            @if let Some(attempts) = found.attempts { div { dt { "Attempts" } dd { (attempts) @if let Some(most) = found.max_attempts { " of " (most) } } } }
            (links::batches(room, found.metadata.as_deref()))
            (links::trace(room, found.metadata.as_deref()))
            @if let Some(error) = &found.error { div { dt { "Last error" } dd { (text::message(error, text::MAX_LINE_BYTES)) } } }
        }
    }
}

fn progress(report: &RunningReport) -> Markup {
    html! {
        p {
            "Attempt " (report.attempt) " reports "
            @if let Some(percent) = report.percent { strong { (percent) " %" } " " }
            (text::line(&report.note, text::MAX_LINE_BYTES)) " " span.soft { (when(Some(report.at_ms))) }
        }
    }
}

/// The attempts that are kept, side by side, and what each said.
pub(super) fn attempts(attempts: &[AttemptRecord]) -> Markup {
    html! {
        @if !attempts.is_empty() {
            h2 { "Attempts" }
            div.scroll tabindex="0" {
                table {
                    thead { tr { th scope="col" { "Attempt" } th scope="col" { "Came to" } th scope="col" { "Began" } th scope="col" { "Waited" } th scope="col" { "Took" } th scope="col" { "Processor" } th scope="col" { "Memory" } th scope="col" { "Version" } th scope="col" { "Host" } } }
                    tbody { @for attempt in attempts { (row(attempt)) } }
                }
            }
            @for attempt in attempts { (said(attempt)) }
        }
    }
}

fn row(attempt: &AttemptRecord) -> Markup {
    let waited = attempt
        .started_ms
        .zip(attempt.due_ms)
        .map(|(started, due)| started - due);
    let took = attempt.started_ms.map(|started| attempt.ended_ms - started);
    let span = |ms: Option<i64>| ms.and_then(|ms| u64::try_from(ms).ok()).map(lasted);
    html! {
        tr {
            th scope="row" { @if attempt.attempt > 0 { (attempt.attempt) } @else { "not run" } }
            td.message { @match attempt.failure { Some(kind) => { (badge(kind.as_str(), "bad")) " " (text::message(&attempt.message, text::MAX_LINE_BYTES)) }, None => (badge("completed", "good")) } }
            td { (when(attempt.started_ms.or(Some(attempt.ended_ms)))) }
            td.num { (span(waited).unwrap_or_default()) }
            td.num { (span(took).unwrap_or_default()) }
            td.num { (lasted(attempt.cpu_us / 1_000)) }
            td.num { (words::bytes(attempt.peak_memory_bytes)) }
            td { (version(&attempt.plugin, &attempt.digest)) @if let Some(name) = &attempt.version { " " (text::name(name)) } }
            td { (text::name(&attempt.host)) }
        }
    }
}

/// What the handler of an attempt logged and printed.
fn said(attempt: &AttemptRecord) -> Markup {
    html! {
        @if let Some(said) = &attempt.said {
            details.card.more {
                summary { "What attempt " (attempt.attempt) " said" }
                @if said.dropped_lines > 0 { p.soft { (words::of(said.dropped_lines, "earlier line is", "earlier lines are")) " not kept." } }
                @if !said.lines.is_empty() {
                    pre tabindex="0" { @for line in &said.lines { (line.level) " " @if !line.context.is_empty() { (text::name(&line.context)) ": " } (text::message(&line.message, text::MAX_LINE_BYTES)) "\n" } }
                }
                (outputs(&said.stderr, &said.stdout))
            }
        }
    }
}
