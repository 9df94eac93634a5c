//! The hosts that serve: their leases, what they hold, and with which plugins.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};

use super::layout::{Tab, badge, empty, filter, pages, when};
use super::{View, live, to};
use crate::plugins::HostReport;
use crate::text;
use crate::web::guard::{Caller, Role};
use crate::web::live::{Sample, Summary};
use crate::web::problem::Problem;
use crate::web::room::Shared;
use crate::web::words;

/// What all queues say of a host.
#[derive(Default)]
struct Host<'a> {
    queues: Vec<&'a str>,
    holds: u64,
    /// The shortest of its leases.
    lease_ms: Option<i64>,
    report: Option<&'a HostReport>,
    summary: Option<&'a Summary>,
}

fn gathered(sample: &Sample) -> BTreeMap<&str, Host<'_>> {
    let mut all = BTreeMap::<&str, Host<'_>>::new();
    for (queue, counts) in sample.queues() {
        for (name, state) in &counts.hosts {
            let host = all.entry(name).or_default();
            host.queues.push(queue);
            host.holds += state.in_flight;
            host.lease_ms = host.lease_ms.into_iter().chain([state.lease_left_ms]).min();
        }
    }
    for (name, report) in &sample.fleet.hosts {
        let host = all.entry(name).or_default();
        (host.report, host.summary) = (Some(&**report), sample.fleet.summaries.get(name));
    }
    all
}

/// Hosts on one page.
const PAGE: usize = 50;

pub(super) async fn show(State(_room): State<Shared>, view: View) -> Result<Response, Problem> {
    let Some(sample) = view.sample.clone() else {
        return Ok(live(&view, Tab::Hosts, "Hosts", &html! { h1 { "Hosts" } }));
    };
    let from = usize::try_from(view.query.place("from")?.unwrap_or(0)).unwrap_or(usize::MAX);
    let text = text::name(view.query.get("text").unwrap_or_default()).to_lowercase();
    let mut all = gathered(&sample);
    let is_none = all.is_empty();
    all.retain(|name, _| text::name(name).to_lowercase().contains(&text));
    let content = html! {
        div.head { h1 { "Hosts" } (filter("Name contains", &text)) }
        @if is_none {
            (empty("No host serves a queue", &html! { "Start a worker: " code { "kiln worker --plugins FOLDER" } "." }))
        } @else if all.is_empty() {
            (empty(&format!("No host whose name contains “{text}”"), &html! { a href="/hosts" { "Show all" } }))
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Table: hosts" {
                table {
                    thead {
                        tr {
                            th scope="col" { "Host" } th scope="col" { "State" } th.number scope="col" { "Running" }
                            th.number scope="col" { "Lease left" } th scope="col" { "Up since" } th scope="col" { "Queues" } th scope="col" { "Plugins" } th scope="col" { span.hidden { "Actions" } }
                        }
                    }
                    tbody {
                        @for (name, host) in all.iter().skip(from).take(PAGE) {
                            tr id={ "host-" (words::part(name)) } {
                                th scope="row" { (text::name(name)) }
                                td { @match host.lease_ms { Some(..=0) => { (badge("gone", "bad")) } Some(_) => { (badge("alive", "good")) } None => { (badge("starting or leaving", "warn")) } } }
                                td.number { (words::count(host.holds)) }
                                td.number.nowrap { @match host.lease_ms { Some(left @ 1..) => { (words::roughly(Duration::from_millis(left.unsigned_abs()))) } _ => { "–" } } }
                                td.nowrap { (when(host.report.and_then(|report| words::parse_ms(&report.since)))) }
                                td { (some(&host.queues)) }
                                td { (plugins(host.summary)) }
                                td.nowrap { (drain_form(&view, name, host)) }
                            }
                        }
                    }
                }
            }
            (pages("hosts", from, PAGE, all.len(), ("host", "hosts"), |from| format!("/hosts{}", words::query(&[("text", &text), ("from", &from)]))))
            p.soft { "A host that is gone keeps what it held until another takes that over, a few seconds after its lease has ended." }
        }
    };
    Ok(live(&view, Tab::Hosts, "Hosts", &content))
}

/// Asking a host to drain. One that is not known by a report, as that of a store in memory, is not reached from here.
fn drain_form(view: &View, name: &str, host: &Host<'_>) -> Markup {
    let Some(report) = host.report.filter(|_| view.may(Role::Admin)) else {
        return html! {};
    };
    html! {
        @if report.drain.is_some() { span.soft { "asked to drain" } } @else {
            details.pop {
                summary.button { "Drain…" }
                form.card method="post" action={ "/hosts/" (words::part(name)) "/drain" } {
                    p { "It takes nothing new, finishes what runs within its grace period, and ends, as after SIGTERM. Whatever started it may start it again." }
                    button.danger type="submit" { "Drain " (text::name(name)) }
                }
            }
        }
    }
}

pub(super) async fn drain(
    State(room): State<Shared>,
    Path(host): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    room.drain(&caller, &host).await?;
    Ok(to("/hosts", "draining"))
}

fn some(queues: &[&str]) -> String {
    let shown: Vec<_> = queues
        .iter()
        .take(4)
        .map(|queue| text::name(queue).into_owned())
        .collect();
    match queues.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// How many plugins a host has, and what is the matter with them.
fn plugins(summary: Option<&Summary>) -> String {
    let Some(summary) = summary else {
        return "not reported".to_owned();
    };
    let mut said = words::of(summary.serving, "plugin", "plugins");
    for (what, few) in [
        ("does not load", &summary.faulty),
        ("set aside", &summary.aside),
        ("another version than on most hosts", &summary.unusual),
    ] {
        if few.count > 0 {
            said = format!("{said}; {what}: {}", super::plugins::some_of(few));
        }
    }
    said
}
