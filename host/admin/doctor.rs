//! Checks for what would hinder a worker. Each check makes findings from the caller's machine, settings and plugins.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::config::{Limit, Limits, MAX_SCHEDULES};
use crate::plugins::{Listed, PluginError, name_of};
use crate::queue::{Pausable, Pause, QueueError, QueueName, Search, Store, StoreSettings};

/// Files a worker has open beside those of its handlers' connections: the store, the folder, the log, its threads'.
const OWN_FILES: u64 = 64;

/// What was looked at, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub about: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// What to do about it, where that is known.
    pub advice: Option<&'static str>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth a thought.
    Note,
    /// A worker could not do its work.
    Bites,
}

/// The settings and plugins that a worker would run with.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// The limits in force.
    pub limits: &'a Limits,
    /// Attempts at once.
    pub concurrency: u32,
    /// Its plugins.
    pub plugins: &'a [Listed],
}

impl Check {
    /// A finding without advice.
    #[must_use]
    pub fn new(about: &'static str, level: Level, text: impl Into<String>) -> Self {
        Self {
            about,
            level,
            text: text.into(),
            advice: None,
        }
    }

    fn advise(self, advice: &'static str) -> Self {
        Self {
            advice: Some(advice),
            ..self
        }
    }
}

/// Whether the store can be reached, takes jobs and keeps them.
pub async fn store(settings: &StoreSettings) -> Vec<Check> {
    if settings.url == "memory:" {
        let text = "in this process' memory: its jobs end with it";
        return vec![Check::new("store", Level::Note, text)];
    }
    match ask_store(settings).await {
        Ok(checks) => checks,
        Err(err) => vec![Check::new("store", Level::Bites, err.to_string())],
    }
}

async fn ask_store(settings: &StoreSettings) -> Result<Vec<Check>, QueueError> {
    let store = Store::open(settings).await?;
    let asked = Instant::now();
    let trouble = store.trouble().await?;
    let ms = asked.elapsed().as_secs_f64() * 1000.0;
    let mut checks = vec![match trouble {
        Some(trouble) => Check::new("store", Level::Bites, trouble),
        None => Check::new("store", Level::Ok, format!("answers in {ms:.1} ms")),
    }];
    if let Some(evicts) = store.evicts().await? {
        checks.push(Check::new("store", Level::Bites, evicts));
    }
    checks.extend(paused(&store).await?);
    Ok(checks)
}

/// What operators have paused: its jobs wait however many workers there are.
async fn paused(store: &Store) -> Result<Vec<Check>, QueueError> {
    let mut found = Vec::new();
    for queue in store.queues(Search::Brief).await?.queues {
        // A queue that cannot be counted is told of by whoever counts queues.
        let Ok(counts) = store.counts(&queue).await else {
            continue;
        };
        found.extend(counts.paused.map(|pause| (Pausable::Queue(queue), pause)));
    }
    for (name, pause) in store.paused_jobs().await? {
        found.push((Pausable::Job(name), pause));
    }
    let check = |(what, pause): (Pausable, Pause)| {
        let text = format!("{what} is paused {pause}");
        Check::new("paused", Level::Note, text).advise("kiln resume")
    };
    Ok(found.into_iter().map(check).collect())
}

/// Whether sandboxes come from a pool; `unpooled` says why they do not. In the pool so many bytes of guests' memory stay
/// resident.
#[must_use]
pub fn pool(unpooled: Option<&str>, resident_bytes: u64) -> Check {
    match unpooled {
        None => {
            let resident = Limit::GuestMemory.show(resident_bytes);
            let text = format!(
                "sandboxes come from a pool; between attempts {resident} of their memory stay resident at most"
            );
            Check::new("sandbox", Level::Ok, text)
        }
        Some(why) => Check::new(
            "sandbox",
            Level::Bites,
            format!("no pool, each attempt costs several times as much: address space is short (ulimit -v?): {why}"),
        ),
    }
}

/// Whether compiled plugins are kept in this folder; `uncached` says why they are not.
#[must_use]
pub fn cache(dir: Option<&Path>, uncached: Option<&str>) -> Check {
    match (dir, uncached) {
        (Some(dir), None) => {
            let text = format!("{} is private and can be written to", dir.display());
            Check::new("cache", Level::Ok, text)
        }
        (Some(dir), Some(why)) => {
            let text = format!("{}: {why}; every start compiles every plugin anew", dir.display());
            Check::new("cache", Level::Bites, text)
        }
        (None, _) => Check::new("cache", Level::Note, "none; every start compiles every plugin anew"),
    }
}

/// Whether every plugin of the folder loads, and nobody else may put one there.
#[must_use]
pub fn plugins(folder: &Path, plugins: Result<&[Listed], &PluginError>) -> Vec<Check> {
    let listed = match plugins {
        Ok(listed) => listed,
        Err(err) => return vec![Check::new("plugins", Level::Bites, err.to_string())],
    };
    let loaded = listed.iter().filter(|plugin| plugin.fault.is_none()).count();
    let level = if listed.is_empty() { Level::Note } else { Level::Ok };
    let text = format!("{}: {loaded} of {} load", folder.display(), listed.len());
    let mut checks = vec![Check::new("plugins", level, text)];
    for plugin in listed {
        if let Some(fault) = &plugin.fault {
            let text = format!("{}: {fault}", plugin.name);
            checks.push(Check::new("plugins", Level::Bites, text));
        }
    }
    if std::fs::metadata(folder).is_ok_and(|found| found.mode() & 0o022 != 0) {
        let text = format!(
            "{}: others may write to it, and what lies there is run",
            folder.display()
        );
        checks.push(Check::new("plugins", Level::Bites, text).advise("chmod go-w"));
    }
    checks
}

/// Whether all schedules of these plugins fire, and push to queues that the worker serves. Nothing without schedules.
#[must_use]
pub fn schedules(plugins: &[Listed], queues: &[&QueueName]) -> Vec<Check> {
    let loaded = plugins
        .iter()
        .filter_map(|listed| Some((&*listed.name, listed.plugin.as_deref()?)));
    let all: Vec<_> = loaded
        .flat_map(|(name, plugin)| plugin.schedules().iter().map(move |schedule| (name, schedule)))
        .collect();
    if all.is_empty() {
        return Vec::new();
    }
    let (count, most) = (all.len(), MAX_SCHEDULES);
    let mut checks = vec![if count > most {
        let text = format!("{count} schedules, and no more than {most} fire on one host");
        Check::new("schedules", Level::Bites, text)
    } else {
        Check::new("schedules", Level::Ok, format!("{count} of at most {most}"))
    }];
    let mut elsewhere = BTreeMap::<_, Vec<_>>::new();
    for (plugin, schedule) in all {
        if !queues.iter().any(|served| served.as_str() == schedule.queue()) {
            elsewhere
                .entry(schedule.queue())
                .or_default()
                .push(name_of(plugin, schedule));
        }
    }
    for (queue, names) in elsewhere {
        let more = if names.len() > 1 { " …" } else { "" };
        let count = names.len();
        let text = format!(
            "{count} push to queue {queue}, which this worker does not serve: {}{more}",
            names[0]
        );
        checks.push(Check::new("schedules", Level::Note, text));
    }
    checks
}

/// Whether enough files may be open for all that handlers could need. `allowed`: the limit; none: no limit.
#[must_use]
pub fn files(host: &Host<'_>, allowed: Option<u64>) -> Check {
    let of = |plugin: &Listed| Some(plugin.handler()?.connections());
    let each = host.plugins.iter().filter_map(of).max().unwrap_or(0);
    let attempts = host.concurrency;
    let needed = each.saturating_mul(attempts.into()).saturating_add(OWN_FILES);
    match allowed {
        Some(allowed) if allowed < needed => {
            let text = format!(
                "{allowed} may be open (ulimit -n); {attempts} attempts with {each} connections each could need {needed}"
            );
            Check::new("files", Level::Bites, text)
        }
        Some(allowed) => {
            let text = format!("{allowed} may be open; up to {needed} could be needed");
            Check::new("files", Level::Ok, text)
        }
        None => Check::new("files", Level::Ok, "any number may be open"),
    }
}

/// Whether there is as much memory as handlers may hold, of `available` bytes, and whether it is enough for them.
#[must_use]
pub fn memory(host: &Host<'_>, available: Option<u64>) -> Check {
    let guests = host.limits.get(Limit::GuestMemory);
    let each = host.limits.get(Limit::MaxMemory);
    let show = |value| Limit::GuestMemory.show(value);
    if let Some(memory) = available.filter(|memory| *memory < guests) {
        let text = format!(
            "guests may hold {} together, and there are {}",
            show(guests),
            show(memory)
        );
        return Check::new("memory", Level::Bites, text);
    }
    let handlers = host.plugins.iter().filter_map(Listed::handler);
    let raised = handlers.map(|handler| handler.limits().get(Limit::MaxMemory));
    let largest = raised.chain([each]).max().unwrap_or(each);
    if largest > guests / 2 {
        let text = format!(
            "one attempt may hold {}, but half of what all may hold together ({}) is kept in equal shares",
            show(largest),
            show(guests)
        );
        return Check::new("memory", Level::Bites, text).advise("raise guest_memory");
    }
    let all = each.saturating_mul(host.concurrency.into());
    if all > guests {
        let text = format!(
            "{} attempts with {} each would come to {}; together they may hold {}, and beyond that fail as memory",
            host.concurrency,
            show(each),
            show(all),
            show(guests)
        );
        return Check::new("memory", Level::Note, text);
    }
    let text = format!("guests may hold {} together", show(guests));
    Check::new("memory", Level::Ok, text)
}
