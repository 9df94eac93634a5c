//! What jobs came to over time: by queue, and by plugin.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::layout::{Tab, empty};
use super::{View, chart, still};
use crate::admin::stats::{self, PluginStats, QueueStats, Stats};
use crate::text;
use crate::web::problem::Problem;
use crate::web::room::Shared;
use crate::web::words;

/// The ranges of time that can be looked at.
const RANGES: [(&str, &str, Duration); 5] = [
    ("1h", "1 hour", Duration::from_hours(1)),
    ("8h", "8 hours", Duration::from_hours(8)),
    ("24h", "24 hours", Duration::from_hours(24)),
    ("168h", "7 days", Duration::from_hours(7 * 24)),
    ("840h", "35 days", Duration::from_hours(35 * 24)),
];

/// The range where none is asked for.
const USUAL: usize = 2;

/// Queues, and plugins, that the page shows: those with most. The API has all.
const SHOWN: usize = 200;

pub(super) async fn show(State(room): State<Shared>, view: View) -> Result<Response, Problem> {
    let asked = view.query.get("since");
    let (key, name, since) = match asked {
        Some(asked) => RANGES.into_iter().find(|(key, ..)| *key == asked),
        None => Some(RANGES[USUAL]),
    }
    .ok_or_else(|| Problem::bad("there is no such range of time here"))?;
    let stats = stats::since(&room.store, since).await?;
    let content = html! {
        div.head {
            h1 { "Statistics" }
            div.tabs role="navigation" aria-label="Range of time" {
                @for (of, name, _) in RANGES { a href={ "?since=" (of) } aria-current=[(of == key).then_some("true")] { (name) } }
            }
        }
        p.soft { "What the jobs of all workers came to in this time. They add it up every ten seconds." }
        @if stats.queues.is_empty() && stats.plugins.is_empty() {
            (empty("No job has ended in this time", &html! { "Look at a longer one, or push a job: " code { "kiln push NAME" } "." }))
        } @else {
            h2 { "Queues" }
            (queues(&stats, name))
            h2 { "Plugins" }
            (plugins(&stats, name))
        }
    };
    Ok(still(&view, Tab::Stats, "Statistics", &content))
}

fn queues(stats: &Stats, range: &str) -> Markup {
    let ended = |queue: &QueueStats| queue.done + queue.failed + queue.dropped;
    let mut all: Vec<_> = stats.queues.iter().collect();
    all.sort_by_key(|(name, queue)| (std::cmp::Reverse(ended(queue)), (*name).clone()));
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table: what became of jobs, by queue" {
            table {
                thead { tr { th scope="col" { "Queue" } th.number scope="col" { "Done" } th.number scope="col" { "Failed" } th.number scope="col" { "Put off" } th.number scope="col" { "Too old" } th.number scope="col" { "A second" } th scope="col" { "Ended, over " (range) } } }
                tbody {
                    @for (name, queue) in all.iter().take(SHOWN) {
                        tr {
                            th scope="row" { a href={ "/queues/" (words::part(name)) } { (text::name(name)) } }
                            (number(queue.done)) (number(queue.failed)) (number(queue.retried)) (number(queue.dropped))
                            td.number { (words::rate(a_second(ended(queue), stats))) }
                            td { (chart::steps(&queue.steps)) }
                        }
                    }
                }
            }
        }
        (more(all.len()))
    }
}

fn plugins(stats: &Stats, range: &str) -> Markup {
    let mut all: Vec<_> = stats.plugins.iter().collect();
    all.sort_by_key(|(name, plugin)| (std::cmp::Reverse(plugin.attempts()), (*name).clone()));
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table: what attempts came to, by plugin" {
            table {
                thead { tr { th scope="col" { "Plugin" } th.number scope="col" { "Completed" } th.number scope="col" { "Failed" } th scope="col" { "How" } th.number scope="col" { "Processor time, mean" } th.number scope="col" { "Time, mean" } th scope="col" { "Attempts, over " (range) } } }
                tbody { @for (name, plugin) in all.iter().take(SHOWN) { (of_plugin(name, plugin)) } }
            }
        }
        (more(all.len()))
    }
}

fn of_plugin(name: &str, plugin: &PluginStats) -> Markup {
    let failed: u64 = plugin.failures.values().sum();
    let mean = |us: u64| micros(us / plugin.attempts().max(1));
    html! {
        tr {
            th scope="row" { a href=(super::plugins::path(name)) { (text::name(name)) } }
            (number(plugin.completed)) (number(failed))
            td { @for (place, (kind, count)) in plugin.failures.iter().enumerate() { @if place > 0 { ", " } (words::count(*count)) " " (text::name(kind)) } }
            td.number { (mean(plugin.cpu_us)) }
            td.number { (mean(plugin.ran_us)) }
            td { (chart::steps(&plugin.steps)) }
        }
    }
}

fn more(all: usize) -> Markup {
    html! { @if all > SHOWN { p.soft { "And " (words::count((all - SHOWN) as u64)) " more: " a href="/api/v1/stats" { "the API" } " has all." } } }
}

fn number(number: u64) -> Markup {
    html! { td.number class=[(number == 0).then_some("zero")] { (words::count(number)) } }
}

/// How many of them come to a second of the time that the statistics are of.
#[expect(clippy::cast_precision_loss, reason = "people read it")]
fn a_second(number: u64, stats: &Stats) -> f64 {
    let time = |text: &str| words::parse_ms(text).unwrap_or(0);
    let ms = (time(&stats.to) - time(&stats.from)).max(1000);
    number as f64 / (ms as f64 / 1000.0)
}

fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => words::time(Duration::from_micros(us)),
    }
}
