//! Hot reload: keeps the table at what the folder holds.
//!
//! Events only say that it is time to look, and whether anybody still writes; what counts is what the look finds. A slow
//! look now and then makes up for events that never come, as on network file systems.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Look, Plugins, all};

/// How long the folder must be quiet before it is looked at: files that belong together come one after the other. Where
/// there are no events, a file must look the same for as long.
pub(super) const SETTLE: Duration = Duration::from_millis(20);

/// How soon the folder is looked at again while a file that may have changed is being loaded.
pub(super) const BUSY: Duration = Duration::from_millis(100);

/// How long the folder must be quiet after a file in it was written to and not closed: a copy may stall.
const SETTLE_OPEN: Duration = Duration::from_secs(1);

/// How often the folder is looked at without any event.
const RESCAN: Duration = Duration::from_secs(10);

/// How often the folder is looked at where there are no events.
const POLL: Duration = Duration::from_secs(1);

/// How long who asked for a look is kept waiting for compilations.
const ASKED_PATIENCE: Duration = Duration::from_secs(10);

/// When the folder is looked at.
#[derive(Debug, Clone, Default)]
pub struct Watching {
    /// Whether to look by itself: on events, and now and then.
    pub by_itself: bool,
    /// Tells that the folder is to be looked at now.
    pub asked: Arc<Notify>,
    /// Told once what was asked for is done: every file was read again, and loaded or refused, or takes long to compile.
    pub looked: Arc<Notify>,
}

/// What events have named since the last look.
#[derive(Default)]
struct Told {
    /// Plugins whose files they named.
    touched: BTreeSet<String>,
    /// Files that were written to, and not closed since.
    open: BTreeSet<PathBuf>,
}

/// Collects what events name, for the next look.
#[derive(Clone, Default)]
struct Ear {
    told: Arc<Mutex<Told>>,
    changed: Arc<Notify>,
}

/// Keeps `plugins` at what their folder holds, until `stop`.
pub async fn watch(plugins: Arc<Plugins>, watching: Watching, stop: CancellationToken) {
    let ear = Ear::default();
    let mut watcher = watching
        .by_itself
        .then(|| Watch::start(plugins.folder(), &ear))
        .flatten();
    // Look at once: what changed before the watch began made no event.
    let mut next = watching.by_itself.then(Instant::now);
    loop {
        let look = tokio::select! {
            () = stop.cancelled() => return,
            () = watching.asked.notified() => {
                tracing::info!("looking at the plugin folder, as asked");
                Look::Anew
            }
            () = ear.changed.notified() => {
                ear.settled().await;
                Look::Quiet(ear.take())
            }
            () = until(next) => {
                if watching.by_itself && watcher.as_ref().is_none_or(|watch| !watch.is_on(plugins.folder())) {
                    // The folder itself was replaced, or could not be watched.
                    watcher = Watch::start(plugins.folder(), &ear);
                }
                if watcher.is_some() { Look::Quiet(BTreeSet::new()) } else { Look::Blind }
            }
        };
        let again = match plugins.look(&look).await {
            Ok((again, mut loads)) => {
                if matches!(look, Look::Anew) {
                    tokio::spawn(tell_once_done(loads, Arc::clone(&watching.looked)));
                } else {
                    loads.detach_all();
                }
                again
            }
            Err(err) => {
                tracing::error!(%err, "cannot read the plugin folder; the plugins in service stay");
                watching.looked.notify_one();
                None
            }
        };
        let regular = watching
            .by_itself
            .then_some(if watcher.is_some() { RESCAN } else { POLL });
        next = again.into_iter().chain(regular).min().map(|wait| Instant::now() + wait);
    }
}

/// Tells that loads are done. Those that take long go on meanwhile.
async fn tell_once_done(mut loads: JoinSet<()>, looked: Arc<Notify>) {
    let done = timeout(ASKED_PATIENCE, all(&mut loads)).await;
    if done.is_err() {
        loads.detach_all();
    }
    looked.notify_one();
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// A folder being watched.
struct Watch {
    /// Device and inode of the folder. Another folder may have its name by now.
    place: Option<(u64, u64)>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    fn start(folder: &Path, ear: &Ear) -> Option<Self> {
        let hearing = ear.clone();
        let started = notify::recommended_watcher(move |event: notify::Result<Event>| hearing.hear(event))
            .and_then(|mut watcher| watcher.watch(folder, RecursiveMode::NonRecursive).map(|()| watcher));
        match started {
            Ok(watcher) => Some(Self {
                place: place(folder),
                _watcher: watcher,
            }),
            Err(err) => {
                // Every further attempt would warn of the same.
                static SAID: std::sync::Once = std::sync::Once::new();
                SAID.call_once(|| {
                    tracing::warn!(%err, every_ms = u64::try_from(POLL.as_millis()).unwrap_or(u64::MAX), "cannot watch the plugin folder (fs.inotify limits?); looking at it instead");
                });
                None
            }
        }
    }

    fn is_on(&self, folder: &Path) -> bool {
        self.place == place(folder)
    }
}

fn place(folder: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(folder).ok().map(|found| (found.dev(), found.ino()))
}

impl Ear {
    fn hear(&self, event: notify::Result<Event>) {
        let Ok(event) = event else { return };
        let mut told = self.told();
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => told.open.extend(event.paths.iter().cloned()),
            // Looking at the folder makes events of its own.
            EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write) => return,
            _ => told.open.retain(|open| !event.paths.contains(open)),
        }
        let stems = event.paths.iter().filter_map(|path| path.file_stem()?.to_str());
        told.touched.extend(stems.map(str::to_owned));
        drop(told);
        self.changed.notify_one();
    }

    /// Returns once no event has come for a while, or events have kept coming for too long.
    async fn settled(&self) {
        let quiet = async {
            loop {
                let wait = if self.told().open.is_empty() {
                    SETTLE
                } else {
                    SETTLE_OPEN
                };
                if timeout(wait, self.changed.notified()).await.is_err() {
                    return;
                }
            }
        };
        // Either way it is time to look.
        tokio::select! {
            () = quiet => {}
            () = sleep(RESCAN) => {}
        }
    }

    fn take(&self) -> BTreeSet<String> {
        let mut told = self.told();
        told.open.clear();
        std::mem::take(&mut told.touched)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock()
    }
}
