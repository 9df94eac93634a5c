//! Job name → handler, swapped atomically.
//!
//! A plugin is `NAME.wasm` in the plugin folder, with `NAME.toml` beside it where the operator has something to say.
//! Whoever resolves a name holds that version until the attempt ends, whatever happens to the folder meanwhile. A file
//! that does not load changes nothing: the version in service stays.

mod folder;
mod watch;

use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::RetryPolicy;
use crate::sandbox::{Handler, LoadError, Sandbox};
use folder::{Fingerprint, Scan, Source};

pub use folder::read_plugin;
pub use watch::watch;

/// A plugin in service.
#[derive(Debug)]
pub struct Plugin {
    /// What runs.
    pub handler: Handler,
    /// When its failed attempts are made again.
    pub retry: RetryPolicy,
    jobs: Vec<String>,
}

/// What a job name stands for at this moment.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// It has a handler.
    Plugin(Arc<Plugin>),
    /// A plugin claims it, but none of its versions has loaded. Says why.
    Unloadable(Arc<str>),
    /// Nobody claims it.
    Unknown,
}

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// There is no such folder.
    #[error("no plugin folder at {}; create it, or name another with --plugins", .0.display())]
    Folder(PathBuf),
    /// The folder or a file in it cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A link leads out of the folder.
    #[error("{}: a link out of the plugin folder; put the file itself there", .0.display())]
    Outside(PathBuf),
    /// The manifest is wrong.
    #[error("{}: {message}", path.display())]
    Manifest {
        /// Which.
        path: PathBuf,
        /// Where, what, and what was expected.
        message: String,
    },
    /// The component is wrong.
    #[error("{}: {source}", path.display())]
    Load {
        /// Which.
        path: PathBuf,
        /// Why.
        source: LoadError,
    },
}

/// The plugins of one folder.
pub struct Plugins {
    sandbox: Arc<Sandbox>,
    folder: PathBuf,
    table: ArcSwap<HashMap<String, Resolved>>,
    /// What is known of the folder. Locked while the folder is compared with it.
    seen: tokio::sync::Mutex<Seen>,
}

/// What was found in the folder.
#[derive(Debug, Default)]
struct Seen {
    /// What each file came to, by stem.
    entries: BTreeMap<String, Entry>,
    /// Files of native code, of which a warning was logged.
    precompiled: BTreeSet<PathBuf>,
}

/// A plugin of the folder, and what became of it.
#[derive(Debug)]
pub struct Listed {
    /// Its file's stem.
    pub name: String,
    /// What is in service; none: no version has loaded.
    pub plugin: Option<Arc<Plugin>>,
    /// Why the file as it is does not load; none: it does.
    pub fault: Option<Arc<str>>,
}

impl Listed {
    /// The handler in service.
    #[must_use]
    pub fn handler(&self) -> Option<&Handler> {
        self.plugin.as_deref().map(|plugin| &plugin.handler)
    }
}

/// What one file came to.
#[derive(Debug)]
struct Entry {
    seen: Fingerprint,
    /// The last version that loaded.
    good: Option<Arc<Plugin>>,
    /// What is wrong with the file as it is, and the names it claims.
    fault: Option<(Arc<str>, Vec<String>)>,
}

impl fmt::Debug for Plugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugins")
            .field("folder", &self.folder)
            .field("jobs", &self.jobs())
            .finish_non_exhaustive()
    }
}

impl Plugins {
    /// Loads every plugin in `folder`. Those that do not load are logged, and their names resolve as unloadable.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub async fn open(sandbox: Arc<Sandbox>, folder: &Path) -> Result<Arc<Self>, PluginError> {
        let plugins = Arc::new(Self {
            sandbox,
            folder: folder.to_owned(),
            table: ArcSwap::default(),
            seen: tokio::sync::Mutex::default(),
        });
        if !folder.is_dir() {
            return Err(PluginError::Folder(folder.to_owned()));
        }
        plugins.refresh().await?;
        Ok(plugins)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What `name` stands for now.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Resolved {
        self.table.load().get(name).cloned().unwrap_or(Resolved::Unknown)
    }

    /// The job names that have a handler.
    #[must_use]
    pub fn jobs(&self) -> Vec<String> {
        let table = self.table.load();
        let mut jobs: Vec<_> = table
            .iter()
            .filter(|(_, to)| matches!(to, Resolved::Plugin(_)))
            .map(|(name, _)| name.clone())
            .collect();
        jobs.sort();
        jobs
    }

    /// Every plugin of the folder, by name.
    pub async fn list(&self) -> Vec<Listed> {
        let seen = self.seen.lock().await;
        let listed = seen.entries.iter().map(|(stem, entry)| Listed {
            name: stem.clone(),
            plugin: entry.good.clone(),
            fault: entry.fault.as_ref().map(|(fault, _)| Arc::clone(fault)),
        });
        listed.collect()
    }

    /// Brings the table up to what the folder holds. Files that did not change are not read again.
    ///
    /// # Errors
    /// When the folder cannot be read; the table then stays as it is.
    pub async fn refresh(&self) -> Result<(), PluginError> {
        let mut seen = self.seen.lock().await;
        let Scan { sources, precompiled } = folder::scan(&self.folder)?;
        for file in precompiled.difference(&seen.precompiled) {
            tracing::warn!(file = %file.display(), "native code is not loaded; put the .wasm file it was made from here");
        }
        seen.precompiled = precompiled;
        let entries = &mut seen.entries;
        let mut changed = false;
        entries.retain(|stem, _| {
            let stays = sources.contains_key(stem);
            if !stays {
                changed = true;
                tracing::info!(plugin = %stem, "plugin removed");
            }
            stays
        });
        for (stem, source) in sources {
            if entries.get(&stem).is_some_and(|entry| entry.seen == source.fingerprint) {
                continue;
            }
            let good = entries.remove(&stem).and_then(|entry| entry.good);
            entries.insert(stem, self.load(source, good).await);
            changed = true;
        }
        if changed {
            let table = table(entries, &self.table.load());
            self.table.store(Arc::new(table));
        }
        Ok(())
    }

    /// Loads one file off the threads that serve the queue, or keeps its last good version.
    async fn load(&self, source: Source, good: Option<Arc<Plugin>>) -> Entry {
        let seen = source.fingerprint.clone();
        let stem = source.stem.clone();
        let sandbox = Arc::clone(&self.sandbox);
        let started = std::time::Instant::now();
        let loaded = tokio::task::spawn_blocking(move || source.load(&sandbox)).await;
        let fault = match loaded {
            Ok(Ok(plugin)) => {
                let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                let jobs = plugin.jobs.join(",");
                let digest = plugin.handler.short_digest();
                tracing::info!(plugin = %stem, %jobs, %digest, ms, replaced = good.is_some(), "plugin loaded");
                return Entry {
                    seen,
                    good: Some(Arc::new(plugin)),
                    fault: None,
                };
            }
            Ok(Err((err, jobs))) => (err.to_string(), jobs),
            Err(panic) => (format!("the compiler failed: {panic}"), vec![stem.clone()]),
        };
        let kept = good.is_some();
        tracing::error!(plugin = %stem, in_service = kept, "plugin does not load: {}", fault.0);
        Entry {
            seen,
            good,
            fault: Some((fault.0.into(), fault.1)),
        }
    }
}

/// The table for these entries. Where several claim a name, the one that has it keeps it; else the first by file name
/// gets it.
fn table(entries: &BTreeMap<String, Entry>, old: &HashMap<String, Resolved>) -> HashMap<String, Resolved> {
    let mut claims = Vec::new();
    for (stem, entry) in entries {
        match (&entry.good, &entry.fault) {
            (Some(plugin), _) => {
                let resolved = |job: &String| (job.clone(), stem, Resolved::Plugin(Arc::clone(plugin)));
                claims.extend(plugin.jobs.iter().map(resolved));
            }
            (None, Some((fault, jobs))) => {
                let resolved = |job: &String| (job.clone(), stem, Resolved::Unloadable(Arc::clone(fault)));
                claims.extend(jobs.iter().map(resolved));
            }
            (None, None) => {}
        }
    }
    let has_it = |job: &String, stem: &String| matches!(old.get(job), Some(Resolved::Plugin(plugin)) if plugin.handler.name() == stem);
    claims.sort_by_key(|(job, stem, resolved)| (!has_it(job, stem), matches!(resolved, Resolved::Unloadable(_))));
    let mut table = HashMap::new();
    for (job, stem, resolved) in claims {
        match table.entry(job) {
            Place::Vacant(place) => _ = place.insert(resolved),
            Place::Occupied(taken) => {
                tracing::error!(plugin = %stem, job = taken.key(), "another plugin already handles this job; this one does not");
            }
        }
    }
    table
}
