//! What an operator should look at, the worst first, each with the page that says more.

use std::time::Duration;

use jiff::Timestamp;

use crate::admin::index::Group;
use crate::queue::Counts;
use crate::text;
use crate::web::live::{Plugin, Sample, Version};
use crate::web::words;

/// A job that has been due for longer needs attention.
const LATE: Duration = Duration::from_mins(1);

/// A version needs attention if more than one attempt in so many failed, of at least [`LEAST_ATTEMPTS`].
const FAILING: u64 = 5;
const LEAST_ATTEMPTS: u64 = 20;

/// A cause needs attention if so many jobs failed for it in the last hour.
const LEAST_FAILED: u64 = 20;

/// Most that is shown of one sort; the pages show all.
const MAX_OF_A_SORT: usize = 5;

/// Something that needs attention.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(in crate::web) struct Concern {
    /// `bad`: jobs do not run, or fail; `warn`: somebody should know.
    pub(in crate::web) level: &'static str,
    /// What it is about, in a word or two.
    pub(in crate::web) subject: String,
    /// What is the matter.
    pub(in crate::web) text: String,
    /// The page that says more.
    pub(in crate::web) href: String,
}

fn concern(level: &'static str, subject: &str, text: String, href: String) -> Concern {
    Concern {
        level,
        subject: text::name(subject).into_owned(),
        text,
        href,
    }
}

/// Everything that needs attention.
pub(in crate::web) fn concerns(sample: &Sample, groups: &[Group]) -> Vec<Concern> {
    let mut found = Vec::new();
    if let Some(trouble) = &sample.figures.trouble {
        let text = format!("It takes no jobs: {}", text::line(trouble, text::MAX_LINE_BYTES));
        found.push(concern("bad", "store", text, "/".to_owned()));
    }
    found.extend(
        sample
            .queues()
            .filter_map(|(name, counts)| of_queue(sample, name, counts))
            .take(4 * MAX_OF_A_SORT),
    );
    for (name, figure) in &sample.figures.queues {
        if let crate::admin::queues::Figure::Fault { error } = figure {
            let text = format!("It cannot be counted: {}", text::line(error, text::MAX_LINE_BYTES));
            found.push(concern("bad", name, text, "/queues".to_owned()));
        }
    }
    of_plugins(sample, &mut found);
    for (name, pause) in sample.figures.paused_jobs.iter().take(MAX_OF_A_SORT) {
        found.push(concern(
            "warn",
            name,
            format!("Jobs of this name were paused {}", words::pause(pause, sample.time)),
            "/queues".to_owned(),
        ));
    }
    let most = groups.iter().max_by_key(|group| group.recent());
    if let Some(group) = most.filter(|group| group.recent() >= LEAST_FAILED) {
        let text = format!(
            "{} failed in the last hour for one cause: {}",
            words::of(group.recent(), "job", "jobs"),
            group.newest.message
        );
        let href = format!("/failed{}", words::query(&[("cause", &group.id)]));
        found.push(concern("warn", &group.cause.plugin, text, href));
    }
    found.sort_by_key(|concern| concern.level != "bad");
    found
}

fn of_queue(sample: &Sample, name: &str, counts: &Counts) -> Option<Concern> {
    let href = format!("/queues/{}", words::part(name));
    let backlog = counts.ready + counts.waiting;
    let alive = counts.hosts.values().any(|host| host.lease_left_ms > 0);
    if let Some(pause) = &counts.paused {
        let text = format!(
            "Paused {}. {} there",
            words::pause(pause, sample.time),
            words::of(backlog + counts.delayed, "job waits", "jobs wait")
        );
        return Some(concern("warn", name, text, href));
    }
    if backlog + counts.delayed > 0 && !alive {
        let waits = words::of(backlog + counts.delayed, "job waits", "jobs wait");
        let text = format!("{waits}, and no host serves this queue");
        return Some(concern("bad", name, text, href));
    }
    let dead: u64 = counts
        .hosts
        .values()
        .filter(|host| host.lease_left_ms <= 0)
        .map(|host| host.in_flight)
        .sum();
    if dead > 0 {
        let text = format!(
            "{} a host that is gone held will be taken over within seconds",
            words::of(dead, "job that", "jobs that")
        );
        return Some(concern("warn", name, text, href));
    }
    let oldest = sample.oldest(name).filter(|age| *age > LATE)?;
    let text = format!(
        "The next job has been due for {}; {} ready",
        words::time(oldest),
        words::of(counts.ready, "is", "are")
    );
    Some(concern("warn", name, text, href))
}

fn of_plugins(sample: &Sample, found: &mut Vec<Concern>) {
    let concerns = sample.fleet.plugins.iter().filter_map(|(name, plugin)| {
        let (level, text) = of_plugin(plugin, sample.time)?;
        Some(concern(level, name, text, super::plugins::path(name)))
    });
    found.extend(concerns.take(4 * MAX_OF_A_SORT));
}

/// The worst that is the matter with a plugin.
fn of_plugin(plugin: &Plugin, now: Timestamp) -> Option<(&'static str, String)> {
    if let Some((fault, hosts)) = plugin.faults.first_key_value() {
        let serving = if plugin.versions.is_empty() {
            "its jobs fail or wait"
        } else {
            "the version before serves on"
        };
        let (on, fault) = (super::plugins::some_of(hosts), text::line(fault, text::MAX_LINE_BYTES));
        return Some(("bad", format!("The file on {on} does not load, {serving}: {fault}")));
    }
    plugin
        .versions
        .iter()
        .find_map(|(digest, version)| of_version(digest, version, now))
}

fn of_version(digest: &str, version: &Version, now: Timestamp) -> Option<(&'static str, String)> {
    let digest = &digest[..digest.floor_char_boundary(7)];
    if let Some((_, why)) = version.aside.first() {
        let instead = match &version.instead {
            Some(other) => format!("{} serves instead", &other[..other.floor_char_boundary(7)]),
            None => "its jobs wait".to_owned(),
        };
        let why = text::line(why, text::MAX_LINE_BYTES);
        return Some(("bad", format!("Version {digest} is set aside, {instead}: {why}")));
    }
    let failed = version.failed();
    if version.attempts < LEAST_ATTEMPTS || failed * FAILING <= version.attempts {
        return None;
    }
    let (since, share) = (
        words::ago(version.since_ms, now),
        words::share(failed, version.attempts),
    );
    let level = if failed * 2 > version.attempts { "bad" } else { "warn" };
    Some((
        level,
        format!("{share} of the attempts with version {digest} fail, loaded {since}"),
    ))
}
