//! The schedules of the running workers: when each fired last and fires next, and firing one now.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::AdminError;
use super::plugins::{Hosts, hosts};
use crate::config::Schedule;
use crate::plugins::{HostReport, name_of};
use crate::queue::{Push, QueueName, Store};
use crate::schedule::{job_now, next};

/// How many instants to come are told.
pub const NEXT: usize = 5;

/// A schedule that running workers fire.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// What it is called: `plugin/id`.
    pub name: String,
    /// Its plugin.
    pub plugin: String,
    /// Its id there.
    pub id: String,
    /// The name of the jobs it pushes.
    pub job: String,
    /// The queue that they go to.
    pub queue: String,
    /// When it fires, as its manifest has it.
    pub when: String,
    /// The time zone whose clock it goes by.
    pub zone: String,
    /// The payload of its jobs.
    pub payload: Box<RawValue>,
    /// When its last instant passed, by that clock, RFC 3339; none: none has since a worker first heard of it.
    pub last: Option<String>,
    /// When it fires next.
    pub next: Vec<String>,
    /// The workers that fire it.
    pub hosts: Vec<String>,
}

/// A job that was pushed for a schedule.
#[derive(Debug, Clone, Serialize)]
pub struct Pushed {
    /// The schedule.
    pub schedule: String,
    /// The job's id.
    pub id: String,
    /// Its name.
    pub job: String,
    /// Where it went.
    pub queue: String,
}

/// A schedule as some workers have it.
struct Known {
    name: String,
    plugin: String,
    job: String,
    schedule: Schedule,
    hosts: Vec<String>,
    /// Since when the version that brought it is loaded, in milliseconds since the Unix epoch.
    since_ms: i64,
}

/// Every schedule that running workers fire, by name. One that workers know differently, as while a new version is rolled
/// out, is told once for each way.
///
/// # Errors
/// When the store fails.
pub async fn list(store: &Store) -> Result<Vec<Listed>, AdminError> {
    list_of(store, &hosts(store, None).await?).await
}

/// What [`list`] tells, by reports that the caller has.
///
/// # Errors
/// When the store fails.
pub async fn list_of(store: &Store, hosts: &Hosts) -> Result<Vec<Listed>, AdminError> {
    let known = known(hosts);
    let now = store.now().await?;
    let mut by_queue = BTreeMap::<&str, Vec<&Known>>::new();
    for schedule in &known {
        by_queue.entry(schedule.schedule.queue()).or_default().push(schedule);
    }
    let mut listed = Vec::new();
    for (queue, schedules) in by_queue {
        let Ok(queue) = QueueName::new(queue) else { continue };
        let names: Vec<_> = schedules.iter().map(|known| known.name.clone()).collect();
        let last = store.last_fired(&queue, &names).await?;
        let told = schedules.iter().zip(last).map(|(known, last)| known.told(last, now));
        listed.extend(told);
    }
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(listed)
}

/// Pushes the job of a schedule now, beside its instants. The schedule is named as `plugin/id`, or by its id if no other
/// plugin has one of that id.
///
/// # Errors
/// When no running worker has such a schedule, several plugins have, or the store fails.
pub async fn run(store: &Store, name: &str) -> Result<Pushed, AdminError> {
    let mut found = known(&hosts(store, None).await?);
    found.retain(|known| known.name == name || known.schedule.id() == name);
    let Some(latest) = found.iter().max_by_key(|known| known.since_ms) else {
        return Err(AdminError::NoSchedule(name.to_owned()));
    };
    if found.iter().any(|known| known.name != latest.name) {
        let mut names: Vec<_> = found.iter().map(|known| known.name.clone()).collect();
        names.dedup();
        return Err(AdminError::SeveralSchedules(names.join(", ")));
    }
    let Known {
        name, job, schedule, ..
    } = latest;
    let made = job_now(name, job, schedule, store.now().await?);
    let queue = QueueName::new(schedule.queue()).map_err(|_| AdminError::NoSchedule(name.clone()))?;
    let push = Push {
        queue,
        job: made.encode(),
        due_ms: None,
    };
    store.push(&[push]).await?;
    Ok(Pushed {
        schedule: name.clone(),
        id: made.id,
        job: made.name,
        queue: schedule.queue().to_owned(),
    })
}

fn known(hosts: &Hosts) -> Vec<Known> {
    let mut known = BTreeMap::<_, Known>::new();
    for (host, report) in hosts {
        for (text, schedule) in of_host(report) {
            let place = known.entry((schedule.name.clone(), text)).or_insert(schedule);
            place.hosts.push(host.clone());
        }
    }
    known.into_values().collect()
}

/// The schedules in a host's report, each with its text.
fn of_host(report: &HostReport) -> impl Iterator<Item = (String, Known)> {
    report.plugins.iter().flat_map(|plugin| {
        let serving = plugin.serving.iter();
        serving.flat_map(|version| {
            version.facts.schedules.iter().filter_map(|text| {
                // A host with another version of Kiln may have one that this one cannot read.
                let schedule: Schedule = serde_json::from_value(text.clone()).ok()?;
                let only = version.facts.jobs.first().map_or(&*plugin.name, String::as_str);
                let known = Known {
                    name: name_of(&plugin.name, &schedule),
                    plugin: plugin.name.to_string(),
                    job: schedule.job().unwrap_or(only).to_owned(),
                    schedule,
                    hosts: Vec::new(),
                    since_ms: version.since_ms,
                };
                Some((text.to_string(), known))
            })
        })
    })
}

impl Known {
    fn told(&self, last: Option<Timestamp>, now: Timestamp) -> Listed {
        let (schedule, zone) = (&self.schedule, self.schedule.zone());
        let shown = |time: Timestamp| {
            let civil = time.to_zoned(zone.clone());
            civil.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
        };
        let last = last.filter(|last| schedule.has(*last));
        let last = last.and_then(|last| last.checked_add(schedule.shift(&self.name)).ok());
        Listed {
            name: self.name.clone(),
            plugin: self.plugin.clone(),
            id: schedule.id().to_owned(),
            job: self.job.clone(),
            queue: schedule.queue().to_owned(),
            when: schedule.when(),
            zone: zone.iana_name().unwrap_or("UTC").to_owned(),
            payload: schedule.payload().to_owned(),
            last: last.map(shown),
            next: next(&self.name, schedule, now, NEXT).map(shown).collect(),
            hosts: self.hosts.clone(),
        }
    }
}
