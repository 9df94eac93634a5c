//! What one file of the folder has come to so far.

use std::sync::Arc;
use std::time::Instant;

use super::Plugin;
use super::files::Content;
use super::folder::{Fingerprint, Loaded};
use crate::text;

/// One file's story.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    seen: Option<Fingerprint>,
    /// Whether it is being loaded.
    pub(super) loading: bool,
    /// The job names it claims, until a version of it says.
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

    /// Whether that is the file that was read, and nothing is to be tried again.
    pub(super) fn is_of(&self, found: &Fingerprint) -> bool {
        self.seen.as_ref() == Some(found) && self.content.is_some()
    }

    pub(super) fn begin(&mut self, seen: Fingerprint) {
        self.seen = Some(seen);
        self.gone = None;
        self.loading = true;
    }

    /// Takes in what became of loading it.
    pub(super) fn end(&mut self, stem: &str, loaded: Result<Loaded, String>, keep_previous: bool) {
        self.loading = false;
        match loaded {
            Ok(loaded) => self.take_in(stem, loaded, keep_previous),
            Err(why) => self.refuse(stem, &why, vec![stem.to_owned()]),
        }
    }

    /// As if the file had never been read.
    pub(super) fn unread(self) -> Self {
        Self { content: None, ..self }
    }

    /// Takes in what reading the file came to. Says so once for each content.
    fn take_in(&mut self, stem: &str, loaded: Loaded, keep_previous: bool) {
        match loaded {
            Loaded::Same => {}
            Loaded::Version(plugin, content) => {
                self.content = Some(content);
                self.fault = None;
                self.accept(stem, *plugin, keep_previous);
            }
            Loaded::Fault { why, jobs, content } => {
                self.content = content;
                self.refuse(stem, &why.to_string(), jobs);
            }
        }
    }

    fn accept(&mut self, stem: &str, plugin: Plugin, keep_previous: bool) {
        let replaced = self.good.as_ref().map(|old| old.handler.short_digest().to_owned());
        if let Some(old) = &self.good {
            plugin.succeed(old, keep_previous);
        }
        let (digest, jobs) = (plugin.handler.short_digest(), text::list(&plugin.jobs, ","));
        let (bytes, ms, version) = (plugin.bytes, plugin.load_ms(), plugin.version.as_deref());
        tracing::info!(plugin = stem, %digest, version, %jobs, bytes, ms, replaced, "plugin loaded");
        self.good = Some(Arc::new(plugin));
    }

    fn refuse(&mut self, stem: &str, why: &str, jobs: Vec<String>) {
        let told = self.fault.as_ref().is_some_and(|fault| *fault.why == *why);
        if !told {
            self.faults += 1;
            let in_service = self.good.as_ref().map(|good| good.handler.short_digest());
            tracing::error!(plugin = stem, in_service, "plugin does not load: {why}");
        }
        self.fault = Some(Fault { why: why.into(), jobs });
    }
}
