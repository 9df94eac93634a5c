//! The plugins of all hosts: which versions serve, how they do, and releasing those that are set aside.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};

use super::layout::{Tab, badge, empty, filter, lasted, pages, when};
use super::{View, live, to};
use crate::admin::plugins::Hosts;
use crate::outcome::FailureKind;
use crate::plugins::VersionReport;
use crate::text;
use crate::web::guard::{Caller, Role};
use crate::web::problem::Problem;
use crate::web::room::Shared;
use crate::web::words;

/// A plugin on all hosts.
#[derive(Default)]
struct Plugin<'a> {
    versions: BTreeMap<&'a str, Version<'a>>,
    /// What is wrong with its file, and on which hosts.
    faults: BTreeMap<&'a str, Vec<&'a str>>,
}

/// A version on all hosts that serve with it.
struct Version<'a> {
    report: &'a VersionReport,
    hosts: Vec<&'a str>,
    /// Where it is set aside, and why.
    aside: Vec<(&'a str, &'a str)>,
    attempts: u64,
    in_flight: u64,
    failures: BTreeMap<FailureKind, u64>,
    since_ms: Option<i64>,
    peak_memory_bytes: u64,
    longest_ms: u64,
    /// When an attempt failed last, and how.
    last_error: Option<(&'a str, &'a str)>,
}

fn gathered(hosts: &Hosts) -> BTreeMap<&str, Plugin<'_>> {
    let mut all = BTreeMap::<&str, Plugin<'_>>::new();
    for (host, report) in hosts {
        for found in &report.plugins {
            let plugin = all.entry(&found.name).or_default();
            if let Some(fault) = &found.fault {
                plugin.faults.entry(fault).or_default().push(host);
            }
            let Some(report) = &found.serving else { continue };
            let version = plugin.versions.entry(&report.digest).or_insert_with(|| Version {
                report,
                hosts: Vec::new(),
                aside: Vec::new(),
                attempts: 0,
                in_flight: 0,
                failures: BTreeMap::new(),
                since_ms: None,
                peak_memory_bytes: 0,
                longest_ms: 0,
                last_error: None,
            });
            version.add(host, report);
        }
    }
    all
}

impl<'a> Version<'a> {
    fn add(&mut self, host: &'a str, report: &'a VersionReport) {
        self.hosts.push(host);
        self.attempts += report.attempts;
        self.in_flight += report.in_flight;
        self.peak_memory_bytes = self.peak_memory_bytes.max(report.peak_memory_bytes);
        self.longest_ms = self.longest_ms.max(report.longest_ms);
        for (kind, count) in &report.failures {
            *self.failures.entry(*kind).or_default() += count;
        }
        let since = words::parse_ms(&report.since);
        self.since_ms = self.since_ms.into_iter().chain(since).min();
        if let Some(why) = &report.aside {
            self.aside.push((host, why));
        }
        if let Some(last) = &report.last_error {
            let later = self
                .last_error
                .is_none_or(|(at, _)| words::parse_ms(at) < words::parse_ms(&last.at));
            if later {
                self.last_error = Some((&last.at, &last.error));
            }
        }
    }

    fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

impl Plugin<'_> {
    /// Whether somebody should look at it.
    fn is_in_trouble(&self) -> bool {
        !self.faults.is_empty() || self.versions.values().any(|version| !version.aside.is_empty())
    }
}

/// Where a plugin is shown.
pub(super) fn path(name: &str) -> String {
    format!("/plugins{}#{}", words::query(&[("text", name)]), words::part(name))
}

/// Plugins on one page.
const PAGE: usize = 50;

pub(super) async fn show(State(room): State<Shared>, view: View) -> Result<Response, Problem> {
    let Some(sample) = view.sample.clone() else {
        return Ok(live(&view, Tab::Plugins, "Plugins", &html! { h1 { "Plugins" } }));
    };
    let from = usize::try_from(view.query.place("from")?.unwrap_or(0)).unwrap_or(usize::MAX);
    let text = text::name(view.query.get("text").unwrap_or_default()).to_lowercase();
    let all = gathered(&sample.hosts);
    let is_none = all.is_empty();
    let mut all: Vec<_> = all.into_iter().collect();
    all.retain(|(name, _)| text::name(name).to_lowercase().contains(&text));
    all.sort_by_key(|(_, plugin)| !plugin.is_in_trouble());
    let matching = all.len();
    let page = all.iter().skip(from).take(PAGE);
    let newest = |plugin: &Plugin<'_>| plugin.versions.values().filter_map(|version| version.since_ms).max();
    let index = std::sync::Arc::clone(&room.index);
    let looked = tokio::task::spawn_blocking(move || (index.choices().plugins, index.denials()));
    let (failed, denials) = looked.await.unwrap_or_default();
    let content = html! {
        div.head { h1 { "Plugins" } (filter("Name contains", &text)) }
        p.soft.lead { "As hosts report them every five seconds. Counts are since each version was loaded." }
        @if is_none {
            (empty("No host reports a plugin", &html! { "Plugins appear here once a worker serves with them: " code { "kiln worker --plugins FOLDER" } "." }))
        }
        @else if matching == 0 { (empty(&format!("No plugin whose name contains “{text}”"), &html! { a href="/plugins" { "Show all" } })) }
        @for (name, plugin) in page {
            section.card.plugin id=(words::part(name)) aria-labelledby={ "name-" (words::part(name)) } {
                div.head {
                    h2 id={ "name-" (words::part(name)) } { (text::name(name)) }
                    @if let Some(count) = failed.get(*name) { a href={ "/failed" (words::query(&[("plugin", name)])) } { (words::of(*count, "failed job", "failed jobs")) } }
                }
                @for (fault, hosts) in &plugin.faults {
                    div.notice.bad { strong { "The file does not load on " (words::of(hosts.len() as u64, "host", "hosts")) "." } " " (text::line(fault, text::MAX_LINE_BYTES)) }
                }
                @if plugin.versions.is_empty() && plugin.faults.is_empty() { p.soft { "Being compiled: no version of it serves yet." } }
                @if plugin.versions.len() > 1 { p.soft { "Hosts serve with " (plugin.versions.len()) " versions of it." } }
                @for version in plugin.versions.values() { (one(&view, name, version, newest(plugin))) }
                @if let Some(denied) = denials.get(*name) { (denied_to(denied)) }
            }
        }
        (pages("plugins", from, PAGE, matching, ("plugin", "plugins"), |from| format!("/plugins{}", words::query(&[("text", &text), ("from", &from)]))))
    };
    Ok(live(&view, Tab::Plugins, "Plugins", &content))
}

fn one(view: &View, name: &str, version: &Version<'_>, newest: Option<i64>) -> Markup {
    let (report, failed) = (version.report, version.failed());
    let state = match (version.aside.is_empty(), version.since_ms == newest) {
        (false, _) => badge("set aside", "bad"),
        (true, true) => badge("serving", "good"),
        (true, false) => badge("older", "warn"),
    };
    html! {
        div.one {
            p.line {
                span.version { (report.version.as_deref().map_or_else(String::new, |version| format!("{} ", text::name(version)))) span.digest { (text::name(&report.digest)) } }
                " " (state) " "
                span.soft { "loaded " (when(version.since_ms)) " in " (lasted(report.load_ms)) ", " (words::bytes(report.bytes)) ", on " (hosts(&version.hosts)) }
            }
            @for (host, why) in &version.aside {
                div.notice.bad {
                    p { strong { "Set aside on " (text::name(host)) ": " } (text::line(why, text::MAX_LINE_BYTES)) }
                    p { @match &report.instead { Some(other) => { "Version " (text::name(other)) " serves instead." } None => { "Its jobs wait." } } }
                    @if view.may(Role::Operator) {
                        form method="post" action={ "/plugins/" (words::part(name)) "/release" } { button type="submit" { "Release" } }
                    }
                }
            }
            dl.facts {
                div { dt { "Handles" } dd { (report.jobs.iter().take(20).map(|job| text::name(job).into_owned()).collect::<Vec<_>>().join(", ")) @if report.jobs.len() > 20 { " and " (report.jobs.len() - 20) " more" } } }
                div { dt { "May reach" } dd { @if report.grants.is_empty() { span.soft { "nothing" } } @else { @for grant in &report.grants { div { (text::line(grant, text::MAX_LINE_BYTES)) } } } } }
                div { dt { "Most memory" } dd { (headroom(version.peak_memory_bytes, report.max_memory_bytes, words::bytes)) } }
                div { dt { "Longest attempt" } dd { (headroom(version.longest_ms, report.timeout_ms, lasted)) } }
                div { dt { "Running" } dd { (words::count(version.in_flight)) } }
                div { dt { "Attempts" } dd { (words::count(version.attempts)) } }
                div { dt { "Failed" } dd { (words::count(failed)) @if version.attempts > 0 { " " span.soft { "(" (words::share(failed, version.attempts)) ")" } } } }
                @if failed > 0 {
                    div { dt { "How" } dd { @for (place, (kind, count)) in version.failures.iter().enumerate() { @if place > 0 { ", " } (words::count(*count)) " " (kind) } } }
                }
                @if let Some((at, error)) = version.last_error {
                    div.wide { dt { "Last failure" } dd { (when(words::parse_ms(at))) ": " (text::line(error, text::MAX_LINE_BYTES)) } }
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

fn hosts(names: &[&str]) -> String {
    let some: Vec<_> = names.iter().take(3).map(|name| text::name(name).into_owned()).collect();
    match names.len() - some.len() {
        0 => some.join(", "),
        more => format!("{} and {}", some.join(", "), words::of(more as u64, "other", "others")),
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
