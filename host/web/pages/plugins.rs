//! The plugins of all hosts: which versions serve, how they do, and releasing those that are set aside.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};

use super::layout::{Tab, badge, empty, filter, lasted, pages, when};
use super::{View, live, to};
use crate::text;
use crate::web::guard::{Caller, Role};
use crate::web::live::{Few, Version};
use crate::web::problem::Problem;
use crate::web::room::Shared;
use crate::web::words;

/// Where a plugin is shown.
pub(super) fn path(name: &str) -> String {
    format!("/plugins{}#{}", words::query(&[("text", name)]), words::part(name))
}

/// Hosts that have set a version aside, of which each is told.
const ASIDE: usize = 3;

/// Plugins on one page.
const PAGE: usize = 50;

pub(super) async fn show(State(room): State<Shared>, view: View) -> Result<Response, Problem> {
    let Some(sample) = view.sample.clone() else {
        return Ok(live(&view, Tab::Plugins, "Plugins", &html! { h1 { "Plugins" } }));
    };
    let from = usize::try_from(view.query.place("from")?.unwrap_or(0)).unwrap_or(usize::MAX);
    let text = text::name(view.query.get("text").unwrap_or_default()).to_lowercase();
    let (plugins, is_read) = (&sample.fleet.plugins, sample.fleet.is_read);
    let named = plugins
        .iter()
        .filter(|(name, _)| text::name(name).to_lowercase().contains(&text));
    let mut all: Vec<_> = named.collect();
    all.sort_by_key(|(_, plugin)| !plugin.is_in_trouble());
    let matching = all.len();
    let page = all.iter().skip(from).take(PAGE);
    let index = std::sync::Arc::clone(&room.index);
    let looked = tokio::task::spawn_blocking(move || (index.choices().plugins, index.denials()));
    let (failed, denials) = looked.await.unwrap_or_default();
    let content = html! {
        div.head { h1 { "Plugins" } (filter("Name contains", &text)) }
        p.soft.lead { "As hosts report them every five seconds. Counts are since each version was loaded." }
        @if !is_read { (empty("Hosts are being asked", &html! { "What they report is here in a moment." })) }
        @else if plugins.is_empty() {
            (empty("No host reports a plugin", &html! { "Plugins appear here once a worker serves with them: " code { "kiln worker --plugins FOLDER" } "." }))
        }
        @else if matching == 0 { (empty(&format!("No plugin whose name contains “{text}”"), &html! { a href="/plugins" { "Show all" } })) }
        @for (name, plugin) in page {
            section.card.plugin id=(words::part(name)) aria-labelledby={ "name-" (words::part(name)) } {
                div.head {
                    h2 id={ "name-" (words::part(name)) } { (text::name(name)) }
                    @if let Some(count) = failed.get(&***name) { a href={ "/failed" (words::query(&[("plugin", name)])) } { (words::of(*count, "failed job", "failed jobs")) } }
                }
                @for (fault, hosts) in &plugin.faults {
                    div.notice.bad { strong { "The file does not load on " (words::of(hosts.count, "host", "hosts")) "." } " " (text::line(fault, text::MAX_LINE_BYTES)) }
                }
                @if plugin.versions.is_empty() && plugin.faults.is_empty() { p.soft { "Being compiled: no version of it serves yet." } }
                @if plugin.versions.len() > 1 { p.soft { "Hosts serve with " (plugin.versions.len()) " versions of it." } }
                @let newest = plugin.versions.values().map(|version| version.since_ms).max();
                @for version in plugin.versions.values() { (one(&view, name, version, newest == Some(version.since_ms))) }
                @if let Some(denied) = denials.get(&***name) { (denied_to(denied)) }
            }
        }
        (pages("plugins", from, PAGE, matching, ("plugin", "plugins"), |from| format!("/plugins{}", words::query(&[("text", &text), ("from", &from)]))))
    };
    Ok(live(&view, Tab::Plugins, "Plugins", &content))
}

fn one(view: &View, name: &str, version: &Version, is_newest: bool) -> Markup {
    let (facts, failed) = (&version.facts, version.failed());
    let state = match (version.aside.is_empty(), is_newest) {
        (false, _) => badge("set aside", "bad"),
        (true, true) => badge("serving", "good"),
        (true, false) => badge("older", "warn"),
    };
    html! {
        div.one {
            p.line {
                span.version { (facts.version.as_deref().map_or_else(String::new, |version| format!("{} ", text::name(version)))) span.digest { (text::name(&facts.digest)) } }
                " " (state) " "
                span.soft { "loaded " (when(Some(version.since_ms))) " in " (lasted(version.load_ms)) ", " (words::bytes(facts.bytes)) ", on " (some_of(&version.hosts)) }
            }
            @if version.aside.len() > ASIDE { p.soft { "Set aside on " (words::of(version.aside.len() as u64, "host", "hosts")) ", among them:" } }
            @for (host, why) in version.aside.iter().take(ASIDE) {
                div.notice.bad {
                    p { strong { "Set aside on " (text::name(host)) ": " } (text::line(why, text::MAX_LINE_BYTES)) }
                    p { @match &version.instead { Some(other) => { "Version " (text::name(other)) " serves instead." } None => { "Its jobs wait." } } }
                    @if view.may(Role::Operator) {
                        form method="post" action={ "/plugins/" (words::part(name)) "/release" } { button type="submit" { "Release" } }
                    }
                }
            }
            dl.facts {
                div { dt { "Handles" } dd { (facts.jobs.iter().take(20).map(|job| text::name(job).into_owned()).collect::<Vec<_>>().join(", ")) @if facts.jobs.len() > 20 { " and " (facts.jobs.len() - 20) " more" } } }
                div { dt { "May reach" } dd { @if facts.grants.is_empty() { span.soft { "nothing" } } @else { @for grant in &facts.grants { div { (text::line(grant, text::MAX_LINE_BYTES)) } } } } }
                div { dt { "Most memory" } dd { (headroom(version.peak_memory_bytes, facts.max_memory_bytes, words::bytes)) } }
                div { dt { "Longest attempt" } dd { (headroom(version.longest_ms, facts.timeout_ms, lasted)) } }
                div { dt { "Running" } dd { (words::count(version.in_flight)) } }
                div { dt { "Attempts" } dd { (words::count(version.attempts)) } }
                div { dt { "Failed" } dd { (words::count(failed)) @if version.attempts > 0 { " " span.soft { "(" (words::share(failed, version.attempts)) ")" } } } }
                @if failed > 0 {
                    div { dt { "How" } dd { @for (place, (kind, count)) in version.failures.iter().enumerate() { @if place > 0 { ", " } (words::count(*count)) " " (kind) } } }
                }
                @if let Some(last) = &version.last_error {
                    div.wide { dt { "Last failure" } dd { (when(words::parse_ms(&last.at))) ": " (text::line(&last.error, text::MAX_LINE_BYTES)) } }
                }
            }
        }
    }
}

/// How much an attempt took of what it may take.
fn headroom(most: u64, limit: u64, shown: fn(u64) -> String) -> Markup {
    html! {
        @if most == 0 || limit == 0 { span.soft { "not known yet" } } @else {
            (shown(most)) " of " (shown(limit)) " "
            @if most.saturating_mul(5) > limit.saturating_mul(4) { (badge(&words::share(most, limit), "warn")) }
            @else { span.soft { "(" (words::share(most, limit)) ")" } }
        }
    }
}

/// What the plugin was denied in attempts that failed, with the lines of a manifest that would grant it.
fn denied_to(denied: &BTreeMap<String, u64>) -> Markup {
    html! {
        div.notice.warn {
            p { strong { "Denied" } ", as failed jobs say:" }
            ul.plain {
                @for (message, count) in denied {
                    li {
                        (words::count(*count)) " × " (text::line(message, text::MAX_LINE_BYTES))
                        @if let Some(lines) = granting(message) { pre { (text::block(&lines)) } }
                    }
                }
            }
        }
    }
}

/// The lines of a manifest that a denial says would grant what was denied: `… add [[grants.http]] origin = "…" to a.toml`.
fn granting(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("add [")?;
    let (lines, _) = rest.rsplit_once(" to ")?;
    match lines.split_once("] ") {
        Some((table, keys)) if keys.contains('=') => Some(format!("[{table}]\n{}", keys.replace("\", ", "\"\n"))),
        None if lines.ends_with(']') => Some(format!("[{lines}")),
        _ => None,
    }
}

/// The first of some names, and how many others there are.
pub(super) fn some_of(few: &Few) -> String {
    let names: Vec<_> = few.names.iter().map(|name| text::name(name)).collect();
    match few.count - names.len() as u64 {
        0 => names.join(", "),
        more => format!("{} and {}", names.join(", "), words::of(more, "other", "others")),
    }
}

pub(super) async fn release(
    State(room): State<Shared>,
    Path(plugin): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    room.release(&caller, &plugin).await?;
    Ok(to("/plugins", "released"))
}

#[cfg(test)]
mod tests {
    use super::granting;

    #[test]
    fn a_denial_tells_the_lines_that_would_grant_it() {
        let message = "http request to http://b.example: not granted; add [[grants.http]] origin = \"http://b.example\" to a.toml";
        assert_eq!(
            granting(message).as_deref(),
            Some("[[grants.http]]\norigin = \"http://b.example\"")
        );
        let path = "add [[grants.http]] origin = \"http://b\", path = \"/x\" to a.toml";
        assert_eq!(
            granting(path).as_deref(),
            Some("[[grants.http]]\norigin = \"http://b\"\npath = \"/x\"")
        );
        assert_eq!(
            granting("add [grants.state.orders] to a.toml").as_deref(),
            Some("[grants.state.orders]")
        );
        assert_eq!(granting("it may not; see a.toml"), None);
        assert_eq!(granting("add [[grants.http]] with its origin to a.toml"), None);
        assert_eq!(granting("add [ and nothing"), None);
    }
}
