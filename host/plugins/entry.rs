//! What one file of the folder has come to so far.

use std::sync::Arc;
use std::time::Instant;

use super::Plugin;
use super::files::Content;
use super::folder::{Fingerprint, Loaded};
use crate::events::{Event, Events, LoadedPlugin};

/// What is known of one file: its last good version, its fault, and whether it is being loaded.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    seen: Option<Fingerprint>,
    /// Whether it is being loaded.
    pub(super) loading: bool,
    /// The job names that the file claims until a version of it has loaded.
    pub(super) claims: Vec<String>,
    /// What was in the file when it was last read.
    pub(super) content: Option<Content>,
    /// The last version that loaded.
    pub(super) good: Option<Arc<Plugin>>,
    /// What is wrong with the file as it is.
    pub(super) fault: Option<Fault>,
    /// How many contents of it did not load.
    pub(super) faults: u64,
    /// Since when there is no such file.
    pub(super) gone: Option<Instant>,
}

/// What is wrong with a file, and the job names that it claims all the same.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) why: Arc<str>,
    pub(super) jobs: Vec<String>,
}

impl Entry {
    pub(super) fn new(claims: Vec<String>) -> Self {
        Self {
            seen: None,
            loading: false,
            claims,
            content: None,
            good: None,
            fault: None,
            faults: 0,
            gone: None,
        }
    }

    /// Whether this is the file as it was last read, and reading it again would tell nothing new.
    pub(super) fn is_of(&self, found: &Fingerprint) -> bool {
        self.seen.as_ref() == Some(found) && self.content.is_some()
    }

    pub(super) fn begin(&mut self, seen: Fingerprint) {
        self.seen = Some(seen);
        self.gone = None;
        self.loading = true;
    }

    /// Takes in the result of loading the file. Returns the news to tell, if there are any.
    pub(super) fn end(&mut self, stem: &str, loaded: Result<Loaded, String>, keep_previous: bool) -> Option<News> {
        self.loading = false;
        match loaded {
            Ok(loaded) => self.take_in(loaded, keep_previous),
            Err(why) => self.refuse(&why, vec![stem.to_owned()]),
        }
    }

    /// The same entry as if its file had never been read.
    pub(super) fn unread(self) -> Self {
        Self { content: None, ..self }
    }

    fn take_in(&mut self, loaded: Loaded, keep_previous: bool) -> Option<News> {
        match loaded {
            Loaded::Same => None,
            Loaded::Version(plugin, content) => {
                self.content = Some(content);
                self.fault = None;
                Some(self.accept(*plugin, keep_previous))
            }
            Loaded::Fault { why, jobs, content } => {
                self.content = content;
                self.refuse(&why.to_string(), jobs)
            }
        }
    }

    fn accept(&mut self, plugin: Plugin, keep_previous: bool) -> News {
        let plugin = Arc::new(plugin);
        let replaced = self.good.replace(Arc::clone(&plugin));
        if let Some(old) = &replaced {
            plugin.succeed(old, keep_previous);
        }
        News::Loaded { plugin, replaced }
    }

    /// Returns news once for each fault, not each time the file is read.
    fn refuse(&mut self, why: &str, jobs: Vec<String>) -> Option<News> {
        let why = Arc::<str>::from(why);
        let known = self.fault.as_ref().is_some_and(|fault| fault.why == why);
        let fault = Fault {
            why: Arc::clone(&why),
            jobs,
        };
        self.fault = Some(fault);
        if known {
            return None;
        }
        self.faults += 1;
        let in_service = self.good.clone();
        Some(News::Refused { why, in_service })
    }
}

/// What is to be told of a file that was read.
pub(super) enum News {
    /// A version of it serves.
    Loaded {
        plugin: Arc<Plugin>,
        replaced: Option<Arc<Plugin>>,
    },
    /// Its content cannot be used.
    Refused {
        why: Arc<str>,
        in_service: Option<Arc<Plugin>>,
    },
}

impl News {
    pub(super) fn tell(&self, stem: &str, events: &Events) {
        let digest =
            |plugin: &'_ Option<Arc<Plugin>>| plugin.as_ref().map(|plugin| plugin.handler.short_digest().to_owned());
        match self {
            Self::Loaded { plugin, replaced } => events.tell(Event::PluginLoaded(LoadedPlugin {
                plugin: plugin.id(),
                version: plugin.version.as_deref(),
                jobs: &plugin.jobs,
                bytes: plugin.bytes,
                took: plugin.load,
                replaced: digest(replaced).as_deref(),
            })),
            Self::Refused { why, in_service } => events.tell(Event::PluginRefused {
                name: stem,
                why,
                in_service: digest(in_service).as_deref(),
            }),
        }
    }
}
