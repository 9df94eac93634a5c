//! Job name → handler, swapped atomically.
//!
//! A plugin is `NAME.wasm` in the plugin folder, with `NAME.toml` beside it where the operator has settings for it.
//! Folders within the plugin folder are ignored. A resolved name keeps its version until the attempt ends, whatever
//! happens to the folder meanwhile. A file that does not load changes nothing: the version in service stays.
//!
//! What counts is the folder's content: events only say when to look, and a file whose bytes are those in service is
//! the version in service, however it came there.

mod entry;
mod error;
mod files;
mod folder;
mod kept;
mod load;
mod look;
mod plugin;
mod quarantine;
mod report;
mod scheduled;
mod statistics;
mod stats;
mod table;
mod turns;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::sync::watch::{Receiver, Sender};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::config::PluginSettings;
use crate::events::{Event, Events};
use crate::sandbox::{Handler, Sandbox};
use crate::text;
use entry::Entry;
use folder::{Loaded, Source};
use load::Load;
pub(crate) use look::Look;
use look::Looking;
use table::{Losers, Table, table};
use turns::{Turns, longer};

pub use error::PluginError;
pub use files::{read_manifest, read_plugin};
pub use kept::{Catalogue, KeptReport, KnownVersions, ReportTexts};
pub use plugin::Plugin;
pub use report::{HostReport, MAX_RUNNING_TOLD, PluginReport, RunningJob, VersionFacts, VersionReport};
pub use scheduled::{Scheduled, name_of};
use statistics::Statistics;
pub use stats::LastError;
pub use watch::{Watching, watch};

/// What a job name stands for at this moment.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// It has a handler.
    Plugin(Arc<Plugin>),
    /// A plugin claims it, but none of its versions has loaded. Says why.
    Unloadable(Arc<str>),
    /// Its plugin cannot serve now, but is expected to later.
    NotNow {
        /// The plugin: its file's stem.
        plugin: Arc<str>,
        /// Why it cannot.
        why: Arc<str>,
    },
    /// The version in service does not handle the name, but another version does, and may serve again. Says why.
    NotThis(Arc<str>),
    /// Nobody claims it.
    Unknown,
}

/// What serves the jobs that wait for a plugin.
#[derive(Debug)]
pub enum InService {
    /// This version of it.
    Plugin(Arc<Plugin>),
    /// No version just now: it is being loaded, or set aside.
    NotNow,
    /// There is no such plugin here, or it does not load. Each job's name decides what becomes of the job.
    Nothing,
}

/// The plugins of one folder.
pub struct Plugins {
    sandbox: Arc<Sandbox>,
    folder: PathBuf,
    settings: PluginSettings,
    table: ArcSwap<Table>,
    /// Every version that serves or may have to serve again, by its number.
    versions: ArcSwap<HashMap<u64, Arc<Plugin>>>,
    events: Events,
    /// Told whenever a plugin may have begun to serve.
    changed: Sender<()>,
    /// Plugins and the job names that they claim in vain, as last logged.
    losers: Mutex<Losers>,
    /// What each file came to, by stem. Locked for moments only.
    entries: Mutex<BTreeMap<String, Entry>>,
    /// Whether entries are published yet. Before all files were looked at, chance would decide which plugin gets a
    /// name.
    open: AtomicBool,
    /// The permit for a plugin's first turn at compiling, given in the order of asking. A plugin that compiles within
    /// its first turn waits for at most one first turn of each plugin before it.
    first_turn: Semaphore,
    /// The turns of plugins that take longer.
    turns: Turns,
    /// Held while the folder is compared with the entries.
    looking: tokio::sync::Mutex<Looking>,
}

/// A plugin of the folder, and what became of it.
#[derive(Debug)]
pub struct Listed {
    /// Its file's stem.
    pub name: String,
    /// The last version that loaded; none: none has.
    pub plugin: Option<Arc<Plugin>>,
    /// Why the file as it is does not load; none: it does.
    pub fault: Option<Arc<str>>,
    /// How many contents of it did not load so far.
    pub faults: u64,
}

impl Listed {
    /// The handler of the last version that loaded.
    #[must_use]
    pub fn handler(&self) -> Option<&Handler> {
        self.plugin.as_deref().map(|plugin| &plugin.handler)
    }
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
    /// Loads every plugin in `folder`. Names of plugins that do not load resolve as unloadable. Tells `events` what
    /// happens to plugins, and counts the attempts that are told there.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub async fn open(
        sandbox: Arc<Sandbox>,
        folder: &Path,
        settings: PluginSettings,
        events: Events,
    ) -> Result<Arc<Self>, PluginError> {
        let plugins = Arc::new(Self {
            sandbox,
            folder: folder.to_owned(),
            settings,
            table: ArcSwap::default(),
            versions: ArcSwap::default(),
            events,
            changed: Sender::new(()),
            losers: Mutex::default(),
            entries: Mutex::default(),
            open: AtomicBool::new(false),
            first_turn: Semaphore::new(1),
            turns: Turns::default(),
            looking: tokio::sync::Mutex::default(),
        });
        if !folder.is_dir() {
            return Err(PluginError::Folder(folder.to_owned()));
        }
        plugins.events.subscribe(&Arc::new(Statistics::of(&plugins)));
        let (_, mut loads) = plugins.look(&Look::Quiet(BTreeSet::new())).await?;
        if timeout(plugins.settings.patience, all(&mut loads)).await.is_err() {
            tracing::warn!(
                plugins = loads.len(),
                "plugins are still being compiled; their jobs wait for them"
            );
            loads.detach_all();
        }
        plugins.open.store(true, Ordering::Release);
        plugins.publish();
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
        match self.table.load().get(name) {
            Some(Resolved::Plugin(plugin)) => plugin.serving(name),
            Some(other) => other.clone(),
            None => Resolved::Unknown,
        }
    }

    /// What serves the jobs that wait for the plugin of this file's stem, as names resolve now.
    #[must_use]
    pub fn in_service(&self, stem: &str) -> InService {
        let table = self.table.load();
        let its = |to: &Resolved| match to {
            Resolved::Plugin(plugin) => (plugin.handler.name() == stem).then(|| plugin.in_service()),
            Resolved::NotNow { plugin, .. } => (**plugin == *stem).then_some(InService::NotNow),
            Resolved::NotThis(_) | Resolved::Unloadable(_) | Resolved::Unknown => None,
        };
        table.values().find_map(its).unwrap_or(InService::Nothing)
    }

    /// Told whenever a plugin may have begun to serve.
    #[must_use]
    pub fn changes(&self) -> Receiver<()> {
        self.changed.subscribe()
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
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let entries = self.entries();
        let listed = entries.iter().map(|(stem, entry)| Listed {
            name: stem.clone(),
            plugin: entry.good.clone(),
            fault: entry.fault.as_ref().map(|fault| Arc::clone(&fault.why)),
            faults: entry.faults,
        });
        listed.collect()
    }

    /// The events of these plugins, which their attempts are to be told to as well.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Puts a plugin that was set aside back into service. False: it was not set aside.
    pub fn release(&self, name: &str) -> bool {
        let good = self.entries().get(name).and_then(|entry| entry.good.clone());
        let released = good.is_some_and(|plugin| plugin.release());
        if released {
            self.changed.send_replace(());
            self.events.tell(Event::PluginReleased { name });
        }
        released
    }

    /// How many plugins have no version yet because their first is still being loaded.
    #[must_use]
    pub fn loading_first(&self) -> usize {
        let entries = self.entries();
        let loading = entries.values().filter(|entry| entry.loading && entry.good.is_none());
        loading.count()
    }

    /// How many turns the thread has made that interrupts guests.
    #[must_use]
    pub fn epoch_turns(&self) -> u64 {
        self.sandbox.epoch_turns()
    }

    /// The threads on which attempts run.
    #[must_use]
    pub fn guests(&self) -> &Handle {
        self.sandbox.guests()
    }

    /// Brings the table up to what the folder holds, whoever may still be writing to it.
    ///
    /// # Errors
    /// When the folder cannot be read; the table then stays as it is.
    pub async fn refresh(self: &Arc<Self>) -> Result<(), PluginError> {
        let (_, mut loads) = self.look(&Look::Quiet(BTreeSet::new())).await?;
        all(&mut loads).await;
        Ok(())
    }

    /// Compares the folder with the entries, and begins to load what changed. Returns when to look again, if that is
    /// known, and the loads under way.
    pub(crate) async fn look(self: &Arc<Self>, look: &Look) -> Result<(Option<Duration>, JoinSet<()>), PluginError> {
        let mut looking = self.looking.lock().await;
        let folder = self.folder.clone();
        let scan = spawn_blocking(move || folder::scan(&folder)).await;
        let scan = scan.unwrap_or_else(|panic| Err(PluginError::Scan(panic.to_string())))?;
        looking.warn(&scan);
        let mut again = self.let_go(&scan.sources);
        let unsettled = std::mem::take(&mut looking.unsettled);
        let mut loads = JoinSet::new();
        let mut sources: Vec<_> = scan.sources.into_iter().collect();
        // Small files first: their first turns come in this order, and most likely end sooner.
        sources.sort_by_key(|(_, source)| source.bytes());
        for (stem, source) in sources {
            let old = self.entries().get(&stem).cloned();
            let same = old.as_ref().is_some_and(|entry| entry.is_of(&source.fingerprint));
            match look {
                _ if old.as_ref().is_some_and(|entry| entry.loading) => again = Some(sooner(again, watch::BUSY)),
                Look::Quiet(touched) if same && !touched.contains(&stem) => {}
                Look::Blind if same => {}
                Look::Blind if unsettled.get(&stem) != Some(&source.fingerprint) => {
                    looking.unsettled.insert(stem, source.fingerprint);
                    again = Some(sooner(again, watch::SETTLE));
                }
                Look::Quiet(_) | Look::Blind => self.begin(source, old, &mut loads),
                Look::Anew => self.begin(source, old.map(Entry::unread), &mut loads),
            }
        }
        Ok((again, loads))
    }

    /// Begins to load one file, off the threads that serve the queue. Until it has loaded, its last good version
    /// serves; if there is none, its jobs wait.
    fn begin(self: &Arc<Self>, source: Source, old: Option<Entry>, loads: &mut JoinSet<()>) {
        let stem = source.stem.clone();
        let mut entry = old.unwrap_or_else(|| Entry::new(source.claims()));
        entry.begin(source.fingerprint.clone());
        let (good, content) = (entry.good.clone(), entry.content.clone());
        self.entries().insert(stem.clone(), entry);
        if good.is_none() {
            self.publish();
        }
        let plugins = Arc::clone(self);
        loads.spawn(async move {
            let load = Load {
                sandbox: Arc::clone(&plugins.sandbox),
                source: Arc::new(source),
                good,
                content,
            };
            let loaded = plugins.in_turns(&load).await;
            let loaded = loaded.map_err(|panic| format!("the compiler failed: {panic}"));
            let keep_previous = plugins.settings.quarantine.is_some();
            // The file may have been deleted meanwhile.
            let news = (plugins.entries().get_mut(&stem)).and_then(|entry| entry.end(&stem, loaded, keep_previous));
            plugins.publish();
            if let Some(news) = news {
                news.tell(&stem, &plugins.events);
            }
        });
    }

    /// Loads a file in its first turn at compiling, or in later turns, each longer than the one before.
    async fn in_turns(&self, load: &Load) -> Result<Loaded, JoinError> {
        let mut length = self.settings.first_turn;
        let mut loaded = {
            let _turn = self.first_turn.acquire().await;
            load.until(sleep(length)).await
        };
        length *= 2;
        while loaded.as_ref().is_ok_and(Loaded::is_stopped) {
            let turn = self.turns.take(length, load.source.bytes()).await;
            loaded = load.until(turn.over()).await;
            length = longer(length, turn.lasted());
        }
        loaded
    }

    /// Drops plugins whose files have been gone for a while: what is deleted is often about to be created anew. Returns
    /// the time that the next one has left.
    fn let_go(&self, sources: &BTreeMap<String, Source>) -> Option<Duration> {
        let hold = self.settings.hold_removed;
        let (mut left, mut removed) = (None, Vec::new());
        let mut entries = self.entries();
        entries.retain(|stem, entry| {
            if sources.contains_key(stem) {
                entry.gone = None;
                return true;
            }
            let gone = *entry.gone.get_or_insert_with(|| {
                tracing::info!(
                    plugin = stem,
                    hold_ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX),
                    "plugin file gone; it serves on for a while"
                );
                Instant::now()
            });
            let rest = hold.saturating_sub(gone.elapsed());
            if rest.is_zero() {
                removed.push(stem.clone());
                return false;
            }
            left = Some(left.map_or(rest, |least: Duration| least.min(rest)));
            true
        });
        drop(entries);
        if !removed.is_empty() {
            self.publish();
        }
        for name in &removed {
            self.events.tell(Event::PluginRemoved { name });
        }
        left
    }

    /// Makes a new table of the entries, by which names resolve from then on.
    fn publish(&self) {
        if !self.open.load(Ordering::Acquire) {
            return;
        }
        // Held until the table is in place: if two publish at once, the older table must not replace the newer one.
        let entries = self.entries();
        let (table, losers) = table(&entries, &self.table.load());
        // Stored before the table, so that every attempt of a version is counted.
        self.versions.store(Arc::new(versions(&entries)));
        self.table.store(Arc::new(table));
        drop(entries);
        self.changed.send_replace(());
        let mut known = self.losers.lock();
        for (plugin, job) in losers.difference(&known) {
            tracing::error!(
                plugin,
                job = &*text::name(job),
                "another plugin already handles this job; this one does not"
            );
        }
        *known = losers;
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock()
    }
}

fn versions(entries: &BTreeMap<String, Entry>) -> HashMap<u64, Arc<Plugin>> {
    let serving = entries.values().filter_map(|entry| entry.good.clone());
    let all = serving.flat_map(|plugin| [plugin.previous(), Some(plugin)]).flatten();
    all.map(|plugin| (plugin.id().number, plugin)).collect()
}

fn sooner(time: Option<Duration>, other: Duration) -> Duration {
    time.map_or(other, |time| time.min(other))
}

async fn all(loads: &mut JoinSet<()>) {
    while loads.join_next().await.is_some() {}
}
