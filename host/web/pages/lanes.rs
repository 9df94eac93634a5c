//! The lanes of a queue: where jobs wait for limits across hosts.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};

use super::layout::{Tab, badge, empty, pages};
use super::queue::queue_name;
use super::{View, still};
use crate::admin::AdminError;
use crate::admin::lanes::{LaneFigure, lanes};
use crate::text;
use crate::web::problem::Problem;
use crate::web::room::Shared;
use crate::web::words;

/// Lanes on one page.
const PAGE: usize = 100;

/// Lanes that are read for a page: some dozens of commands, each of a millisecond or two. `kiln lanes` and the API read all.
const MAX_READ: usize = 10_000;

pub(super) async fn show(
    State(room): State<Shared>,
    Path(name): Path<String>,
    view: View,
) -> Result<Response, Problem> {
    let queue = queue_name(&name)?;
    let from = usize::try_from(view.query.place("from")?.unwrap_or(0)).unwrap_or(usize::MAX);
    let plugin = view.query.get("plugin").map(|name| text::name(name).into_owned());
    let text = text::name(view.query.get("text").unwrap_or_default()).to_lowercase();
    let only_full = view.query.get("show") == Some("full");
    let found = lanes(&room.store, &[queue], plugin.as_deref(), MAX_READ).await?;
    let now_ms = room.store.now().await.map_err(AdminError::from)?.as_millisecond();
    let mut shown: Vec<_> = found.lanes.iter().collect();
    shown.retain(|figure| text::name(&figure.seen.lane).to_lowercase().contains(&text));
    let (all, full) = (shown.len(), shown.iter().filter(|figure| is_full(figure)).count());
    let jobs: u64 = shown.iter().map(|figure| figure.seen.jobs).sum();
    shown.retain(|figure| !only_full || is_full(figure));
    let path = format!("/queues/{}", words::part(&name));
    let plugin = plugin.unwrap_or_default();
    let other = |show: &str, from: &str| {
        let query = [
            ("plugin", plugin.as_str()),
            ("text", &text),
            ("show", show),
            ("from", from),
        ];
        format!("{path}/lanes{}", words::query(&query))
    };
    let show = if only_full { "full" } else { "" };
    let page: Vec<_> = shown.iter().skip(from).take(PAGE).collect();
    let content = html! {
        nav.crumbs aria-label="Where you are" { a href="/queues" { "Queues" } " / " a href=(path) { (text::name(&name)) } " / " }
        div.head {
            h1 { "Lanes" @if !plugin.is_empty() { " of " (text::name(&plugin)) } }
            form.filter method="get" role="search" {
                label for="text" { "Lane contains" }
                input #text type="search" name="text" value=(text) data-filter="";
                @if !plugin.is_empty() { input type="hidden" name="plugin" value=(plugin); }
                @if only_full { input type="hidden" name="show" value="full"; }
                button type="submit" { "Filter" }
            }
        }
        p.soft {
            "A lane holds the jobs that count against the same limits of a plugin across hosts, and is named by them. "
            (words::of(jobs, "job waits", "jobs wait")) " in " (words::of(all as u64, "lane", "lanes")) ". "
            @if !found.all { "These are the first " (words::count(MAX_READ as u64)) " that were found; " code { "kiln lanes" } " reads all." }
        }
        div.tabs role="navigation" aria-label="Lanes by state" {
            a href=(other("", "")) aria-current=[(!only_full).then_some("true")] { "All " span.pill { (words::count(all as u64)) } }
            a href=(other("full", "")) aria-current=[only_full.then_some("true")] { "At a limit " span.pill { (words::count(full as u64)) } }
        }
        @if page.is_empty() {
            (empty("No such lane holds jobs", &html! { "Jobs wait in lanes while a limit of theirs is met: " code { "[[limit]]" } " in their plugin's manifest." }))
        } @else {
            (table(&page, now_ms))
            (pages("lanes", from, PAGE, shown.len(), ("lane", "lanes"), |from| other(show, &from)))
        }
        p.soft { "As of this moment; load the page again for another." }
    };
    let title = format!("Lanes · {} · Queues", text::name(&name));
    Ok(still(&view, Tab::Queues, &title, &content))
}

/// Whether no job of it may start, because a limit is met.
fn is_full(figure: &LaneFigure) -> bool {
    figure.seen.turn_ms.is_none()
}

fn table(page: &[&&LaneFigure], now_ms: i64) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table: lanes" {
            table {
                thead { tr { th scope="col" { "Lane" } th scope="col" { "Plugin" } th.number scope="col" { "Waiting" } th scope="col" { "Next turn" } th scope="col" { "Running under each limit" } } }
                tbody {
                    @for figure in page {
                        tr {
                            th scope="row" { (text::name(&figure.seen.lane)) }
                            td { (text::name(&figure.plugin)) }
                            td.number { (words::count(figure.seen.jobs)) }
                            td.nowrap { (turn(figure.seen.turn_ms, now_ms)) }
                            td { @for (cap, jobs) in &figure.seen.running { div { (text::name(cap)) " " span.pill { (words::count(*jobs)) } } } }
                        }
                    }
                }
            }
        }
    }
}

/// When a lane has its turn.
fn turn(at_ms: Option<i64>, now_ms: i64) -> Markup {
    match at_ms {
        None => badge("at a limit", "warn"),
        Some(at_ms) if at_ms <= now_ms => badge("now", "good"),
        Some(at_ms) => {
            let left = Duration::from_millis((at_ms - now_ms).unsigned_abs());
            html! { "in " (words::time(left)) }
        }
    }
}
