//! All queues, by what is the matter with them.

use std::cmp::Reverse;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::layout::{Tab, badge, empty, pages};
use super::{View, live};
use crate::admin::queues::Figure;
use crate::queue::Counts;
use crate::text;
use crate::web::live::Sample;
use crate::web::problem::Problem;
use crate::web::room::Shared;
use crate::web::words;

/// Queues on one page.
const PAGE: usize = 100;

/// Columns by which the queues can be sorted.
const SORTS: [(&str, &str); 6] = [
    ("name", "Queue"),
    ("ready", "Ready"),
    ("waiting", "In lanes"),
    ("delayed", "Delayed"),
    ("running", "Running"),
    ("oldest", "Oldest"),
];

/// Those of them that the short table of the overview leaves out.
const LESS: [&str; 2] = ["waiting", "delayed"];

/// A queue, and what is known of it.
pub(super) struct Row<'a> {
    name: &'a str,
    figure: &'a Figure,
    oldest: Option<Duration>,
}

impl Row<'_> {
    fn counts(&self) -> Option<&Counts> {
        match self.figure {
            Figure::Counted(counts) => Some(counts),
            Figure::Fault { .. } => None,
        }
    }

    /// What is the matter: a word, and how bad it is.
    fn state(&self) -> (&'static str, &'static str) {
        let Some(counts) = self.counts() else {
            return ("cannot be counted", "bad");
        };
        let alive = counts.hosts.values().any(|host| host.lease_left_ms > 0);
        let late = self.oldest.is_some_and(|age| age > Duration::from_mins(1));
        match (counts.paused.is_some(), alive, counts.is_empty(), late) {
            (true, ..) => ("paused", "warn"),
            (_, false, false, _) => ("no host", "bad"),
            (_, false, true, _) => ("no host", ""),
            (_, true, _, true) => ("late", "warn"),
            (_, true, true, _) => ("idle", ""),
            (_, true, false, _) => ("running", "good"),
        }
    }

    fn rank(&self) -> u8 {
        match self.state().1 {
            "bad" => 0,
            "warn" => 1,
            "good" => 2,
            _ => 3,
        }
    }

    fn load(&self) -> u64 {
        self.counts().map_or(0, |counts| counts.ready + counts.waiting)
    }
}

fn rows(sample: &Sample) -> Vec<Row<'_>> {
    let queues = sample.figures.queues.iter();
    let rows = queues.map(|(name, figure)| Row {
        name,
        figure,
        oldest: sample.oldest(name),
    });
    rows.collect()
}

/// Queues with the worst first.
pub(super) fn by_trouble(sample: &Sample, most: usize) -> Vec<Row<'_>> {
    let mut rows = rows(sample);
    rows.sort_by_key(|row| (row.rank(), Reverse(row.load())));
    rows.truncate(most);
    rows
}

pub(super) async fn show(State(_room): State<Shared>, view: View) -> Result<Response, Problem> {
    let Some(sample) = view.sample.clone() else {
        return Ok(live(&view, Tab::Queues, "Queues", &html! { h1 { "Queues" } }));
    };
    let from = view.query.place("from")?.unwrap_or(0);
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let text = text::name(view.query.get("text").unwrap_or_default()).to_lowercase();
    let sort = view
        .query
        .get("sort")
        .and_then(|sort| SORTS.iter().find(|(key, _)| *key == sort));
    let sort = sort.map_or("", |(key, _)| *key);
    let mut rows = by_trouble(&sample, usize::MAX);
    let all = rows.len();
    rows.retain(|row| row.name.to_lowercase().contains(&text));
    sort_by(&mut rows, sort);
    let matching = rows.len();
    let page: Vec<_> = rows.into_iter().skip(from).take(PAGE).collect();
    let other = |from: String| {
        let query = [("text", text.as_str()), ("sort", sort), ("from", &from)];
        format!("/queues{}", words::query(&query))
    };
    let content = html! {
        div.head {
            h1 { "Queues" }
            form.filter method="get" role="search" data-keep="" {
                label for="text" { "Name contains" }
                input #text type="search" name="text" value=(text) data-filter="";
                @if !sort.is_empty() { input type="hidden" name="sort" value=(sort); }
                button type="submit" { "Filter" }
            }
        }
        @if matching == 0 && text.is_empty() {
            (empty("No queue yet", &html! { "A queue appears as soon as a worker serves it or a job is pushed to it: " code { "kiln push NAME" } "." }))
        } @else if matching == 0 {
            (empty(&format!("No queue whose name contains “{}”", text::name(&text)), &html! { a href="/queues" { "Show all " (all) } }))
        } @else {
            (table(&page, true))
            (pages("queues", from, PAGE, matching, ("queue", "queues"), other))
        }
        @if !sample.figures.all_queues {
            p.soft { "The store has too many keys to look at all of them: a queue that only other producers push to may be missing. " code { "kiln queues --scan" } " looks at all." }
        }
        p.soft { a href="/batches" { "Look up a batch" } " by its id." }
        @if !sample.figures.paused_jobs.is_empty() {
            h2 { "Paused job names" }
            ul.plain { @for (name, pause) in &sample.figures.paused_jobs { li { strong { (text::name(name)) } " " span.soft { "paused " (words::pause(pause, sample.time)) } } } }
        }
    };
    Ok(live(&view, Tab::Queues, "Queues", &content))
}

fn sort_by(rows: &mut [Row<'_>], by: &str) {
    let counts = |row: &Row<'_>, of: fn(&Counts) -> u64| Reverse(row.counts().map_or(0, of));
    match by {
        "name" => rows.sort_by_key(|row| row.name.to_owned()),
        "ready" => rows.sort_by_key(|row| counts(row, |counts| counts.ready)),
        "waiting" => rows.sort_by_key(|row| counts(row, |counts| counts.waiting)),
        "delayed" => rows.sort_by_key(|row| counts(row, |counts| counts.delayed)),
        "running" => rows.sort_by_key(|row| counts(row, |counts| counts.in_flight)),
        "oldest" => rows.sort_by_key(|row| Reverse(row.oldest)),
        _ => {}
    }
}

/// A table of queues: with every column, each to sort by, or with those that tell most.
pub(super) fn table(rows: &[Row<'_>], sortable: bool) -> Markup {
    if rows.is_empty() {
        return empty(
            "No queue yet",
            &html! { "A queue appears as soon as a worker serves it or a job is pushed to it." },
        );
    }
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table: queues" {
            table.queues {
                thead {
                    tr {
                        @for (key, name) in SORTS.into_iter().filter(|(key, _)| sortable || !LESS.contains(key)) {
                            th scope="col" class=[(key != "name").then_some("number")] {
                                @if sortable { a href={ "/queues?sort=" (key) } { (name) } } @else { (name) }
                            }
                            @if key == "name" { th scope="col" { "State" } }
                        }
                        @if sortable { th.number scope="col" { "Hosts" } }
                    }
                }
                tbody { @for row in rows { (line(row, sortable)) } }
            }
        }
    }
}

fn line(row: &Row<'_>, whole: bool) -> Markup {
    let (word, state) = row.state();
    let number = |of: fn(&Counts) -> u64| {
        let value = row.counts().map_or(0, of);
        html! { td.number class=[(value == 0).then_some("zero")] { (words::count(value)) } }
    };
    html! {
        tr id={ "queue-" (words::part(row.name)) } {
            th scope="row" { a href={ "/queues/" (words::part(row.name)) } { (text::name(row.name)) } }
            td { (badge(word, state)) }
            (number(|counts| counts.ready))
            @if whole {
                (number(|counts| counts.waiting))
                (number(|counts| counts.delayed))
            }
            (number(|counts| counts.in_flight))
            td.number.nowrap { @match row.oldest { Some(age) => { (words::roughly(age)) } None => { span.zero { "–" } } } }
            @if whole { (number(|counts| counts.hosts.values().filter(|host| host.lease_left_ms > 0).count() as u64)) }
        }
    }
}
