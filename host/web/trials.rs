//! Failed jobs that are tried on another component, one at a time, and what came of the last ones.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use super::problem::Problem;
use crate::admin::AdminError;
use crate::admin::trial::{self, Trial, Tried};
use crate::config::{Manifest, SandboxSettings};
use crate::job::new_id;
use crate::outcome::Failure;
use crate::plugins::read_plugin;
use crate::queue::FailedEntry;

/// Bytes of a component that is brought along.
pub const MAX_UPLOAD_BYTES: usize = 60 * 1024 * 1024;

/// Trials that are remembered.
pub const MAX_TRIALS: usize = 20;

/// What jobs are tried in, and with.
#[derive(Debug)]
pub struct TrialSettings {
    /// The sandbox. Its state is only read.
    pub sandbox: SandboxSettings,
    /// Where the plugins are that serve.
    pub plugins: Option<PathBuf>,
}

impl TrialSettings {
    /// Tries jobs in such a sandbox, on what is uploaded or lies in this folder.
    #[must_use]
    pub fn new(sandbox: SandboxSettings, plugins: Option<PathBuf>) -> Self {
        Self { sandbox, plugins }
    }
}

/// The trials of one process.
#[derive(Debug)]
pub(super) struct Trials {
    settings: Option<TrialSettings>,
    all: Mutex<VecDeque<Arc<Record>>>,
}

/// One trial.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: String,
    /// The job's id.
    pub(super) job: String,
    /// The entry's name in addresses.
    pub(super) entry: String,
    /// How the job failed; none where another program wrote the entry.
    pub(super) original: Option<Failure>,
    /// Why it failed, in one line.
    pub(super) message: String,
    /// Who asked for it.
    pub(super) by: String,
    /// What came of it, once that is known.
    ended: watch::Sender<Option<Result<Tried, String>>>,
}

/// A trial, as the API tells it.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    id: String,
    job: String,
    state: &'static str,
    /// How the job failed.
    original: Option<Failure>,
    tried: Option<Tried>,
    error: Option<String>,
}

/// What a job is to be tried on.
#[derive(Debug)]
pub(super) struct Asked {
    /// None: what serves now.
    pub(super) component: Option<Vec<u8>>,
    /// None: the one of what serves now, if there is one.
    pub(super) manifest: Option<String>,
    pub(super) sends: bool,
}

impl Trials {
    pub(super) fn new(settings: Option<TrialSettings>) -> Self {
        Self {
            settings,
            all: Mutex::default(),
        }
    }

    /// Whether jobs can be tried here at all.
    pub(super) fn are_possible(&self) -> bool {
        self.settings.is_some()
    }

    /// Whether a plugin of that name is there to be tried.
    pub(super) fn serves(&self, plugin: &str) -> bool {
        self.path(plugin).is_some()
    }

    /// The file of a plugin. Its name comes from the store, so it must be no path to elsewhere.
    fn path(&self, plugin: &str) -> Option<PathBuf> {
        let folder = self.settings.as_ref()?.plugins.as_ref()?;
        let is_name = !plugin.is_empty() && !plugin.starts_with('.') && !plugin.contains(['/', '\\', '\0']);
        let path = folder.join(format!("{plugin}.wasm"));
        (is_name && path.is_file()).then_some(path)
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Record>> {
        self.all.lock().iter().find(|record| record.id == id).cloned()
    }

    /// Begins a trial of a failed entry, unless another is under way.
    pub(super) fn begin(&self, entry: FailedEntry, plugin: &str, asked: Asked, by: &str) -> Result<Claim, Problem> {
        let settings = self.settings.as_ref().ok_or_else(none_here)?;
        let path = self.path(plugin);
        if asked.component.is_none() && path.is_none() {
            return Err(Problem::bad(format!(
                "no plugin {plugin:?} is in the folder of plugins here: bring a component along"
            )));
        }
        let manifest = asked.manifest.as_deref().map(Manifest::parse).transpose();
        let manifest = manifest.map_err(|why| Problem::bad(format!("the manifest: {why}")))?;
        let job = entry.job().map_or_else(|_| String::new(), |job| job.id.clone());
        let message = crate::admin::facts::Facts::of(&entry).message;
        let record = Arc::new(Record {
            id: new_id(),
            job,
            entry: format!("{:016x}", entry.mark()),
            original: entry.failure(),
            message,
            by: by.to_owned(),
            ended: watch::Sender::new(None),
        });
        {
            let mut all = self.all.lock();
            if all.iter().any(|record| record.ended.borrow().is_none()) {
                let why = "another job is being tried; one at a time";
                return Err(Problem::new(axum::http::StatusCode::CONFLICT, why));
            }
            all.push_front(Arc::clone(&record));
            all.truncate(MAX_TRIALS);
        }
        let work = Work {
            sandbox: settings.sandbox.clone(),
            entry,
            plugin: plugin.to_owned(),
            path,
            component: asked.component,
            manifest,
            sends: asked.sends,
        };
        Ok(Claim {
            record,
            work: Some(work),
        })
    }
}

fn none_here() -> Problem {
    Problem::missing("jobs are not tried here")
}

/// All that one trial needs.
#[derive(Debug)]
struct Work {
    sandbox: SandboxSettings,
    entry: FailedEntry,
    plugin: String,
    path: Option<PathBuf>,
    component: Option<Vec<u8>>,
    manifest: Option<Manifest>,
    sends: bool,
}

impl Work {
    async fn done(self) -> Result<Tried, AdminError> {
        let limits = self.sandbox.limits.clone();
        let (path, component) = (self.path, self.component);
        let read = move || path.map(|path| read_plugin(&path, &limits)).transpose();
        let serving = tokio::task::spawn_blocking(read).await.ok().transpose()?.flatten();
        let (own, served) = serving.unzip();
        let trial = Trial {
            plugin: self.plugin,
            component: component.or(own).unwrap_or_default(),
            manifest: self.manifest.or(served).unwrap_or_default(),
            sends: self.sends,
        };
        trial::run(&self.sandbox, &self.entry, trial).await
    }
}

/// The right to the one trial that may be under way. If it is dropped, it never was.
#[derive(Debug)]
pub(super) struct Claim {
    record: Arc<Record>,
    work: Option<Work>,
}

impl Claim {
    /// Begins the trial, which goes on by itself.
    pub(super) fn begin(mut self) -> Arc<Record> {
        if let Some(work) = self.work.take() {
            let record = Arc::clone(&self.record);
            tokio::spawn(async move {
                // Told whatever happens, or no other would ever begin.
                let done = tokio::spawn(work.done()).await;
                let done = done.map_or_else(|err| Err(err.to_string()), |done| done.map_err(|err| err.to_string()));
                record.ended.send_replace(Some(done));
            });
        }
        Arc::clone(&self.record)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.work.is_some() {
            self.record.ended.send_replace(Some(Err("it was not begun".to_owned())));
        }
    }
}

impl Record {
    /// What came of it; none: it is under way.
    pub(super) fn ended(&self) -> Option<Result<Tried, String>> {
        self.ended.borrow().clone()
    }

    /// Returns once it is over.
    pub(super) async fn over(&self) {
        _ = self.ended.subscribe().wait_for(Option::is_some).await;
    }

    pub(super) fn told(&self) -> Told {
        let ended = self.ended();
        let (state, tried, error) = match ended {
            None => ("running", None, None),
            Some(Ok(tried)) => ("done", Some(tried), None),
            Some(Err(why)) => ("failed", None, Some(why)),
        };
        Told {
            id: self.id.clone(),
            job: self.job.clone(),
            state,
            original: self.original.clone(),
            tried,
            error,
        }
    }
}
