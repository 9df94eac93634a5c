//! The overview: whether all is well, and if not, where to look.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};

use super::attention::{Concern, concerns};
use super::chart::{self, Line};
use super::layout::{Tab, badge, empty, tile, version, when};
use super::{View, live, queues};
use crate::admin::index::{Group, Overall};
use crate::queue::Waits;
use crate::text;
use crate::web::live::{HOUR, Point, SAMPLE_INTERVAL, Sample};
use crate::web::room::Shared;
use crate::web::words;

/// Queues and causes that the overview names.
const SOME: usize = 6;

/// Points of a chart: more would not be seen.
const POINTS: usize = 150;

pub(super) async fn show(State(room): State<Shared>, view: View) -> Response {
    let Some(sample) = view.sample.clone() else {
        return live(&view, Tab::Overview, "Overview", &html! { h1 { "Overview" } });
    };
    room.settle_index().await;
    let index = std::sync::Arc::clone(&room.index);
    let looked = tokio::task::spawn_blocking(move || index.overall(HOUR, SAMPLE_INTERVAL));
    let Overall { groups, kinds } = looked.await.unwrap_or_default();
    let concerns = concerns(&sample, &groups);
    let kinds: Vec<_> = kinds.into_iter().collect();
    let content = html! {
        h1 { @if view.error.is_some() { "What was seen last" } @else { (headline(&concerns)) } }
        (attention(&concerns))
        (tiles(&view, &sample))
        div.charts {
            (throughput(&sample))
            (backlog(&sample))
            (failures(&sample, &kinds))
        }
        div.columns {
            section aria-labelledby="queues" {
                div.head { h2 #queues { "Queues" } a href="/queues" { "All queues" } }
                (queues::table(&queues::by_trouble(&sample, SOME), false))
            }
            section aria-labelledby="causes" {
                div.head { h2 #causes { "Failing in the last hour" } a href="/failed" { "All failed jobs" } }
                (causes(&latest(&groups)))
            }
        }
    };
    live(&view, Tab::Overview, "Overview", &content)
}

/// The causes with most failures in the last hour, those first.
fn latest(groups: &[Group]) -> Vec<&Group> {
    let mut latest: Vec<_> = groups.iter().filter(|group| group.recent() > 0).collect();
    latest.sort_by_key(|group| std::cmp::Reverse(group.recent()));
    latest.truncate(SOME);
    latest
}

fn headline(concerns: &[Concern]) -> String {
    match concerns.len() {
        0 => "All is well".to_owned(),
        1 => "One thing needs attention".to_owned(),
        n => format!("{n} things need attention"),
    }
}

fn attention(concerns: &[Concern]) -> Markup {
    html! {
        @if !concerns.is_empty() {
            ul.concerns aria-label="Needs attention" {
                @for concern in concerns {
                    li class=(concern.level) {
                        a href=(concern.href) { strong { (concern.subject) } }
                        " " span { (concern.text) }
                    }
                }
            }
        }
    }
}

fn tiles(view: &View, sample: &Sample) -> Markup {
    let (totals, oldest) = (sample.totals(), sample.oldest_of_all());
    let hosts = sample.fleet.hosts.len() as u64;
    let served: std::collections::BTreeSet<_> = sample.queues().flat_map(|(_, counts)| counts.hosts.keys()).collect();
    let hosts = hosts.max(served.len() as u64);
    let waiting = (totals.waiting > 0).then(|| format!("+ {} in lanes", words::count(totals.waiting)));
    let oldest_note = oldest.map(|(queue, _)| format!("in {}", text::name(queue)));
    html! {
        dl.tiles {
            (tile("Ready", &words::count(totals.ready), waiting.as_deref(), Some("/queues"), ""))
            (tile("Running", &words::count(totals.in_flight), Some(&format!("on {}", words::of(hosts, "host", "hosts"))), Some("/hosts"), ""))
            (tile("Delayed", &words::count(totals.delayed), None, Some("/queues"), ""))
            (wait_tile(&sample.waits.all))
            (tile("Oldest waiting", &oldest.map_or_else(|| "–".to_owned(), |(_, age)| words::roughly(age)), oldest_note.as_deref(), Some("/queues"), if oldest.is_some_and(|(_, age)| age > Duration::from_mins(1)) { "warn" } else { "" }))
            (tile("Attempts", &words::rate(sample.fleet.rate.attempts()), Some("a second"), Some("/plugins"), ""))
            (tile("Failed list", &words::count(view.failed), None, Some("/failed"), if view.failed > 0 { "bad" } else { "" }))
        }
    }
}

/// How long half of the jobs waited at most, and nineteen of twenty, before their attempts began.
pub(super) fn wait_tile(waits: &Waits) -> Markup {
    let shown = waits.percentile(0.5).zip(waits.percentile(0.95));
    let (half, most) = shown.map_or_else(
        || ("–".to_owned(), "none began".to_owned()),
        |(half, most)| (words::time(half), format!("p95 {} · 5 min", words::time(most))),
    );
    tile("Wait p50", &half, Some(&most), None, "")
}

/// Every n-th point, so that a chart has as many as can be seen, and how long ago the first was.
fn thinned(points: &[Point]) -> (Vec<&Point>, String) {
    let step = points.len().div_ceil(POINTS).max(1);
    let from = points
        .first()
        .zip(points.last())
        .map_or(0, |(first, last)| last.at_ms - first.at_ms);
    let span = words::roughly(Duration::from_millis(u64::try_from(from).unwrap_or(0)));
    (
        points
            .iter()
            .rev()
            .step_by(step)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect(),
        span,
    )
}

fn throughput(sample: &Sample) -> Markup {
    let (points, span) = thinned(&sample.history);
    let line = |name, class, value: fn(&Point) -> f64| Line {
        name,
        class,
        values: points.iter().map(|point| Some(value(point))).collect(),
    };
    let said = format!(
        "Attempts a second, now {} completed and {} failed",
        words::rate(sample.fleet.rate.completed),
        words::rate(sample.fleet.rate.failed)
    );
    let lines = [
        line("completed", "good", |point| point.completed),
        line("failed", "bad", |point| point.failed),
    ];
    chart::lines("Attempts a second", &said, &lines, &span, words::rate)
}

#[expect(clippy::cast_precision_loss, reason = "a chart is no more exact")]
fn backlog(sample: &Sample) -> Markup {
    let (points, span) = thinned(&sample.history);
    let lines = [
        Line {
            name: "waiting",
            class: "accent",
            values: points.iter().map(|point| Some(point.backlog as f64)).collect(),
        },
        Line {
            name: "running",
            class: "good",
            values: points.iter().map(|point| Some(point.in_flight as f64)).collect(),
        },
    ];
    let totals = sample.totals();
    let said = format!(
        "Jobs, now {} waiting and {} running",
        words::count(totals.ready + totals.waiting),
        words::count(totals.in_flight)
    );
    chart::lines("Jobs waiting and running", &said, &lines, &span, |value| {
        words::count(words::whole(value))
    })
}

fn failures(sample: &Sample, kinds: &[(&'static str, [u32; crate::admin::index::PARTS])]) -> Markup {
    let total: u64 = kinds
        .iter()
        .flat_map(|(_, parts)| parts)
        .map(|part| u64::from(*part))
        .sum();
    let of_kind = |(kind, parts): &(&str, [u32; crate::admin::index::PARTS])| {
        format!("{} {kind}", parts.iter().map(|part| u64::from(*part)).sum::<u64>())
    };
    let said = match total {
        0 => "No job failed in the last hour".to_owned(),
        total => format!(
            "{} failed in the last hour: {}",
            words::of(total, "job", "jobs"),
            kinds.iter().map(of_kind).collect::<Vec<_>>().join(", ")
        ),
    };
    chart::bars("Failed for good, last hour", &said, kinds, "1 h", &deploys(sample))
}

/// The versions that were loaded in the last hour, each where it belongs on a chart of that hour.
fn deploys(sample: &Sample) -> Vec<(f64, String)> {
    let mut found = Vec::<(f64, String)>::new();
    let span = HOUR.as_secs_f64() * 1000.0;
    let versions = sample.fleet.plugins.iter();
    let versions = versions.flat_map(|(name, plugin)| plugin.versions.iter().map(move |version| (name, version)));
    for (name, (digest, version)) in versions {
        #[expect(clippy::cast_precision_loss, reason = "a chart is no more exact")]
        let place = 1.0 - (sample.time.as_millisecond() - version.since_ms) as f64 / span;
        if place > 0.0 && found.len() < SOME {
            let digest = &digest[..digest.floor_char_boundary(7)];
            found.push((place, format!("{}@{digest}", text::name(name))));
        }
    }
    // Where a worker has just started, everything was loaded at once: that is no deployment that a chart could explain.
    let (first, last) = (
        found.iter().map(|(at, _)| *at).fold(1.0, f64::min),
        found.iter().map(|(at, _)| *at).fold(0.0, f64::max),
    );
    if found.len() >= SOME && last - first < 0.01 {
        Vec::new()
    } else {
        found
    }
}

fn causes(groups: &[&Group]) -> Markup {
    html! {
        @if groups.is_empty() {
            (empty("No job has failed for good in the last hour", &html! { "Jobs that fail and are tried again are not in the failed list." }))
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Table: causes of failures" {
                table {
                    thead { tr { th scope="col" { "Cause" } th.number scope="col" { "Last hour" } th scope="col" { span.hidden { "When" } } th scope="col" { "Last" } } }
                    tbody {
                        @for group in groups {
                            tr id={ "cause-" (group.id) } {
                                td { a href={ "/failed" (words::query(&[("cause", &group.id)])) } { (group.newest.message) } div.soft { @if let Some(kind) = group.cause.kind { (badge(kind.as_str(), "bad")) " " } (version(&group.cause.plugin, &group.cause.digest)) } }
                                td.number { (words::count(group.recent())) }
                                td { (chart::spark(&group.parts)) }
                                td.nowrap { (when(group.times_ms.map(|(_, last)| last))) }
                            }
                        }
                    }
                }
            }
        }
        p.soft { "Failed for good, grouped by kind, version of the plugin and place in its code. As of " (Timestamp::now().strftime("%H:%M:%S")) " UTC." }
    }
}
