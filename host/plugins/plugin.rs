//! One version of a plugin, for as long as anybody uses it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;

use super::stats::Stats;
use super::{InService, Resolved};
use crate::config::Schedule;
use crate::events::PluginVersion;
use crate::sandbox::Handler;

/// A version of a plugin that loaded.
#[derive(Debug)]
pub struct Plugin {
    number: u64,
    /// What runs.
    pub handler: Handler,
    /// The job names it handles.
    pub(super) jobs: Vec<String>,
    /// When it wants its jobs pushed by the host.
    pub(super) schedules: Vec<Arc<Schedule>>,
    /// What its manifest grants, a line for each thing.
    pub(super) grants: Vec<String>,
    /// What its manifest calls it.
    pub(super) version: Option<String>,
    /// Length of its file.
    pub(super) bytes: u64,
    /// How long it took to load: to compile, as a rule.
    pub(super) load: Duration,
    /// When it was loaded.
    pub(super) since: Timestamp,
    pub(super) stats: Stats,
    /// Why it is set aside, if it is.
    aside: ArcSwapOption<String>,
    /// The version before it, kept only to serve again if this one is set aside.
    previous: ArcSwapOption<Plugin>,
}

impl Plugin {
    pub(super) fn new(
        handler: Handler,
        jobs: Vec<String>,
        schedules: Vec<Schedule>,
        version: Option<String>,
        bytes: u64,
        load: Duration,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            handler,
            jobs,
            schedules: schedules.into_iter().map(Arc::new).collect(),
            grants: Vec::new(),
            version,
            bytes,
            load,
            since: Timestamp::now(),
            stats: Stats::default(),
            aside: ArcSwapOption::empty(),
            previous: ArcSwapOption::empty(),
        }
    }

    /// Its identity in events.
    #[must_use]
    pub fn id(&self) -> PluginVersion<'_> {
        PluginVersion {
            number: self.number,
            name: self.handler.name(),
            digest: self.handler.short_digest(),
        }
    }

    /// What its manifest calls it.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    pub(super) fn load_ms(&self) -> u64 {
        u64::try_from(self.load.as_millis()).unwrap_or(u64::MAX)
    }

    /// What serves a job of this name: this version, or, if it is set aside, the one before it.
    pub(super) fn serving(self: &Arc<Self>, job: &str) -> Resolved {
        let Some(why) = &*self.aside.load() else {
            return Resolved::Plugin(Arc::clone(self));
        };
        let why = format!("its plugin is set aside: {why}").into();
        match self.instead() {
            Some(previous) if previous.jobs.iter().any(|own| own == job) => Resolved::Plugin(previous),
            Some(_) => Resolved::NotThis(why),
            None => Resolved::NotNow {
                plugin: self.handler.name().into(),
                why,
            },
        }
    }

    /// What serves: this version, or, if it is set aside, the one before it.
    pub(super) fn in_service(self: &Arc<Self>) -> InService {
        if self.aside.load().is_none() {
            return InService::Plugin(Arc::clone(self));
        }
        self.instead().map_or(InService::NotNow, InService::Plugin)
    }

    /// Why it is set aside, if it is.
    pub(super) fn aside(&self) -> Option<Arc<String>> {
        self.aside.load_full()
    }

    /// What serves in its place while it is set aside.
    pub(super) fn instead(&self) -> Option<Arc<Self>> {
        self.aside.load().as_ref()?;
        self.previous().filter(|previous| previous.aside.load().is_none())
    }

    /// The version before it, if it may have to serve again.
    pub(super) fn previous(&self) -> Option<Arc<Self>> {
        self.previous.load_full()
    }

    /// Sets this version aside, so that the one before it serves. False: it was set aside already.
    pub(super) fn set_aside(&self, why: &str) -> bool {
        self.aside.swap(Some(Arc::new(why.to_owned()))).is_none()
    }

    /// Puts this version back into service, and forgets its faults. False: it was in service.
    pub(super) fn release(&self) -> bool {
        self.stats.absolve();
        // The version before it is cleared, too: it may have to serve again.
        if let Some(previous) = &*self.previous.load() {
            previous.stats.absolve();
            previous.aside.store(None);
        }
        self.aside.swap(None).is_some()
    }

    /// Takes the place of `old`. With `keep`, keeps the last good version before this one, to serve again.
    pub(super) fn succeed(&self, old: &Arc<Self>, keep: bool) {
        let before = old.previous.swap(None);
        if keep {
            let last_good = if old.aside.load().is_some() {
                before
            } else {
                Some(Arc::clone(old))
            };
            self.previous.store(last_good);
        }
    }
}
