//! Notices that a project's source has changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::{BUILD, Project, ProjectError, has_end};

/// How long it must be quiet: editors write several files, or one in several steps.
const SETTLE: Duration = Duration::from_millis(50);

/// Folders that hold what tools have made or fetched. Some hold tens of thousands of files, and a build changes them.
const MADE: &[&str] = &[BUILD, "target", "node_modules", ".venv", ".git", "__pycache__"];

/// Changes of a project's source, as they come.
#[derive(Debug)]
pub struct Changes {
    events: Receiver<()>,
    watcher: RecommendedWatcher,
    source: Source,
}

/// Tells an author's files from those that tools make.
#[derive(Debug, Clone)]
struct Source {
    dir: PathBuf,
    /// Where each build puts its result, maybe within the project.
    into: PathBuf,
    /// The core module that another toolchain makes, maybe in a folder of made files.
    core: Option<PathBuf>,
}

impl Changes {
    /// Begins to watch a project, and the core module if it is built from one. Creates `into`, the folder that builds
    /// are put into.
    ///
    /// # Errors
    /// When the system cannot watch it.
    pub fn of(project: &Project, into: &Path, core: Option<&Path>) -> Result<Self, ProjectError> {
        fs::create_dir_all(into).map_err(ProjectError::file(into))?;
        // As the system names them in its events.
        let whole = |path: &Path| fs::canonicalize(path).map_err(ProjectError::file(path));
        let source = Source {
            dir: project.dir.clone(),
            into: whole(into)?,
            core: core.map(whole).transpose()?,
        };
        let (tell, events) = channel();
        let heard = source.clone();
        let hear = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| heard.is_changed_by(&event)) {
                // Nobody receives any more: the program is about to end.
                let _ = tell.send(());
            }
        };
        let mut watcher = notify::recommended_watcher(hear).map_err(cannot(&source))?;
        source.watch(&mut watcher).map_err(cannot(&source))?;
        Ok(Self {
            events,
            watcher,
            source,
        })
    }

    /// Returns once something has changed and it is quiet again.
    ///
    /// # Errors
    /// When the system cannot watch a new folder.
    pub fn wait(&mut self) -> Result<(), ProjectError> {
        let mut heard = self.events.recv().is_ok();
        while heard {
            heard = self.events.recv_timeout(SETTLE).is_ok();
        }
        self.source.watch(&mut self.watcher).map_err(cannot(&self.source))
    }
}

fn cannot(source: &Source) -> impl FnOnce(notify::Error) -> ProjectError {
    let dir = source.dir.clone();
    move |err| ProjectError::description(&dir, &format!("cannot be watched: {err}"))
}

impl Source {
    /// Watches the project's folder, each folder in it that an author writes in, and that of the core module. Watching
    /// one again changes nothing.
    fn watch(&self, watcher: &mut RecommendedWatcher) -> notify::Result<()> {
        watcher.watch(&self.dir, RecursiveMode::NonRecursive)?;
        for entry in fs::read_dir(&self.dir)?.flatten() {
            let path = entry.path();
            if path.is_dir() && !self.is_made(&path) {
                watcher.watch(&path, RecursiveMode::Recursive)?;
            }
        }
        match self.core.as_deref().and_then(Path::parent) {
            Some(folder) => watcher.watch(folder, RecursiveMode::NonRecursive),
            None => Ok(()),
        }
    }

    fn is_changed_by(&self, event: &Event) -> bool {
        let reads = matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
        let is_core = |path: &Path| self.core.as_deref() == Some(path);
        let is_written = |path: &Path| path.starts_with(&self.dir) && !self.is_made(path);
        !reads && event.paths.iter().any(|path| is_core(path) || is_written(path))
    }

    fn is_made(&self, path: &Path) -> bool {
        let inner = path.strip_prefix(&self.dir).unwrap_or(path);
        let is_put = if self.into == self.dir {
            // The folder of the sources also gets the component, and before that its temporary file.
            path.parent() == Some(&self.dir) && (has_end(path, "wasm") || Project::is_unfinished(path))
        } else {
            path.starts_with(&self.into)
        };
        is_put || inner.iter().any(|part| MADE.iter().any(|made| part == *made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(into: &str) -> Source {
        Source {
            dir: "/p".into(),
            into: into.into(),
            core: Some("/p/target/core.wasm".into()),
        }
    }

    fn changes(source: &Source, path: &str) -> bool {
        source.is_changed_by(&Event::new(EventKind::Any).add_path(path.into()))
    }

    #[test]
    fn what_a_build_makes_is_no_change_wherever_it_is_put() {
        for into in ["/p/build", "/p/plugins", "/p", "/elsewhere"] {
            let source = source(into);
            let put = [".kiln-build-x", "x.wasm"].map(|name| format!("{into}/{name}"));
            let made = [&*put[0], &*put[1], "/p/build/work/x", "/p/target/x"];
            for path in made {
                assert!(!changes(&source, path), "{path}, into {into}");
            }
            for path in ["/p/x.toml", "/p/src/new/x.rs", "/p/target/core.wasm"] {
                assert!(changes(&source, path), "{path}, into {into}");
            }
        }
    }
}
