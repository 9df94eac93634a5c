//! One queue: what is in it, who serves it, and pausing it.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};

use super::layout::{Tab, badge, empty, tile, when};
use super::overview::wait_tile;
use super::{View, live, to};
use crate::admin::jobs::{self, Seen};
use crate::admin::lanes::waits_for;
use crate::admin::pause as pausing;
use crate::admin::queues::Figure;
use crate::outcome::Lane;
use crate::queue::{Counts, MAX_REASON_BYTES, Pausable, Place, QueueName};
use crate::text;
use crate::web::body::form;
use crate::web::guard::{Caller, Role};
use crate::web::problem::Problem;
use crate::web::room::Shared;
use crate::web::words;

/// Jobs on one page.
const PAGE: usize = 25;

const PLACES: [(Place, &str, &str); 3] = [
    (Place::Ready, "ready", "Ready"),
    (Place::Delayed, "delayed", "Delayed"),
    (Place::InFlight, "running", "Running"),
];

pub(super) async fn show(
    State(room): State<Shared>,
    Path(name): Path<String>,
    view: View,
) -> Result<Response, Problem> {
    let queue = queue_name(&name)?;
    let counts = match view.sample.as_ref().and_then(|sample| sample.figures.queues.get(&name)) {
        Some(Figure::Counted(counts)) => counts.clone(),
        Some(Figure::Fault { error }) => {
            return Err(Problem::missing(format!("this queue cannot be counted: {error}")));
        }
        None => Counts::default(),
    };
    let shown = view.query.get("show").unwrap_or("ready");
    let (place, key, _) = PLACES
        .into_iter()
        .find(|(_, key, _)| *key == shown)
        .unwrap_or(PLACES[0]);
    let start = view.query.place("from")?.unwrap_or(0);
    let seen = jobs::peek(&room.store, &queue, place, start, PAGE + 1).await?;
    let content = html! {
        nav.crumbs aria-label="Where you are" { a href="/queues" { "Queues" } " / " }
        div.head { h1 { (text::name(&name)) } (paused(&view, &name, &counts)) }
        (tiles(&view, &name, &counts))
        (stages(&view, &name))
        @if !counts.lanes.is_empty() { (lanes(&name, &counts)) }
        h2 #jobs { "Jobs" }
        div.tabs role="navigation" aria-label="Jobs by state" {
            @for (of, of_key, of_name) in PLACES {
                a href={ "?show=" (of_key) } aria-current=[(of == place).then_some("true")] { (of_name) " " span.pill { (words::count(count(&counts, of))) } }
            }
        }
        (list(place, &seen))
        nav.pages aria-label="Pages of jobs" {
            @if start > 0 { a href={ "?show=" (key) "&from=" (start.saturating_sub(PAGE as u64)) } { "← Before" } }
            @if seen.len() > PAGE { a href={ "?show=" (key) "&from=" (start + PAGE as u64) } { "After →" } }
        }
        h2 { "Hosts" }
        (hosts(&counts))
    };
    Ok(live(
        &view,
        Tab::Queues,
        &format!("{} · Queues", text::name(&name)),
        &content,
    ))
}

pub(super) fn queue_name(name: &str) -> Result<QueueName, Problem> {
    QueueName::new(name).map_err(Problem::missing)
}

fn count(counts: &Counts, place: Place) -> u64 {
    match place {
        Place::Ready => counts.ready,
        Place::Delayed => counts.delayed,
        Place::InFlight => counts.in_flight,
    }
}

fn paused(view: &View, name: &str, counts: &Counts) -> Markup {
    let path = format!("/queues/{}", words::part(name));
    html! {
        div.actions {
            @if let Some(pause) = &counts.paused {
                span { (badge("paused", "warn")) " " span.soft { (words::pause(pause, Timestamp::now())) } }
                @if view.may(Role::Operator) {
                    form method="post" action={ (path) "/resume" } { button.primary type="submit" { "Resume" } }
                }
            } @else if view.may(Role::Operator) {
                details.pop {
                    summary.button { "Pause…" }
                    form.card method="post" action={ (path) "/pause" } data-keep="" {
                        p { "No host will take a job from this queue. What runs goes on to its end." }
                        label for="reason" { "Why, for your colleagues" }
                        input #reason type="text" name="reason" maxlength=(MAX_REASON_BYTES) placeholder="the mail server is down";
                        button.primary type="submit" { "Pause " (text::name(name)) }
                    }
                }
            }
        }
    }
}

fn tiles(view: &View, name: &str, counts: &Counts) -> Markup {
    let oldest = view.sample.as_ref().and_then(|sample| sample.oldest(name));
    let alive = counts.hosts.values().filter(|host| host.lease_left_ms > 0).count() as u64;
    html! {
        dl.tiles {
            (tile("Ready", &words::count(counts.ready), None, None, ""))
            (tile("In lanes", &words::count(counts.waiting), None, None, ""))
            (tile("Running", &words::count(counts.in_flight), Some(&format!("on {}", words::of(alive, "host", "hosts"))), None, if alive == 0 && !counts.is_empty() { "bad" } else { "" }))
            (tile("Delayed", &words::count(counts.delayed), None, None, ""))
            (wait_tile(&view.sample.as_ref().and_then(|sample| sample.waits.queues.get(name).copied()).unwrap_or_default()))
            (tile("Oldest waiting", &oldest.map_or_else(|| "–".to_owned(), words::roughly), None, None, if oldest.is_some_and(|age| age > Duration::from_mins(1)) { "warn" } else { "" }))
        }
    }
}

/// Where the wait went, in the mean of the attempts that began lately.
fn stages(view: &View, name: &str) -> Markup {
    let waits = view.sample.as_ref().and_then(|sample| sample.waits.queues.get(name));
    html! {
        @if let Some(waits) = waits.filter(|waits| waits.count() > 0) {
            @let [ready, lane, host] = waits.stages().map(words::time);
            p.soft {
                "A job that began in the last 5 minutes had been ready for " strong { (ready) } ", in lanes for " strong { (lane) }
                ", and in its host's hands for " strong { (host) } ", in the mean of " (words::of(waits.count(), "attempt", "attempts")) "."
            }
        }
    }
}

/// What jobs of the queue wait for in lanes, the most first.
fn lanes(name: &str, counts: &Counts) -> Markup {
    let mut lanes: Vec<_> = counts.lanes.iter().collect();
    lanes.sort_by_key(|(_, jobs)| std::cmp::Reverse(**jobs));
    let of_plugin = |lane: &str| Lane::from(lane.to_owned()).limited().map(str::to_owned);
    let path = |plugin: &str| {
        format!(
            "/queues/{}/lanes{}",
            words::part(name),
            words::query(&[("plugin", plugin)])
        )
    };
    html! {
        h2 { "Waiting in lanes" }
        div.scroll tabindex="0" role="region" aria-label="Table: what jobs wait for" {
            table {
                thead { tr { th scope="col" { "For" } th.number scope="col" { "Jobs" } } }
                tbody {
                    @for (lane, jobs) in lanes.iter().take(PAGE) {
                        tr {
                            th scope="row" { @match of_plugin(lane) { Some(plugin) => { a href=(path(&plugin)) { (text::name(&waits_for(lane))) } } None => { (text::name(&waits_for(lane))) } } }
                            td.number { (words::count(**jobs)) }
                        }
                    }
                }
            }
        }
        p.soft {
            "These were taken and may not start yet: a limit across hosts is met, their plugin is at its concurrency, is being loaded or is set aside, or their name is paused."
            @if lanes.len() > PAGE { " The " (PAGE) " with the most jobs of " (words::count(lanes.len() as u64)) "." }
        }
    }
}

fn list(place: Place, seen: &[Seen]) -> Markup {
    if seen.is_empty() {
        return match place {
            Place::Ready => empty(
                "No job is ready",
                &html! { "Jobs that are ready are taken at once while hosts have room." },
            ),
            Place::Delayed => empty(
                "No job is delayed",
                &html! { "Jobs wait here for their time: pushed with a delay, or tried again later." },
            ),
            Place::InFlight => empty("No job is running", &html! { "Hosts hold no job of this queue." }),
        };
    }
    let due = match place {
        Place::Ready => "Due since",
        Place::Delayed => "Due",
        Place::InFlight => "Was due",
    };
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table: jobs" {
            table {
                thead {
                    tr {
                        th scope="col" { "Job" } th scope="col" { "Id" } th scope="col" { (due) }
                        th.number scope="col" { "Attempts made" } th.number scope="col" { "Size" }
                        @if place == Place::InFlight { th scope="col" { "Host" } } @else { th scope="col" { "Last error" } }
                    }
                }
                tbody {
                    @for job in seen.iter().take(PAGE) {
                        tr {
                            th scope="row" { @match &job.name { Some(name) => { (name) } None => { span.soft { "not read" } } } }
                            td.id { @match job.id.as_deref().filter(|id| job.id_is_whole && !matches!(*id, "" | "." | "..")) { Some(id) => { a href={ "/jobs/" (words::part(id)) } { (id) } } None => { (job.id.as_deref().unwrap_or("–")) } } }
                            td.nowrap { (when(job.due_ms)) }
                            td.number { @match job.attempts { Some(attempts) => { (attempts) } None => { "–" } } }
                            td.number.nowrap { (words::bytes(job.bytes)) }
                            @if place == Place::InFlight {
                                td { (text::name(job.host.as_deref().unwrap_or_default())) }
                            } @else {
                                td { (job.error.as_deref().unwrap_or_default()) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn hosts(counts: &Counts) -> Markup {
    if counts.hosts.is_empty() {
        return empty(
            "No host serves this queue",
            &html! { "Start a worker: " code { "kiln worker --queue NAME" } "." },
        );
    }
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table: hosts" {
            table {
                thead { tr { th scope="col" { "Host" } th scope="col" { "State" } th.number scope="col" { "Holds" } th.number scope="col" { "Lease left" } } }
                tbody {
                    @for (name, host) in &counts.hosts {
                        tr {
                            th scope="row" { (text::name(name)) }
                            td { @if host.lease_left_ms > 0 { (badge("alive", "good")) } @else { (badge("gone", "bad")) } }
                            td.number { (words::count(host.in_flight)) }
                            td.number.nowrap { @if host.lease_left_ms > 0 { (words::roughly(Duration::from_millis(host.lease_left_ms.unsigned_abs()))) } @else { "–" } }
                        }
                    }
                }
            }
        }
    }
}

pub(super) async fn pause(
    State(room): State<Shared>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Problem> {
    let (queue, form) = (queue_name(&name)?, form(body).await?);
    let reason = form.get("reason").unwrap_or_default();
    room.record(&caller.name, "pause", &format!("queue {name}: {reason}"))
        .await?;
    pausing::pause(&room.store, &Pausable::Queue(queue), &caller.name, reason).await?;
    Ok(to(&format!("/queues/{}", words::part(&name)), "paused"))
}

pub(super) async fn resume(
    State(room): State<Shared>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let queue = queue_name(&name)?;
    room.record(&caller.name, "resume", &format!("queue {name}")).await?;
    pausing::resume(&room.store, &Pausable::Queue(queue)).await?;
    Ok(to(&format!("/queues/{}", words::part(&name)), "resumed"))
}
