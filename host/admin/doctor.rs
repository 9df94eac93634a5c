//! Checks for what would hinder a worker. Each check makes findings from the caller's machine, settings and plugins.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::config::{Limit, Limits};
use crate::plugins::{Listed, PluginError};
use crate::queue::{QueueError, Store, StoreSettings};

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
    Ok(checks)
}

/// Whether sandboxes come from a pool; `unpooled` says why they do not.
#[must_use]
pub fn pool(unpooled: Option<&str>) -> Check {
    match unpooled {
        None => Check::new("sandbox", Level::Ok, "sandboxes come from a pool"),
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

/// Whether enough files may be open for all that handlers could need. `allowed`: the limit; none: no limit.
#[must_use]
pub fn files(host: &Host<'_>, allowed: Option<u64>) -> Check {
    let handlers = host.plugins.iter().filter_map(Listed::handler);
    let each = handlers
        .filter(|handler| handler.reaches_network())
        .map(|handler| handler.limits().get(Limit::HttpConnections))
        .max()
        .unwrap_or(0);
    let attempts = host.concurrency;
    let needed = each.saturating_mul(attempts.into()).saturating_add(OWN_FILES);
    match allowed {
        Some(allowed) if allowed < needed => {
            let text = format!(
                "{allowed} may be open (ulimit -n); {attempts} attempts with {each} HTTP connections each could need {needed}"
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
