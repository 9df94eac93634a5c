//! What all pages have in common: the frame around them, and small parts of which they are made.

use std::time::Duration;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::View;
use crate::text;
use crate::web::words;

/// The pages that the navigation names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Queues,
    Failed,
    Plugins,
    Hosts,
    Schedules,
    Stats,
    Audit,
    None,
}

const TABS: [(Tab, &str, &str); 8] = [
    (Tab::Overview, "/", "Overview"),
    (Tab::Queues, "/queues", "Queues"),
    (Tab::Failed, "/failed", "Failed"),
    (Tab::Plugins, "/plugins", "Plugins"),
    (Tab::Hosts, "/hosts", "Hosts"),
    (Tab::Schedules, "/schedules", "Schedules"),
    (Tab::Stats, "/stats", "Statistics"),
    (Tab::Audit, "/audit", "Audit"),
];

/// The mark beside the name: a kiln with its fire.
const MARK: &str = r#"<svg class="mark" viewBox="0 0 24 24" aria-hidden="true"><path d="M3 21V11a9 9 0 0 1 18 0v10z"/><path class="fire" d="M12 9.5c.4 2.6 3.4 3.8 3.4 7.1a3.4 3.4 0 0 1-6.8 0c0-1.5.7-2.5 1.4-3.2.1 1 .6 1.5 1 1.7-.4-2 .1-4.1 1-5.6z"/></svg>"#;

/// How a page behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// It is brought up to date while somebody looks.
    Live,
    /// It is as it was when it was asked for.
    Still,
}

/// A whole page.
pub(super) fn page(view: &View, tab: Tab, title: &str, pace: Pace, content: &Markup) -> Markup {
    let live = pace == Pace::Live;
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title, view.script))
            body {
                a.skip href="#main" { "Skip to content" }
                (header(view, tab, live))
                main #main tabindex="-1" data-live=(if live { "on" } else { "off" }) {
                    (notices(view))
                    (content)
                }
                footer {
                    p { "Kiln " (env!("CARGO_PKG_VERSION")) " · " (view.store) " · " a href="/api/v1" { "API" } }
                    p.keys.scripted { "Keys: " kbd { "/" } " filter, " kbd { "g" } " then " kbd { "o" } " " kbd { "q" } " " kbd { "f" } " " kbd { "p" } " " kbd { "h" } " " kbd { "s" } " " kbd { "t" } " " kbd { "a" } " go to a page" }
                }
            }
        }
    }
}

/// A page for somebody who is not known, or for whom nothing could be looked up.
pub(super) fn bare(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title, false))
            body {
                header.top { a.brand href="/" { (PreEscaped(MARK)) "Kiln" } }
                main #main.narrow { (content) }
            }
        }
    }
}

fn head(title: &str, has_script: bool) -> Markup {
    let version = super::assets::VERSION.as_str();
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) " · Kiln" }
            link rel="icon" href="/assets/kiln.svg" type="image/svg+xml";
            link rel="stylesheet" href={ "/assets/kiln.css?" (version) };
            @if has_script {
                script src={ "/assets/idiomorph.min.js?" (version) } defer {}
                script src={ "/assets/kiln.js?" (version) } defer {}
            }
        }
    }
}

fn header(view: &View, tab: Tab, live: bool) -> Markup {
    html! {
        header.top {
            a.brand href="/" { (PreEscaped(MARK)) "Kiln" }
            nav aria-label="Pages" {
                @for (of, href, name) in TABS {
                    a href=(href) aria-current=[(of == tab).then_some("page")] {
                        (name)
                        @if of == Tab::Failed && view.failed > 0 { " " span.pill { (compact(view.failed)) } }
                    }
                }
            }
            div.who {
                @if live {
                    button.quiet.scripted #pace type="button" aria-pressed="false" { span.dot {} span #pace-said { "Live" } }
                }
                @if view.caller.read_only { span.badge { "read-only" } }
                @if !view.caller.name.is_empty() {
                    span.name title={ "Role: " (view.caller.role) } { (text::name(&view.caller.name)) }
                }
                @if view.caller.by_session {
                    form method="post" action="/logout" { button.quiet type="submit" { "Log out" } }
                }
            }
        }
    }
}

/// What every page says first: what was just done, and whether the store answers.
fn notices(view: &View) -> Markup {
    html! {
        @if let Some(done) = view.done { p.notice.good role="status" { (done) } }
        @if let Some(error) = &view.error {
            div.notice.bad role="alert" {
                strong { "The store does not answer. " }
                @match view.age { Some(age) => { "What you see is from " (words::roughly(age)) " ago. " } None => { "Nothing is known yet. " } }
                span.said { (text::line(error, text::MAX_LINE_BYTES)) }
            }
        }
        @if let Some(sample) = &view.sample {
            @for fault in &sample.faults {
                div.notice.warn role="alert" { strong { "Not all is known. " } span.said { (text::line(fault, text::MAX_LINE_BYTES)) } }
            }
        }
    }
}

/// `999`, `1.2k`, `345k`, `12M`.
pub(super) fn compact(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..10_000 => format!("{}.{}k", number / 1_000, number % 1_000 / 100),
        10_000..1_000_000 => format!("{}k", number / 1_000),
        _ => format!("{}.{}M", number / 1_000_000, number % 1_000_000 / 100_000),
    }
}

/// A number that stands out, under its name.
pub(super) fn tile(name: &str, value: &str, note: Option<&str>, href: Option<&str>, state: &str) -> Markup {
    html! {
        div class={ "tile " (state) } {
            dt { @if let Some(href) = href { a href=(href) { (name) } } @else { (name) } }
            dd { span.big { (value) } @if let Some(note) = note { " " span.note { (note) } } }
        }
    }
}

/// A time, relative to now, with the exact one beside it.
pub(super) fn when(at_ms: Option<i64>) -> Markup {
    let Some((at_ms, at)) = at_ms.and_then(|ms| Some((ms, Timestamp::from_millisecond(ms).ok()?))) else {
        return html! { span.soft { "unknown" } };
    };
    html! { time datetime=(at) title=(format!("{at:.0}")) { (words::ago(at_ms, Timestamp::now())) } }
}

/// A word for a state. It says the state itself; the colour only repeats it.
pub(super) fn badge(word: &str, state: &str) -> Markup {
    html! { span class={ "badge " (state) } { (word) } }
}

/// Says that there is nothing to show, and what that means.
pub(super) fn empty(title: &str, more: &Markup) -> Markup {
    html! { div.empty { p.title { (title) } p { (more) } } }
}

/// A plugin with the beginning of its digest.
pub(super) fn version(plugin: &str, digest: &str) -> Markup {
    html! {
        span.version { (text::name(plugin)) @if !digest.is_empty() { span.digest { "@" (text::name(&digest[..digest.floor_char_boundary(7)])) } } }
    }
}

/// Leads to the parts of a list before and after the one that is shown: `page` items from the place `from` on, of `all`. `href` makes
/// the address of the part that begins at a place, a text that is empty for the first.
pub(super) fn pages(
    what: &str,
    from: usize,
    page: usize,
    all: usize,
    (one, more): (&str, &str),
    href: impl Fn(String) -> String,
) -> Markup {
    let at = |place: usize| href(if place == 0 { String::new() } else { place.to_string() });
    html! {
        @if from > 0 || all > from.saturating_add(page) {
            nav.pages aria-label={ "Pages of " (what) } {
                @if from > 0 { a href=(at(from.min(all).saturating_sub(page))) { "← Before" } }
                @if all > from.saturating_add(page) { a href=(at(from + page)) { "After →" } }
                span.soft { (words::of(all as u64, one, more)) }
            }
        }
    }
}

/// A field that a list is filtered by: the words over it, and what stands in it.
pub(super) fn filter(label: &str, text: &str) -> Markup {
    html! {
        form.filter method="get" role="search" data-keep="" {
            label for="text" { (label) }
            input #text type="search" name="text" value=(text) data-filter="";
            button type="submit" { "Filter" }
        }
    }
}

/// How much time passed, or that it did not.
pub(super) fn lasted(ms: u64) -> String {
    words::time(Duration::from_millis(ms))
}
