//! Notices that a project's source has changed.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::{BUILD, Project, ProjectError};

/// How long it must be quiet: editors write several files, or one in several steps.
const SETTLE: Duration = Duration::from_millis(50);

/// Folders that hold what tools have made or fetched. Some hold tens of thousands of files, and a build changes them.
const MADE: &[&str] = &[BUILD, "target", "node_modules", ".venv", ".git", "__pycache__"];

/// Changes of a project's source, as they come.
#[derive(Debug)]
pub struct Changes {
    events: Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Changes {
    /// Watches a project from now on.
    ///
    /// # Errors
    /// When the system cannot watch it.
    pub fn of(project: &Project) -> Result<Self, ProjectError> {
        let (tell, events) = channel();
        let root = project.dir.clone();
        let hear = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| is_change(&event, &root)) {
                // Nobody listens any more: the program is about to end.
                let _ = tell.send(());
            }
        };
        let watcher = notify::recommended_watcher(hear)
            .and_then(|mut watcher| watch(&mut watcher, project.dir()).map(|()| watcher))
            .map_err(|err| ProjectError::description(project.dir(), &format!("cannot be watched: {err}")))?;
        Ok(Self {
            events,
            _watcher: watcher,
        })
    }

    /// Returns once something has changed and it is quiet again.
    pub fn wait(&self) {
        let mut heard = self.events.recv().is_ok();
        while heard {
            heard = self.events.recv_timeout(SETTLE).is_ok();
        }
    }
}

/// The folder itself, and each folder in it that an author writes in.
fn watch(watcher: &mut RecommendedWatcher, dir: &Path) -> notify::Result<()> {
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    for entry in std::fs::read_dir(dir)?.flatten() {
        let path = entry.path();
        if path.is_dir() && !is_made(&path, dir) {
            watcher.watch(&path, RecursiveMode::Recursive)?;
        }
    }
    Ok(())
}

fn is_change(event: &Event, root: &Path) -> bool {
    let reads = matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
    !reads && event.paths.iter().any(|path: &PathBuf| !is_made(path, root))
}

fn is_made(path: &Path, root: &Path) -> bool {
    let inner = path.strip_prefix(root).unwrap_or(path);
    inner.iter().any(|part| MADE.iter().any(|made| part == *made))
}
