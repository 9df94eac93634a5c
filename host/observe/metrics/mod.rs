//! Counts what happens in a host, for Prometheus and for receivers of OTLP.
//!
//! A job's name is never a label: producers make those up, in any number. Queues are those that the host serves; plugins
//! and versions are bounded ([`MAX_PLUGINS`], [`MAX_VERSIONS`]). Nothing here asks the store: what the store holds in all
//! is no host's to tell, or many hosts would tell it many times.

mod exemplars;
mod families;
mod histogram;
mod openmetrics;
mod reporter;
mod request;
mod series;
mod settling;
pub(super) mod sharded;
mod versions;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use self::series::{ADOPTED, FETCHED, PROMOTED, QueueSeries, StoreSeries};
use self::settling::Settling;
use self::versions::Versions;
use super::Vitals;
use crate::events::{Event, PluginVersion, Run, Subscriber};
use crate::job::TraceContext;
use crate::outcome::{Attempt, Fate};
use crate::queue::{OPERATIONS, QueueName};

pub use reporter::Reporter;
pub use versions::{KEPT_AFTER, MAX_PLUGINS, MAX_VERSIONS};

/// What is counted.
#[derive(Debug)]
pub struct Metrics {
    queues: HashMap<String, QueueSeries>,
    versions: Versions,
    store: BTreeMap<&'static str, StoreSeries>,
    settling: Settling,
    vitals: Arc<Vitals>,
}

impl Metrics {
    /// Counts for a host that serves these queues.
    #[must_use]
    pub fn new<'a>(queues: impl IntoIterator<Item = &'a QueueName>, vitals: Arc<Vitals>) -> Self {
        let queues = queues
            .into_iter()
            .map(|queue| (queue.to_string(), QueueSeries::default()));
        let store = OPERATIONS.iter().map(|operation| (*operation, StoreSeries::default()));
        Self {
            queues: queues.collect(),
            versions: Versions::default(),
            store: store.collect(),
            settling: Settling::default(),
            vitals,
        }
    }

    /// An attempt of this version became a span: it stands for all that took as long.
    pub(super) fn became_a_span(&self, plugin: PluginVersion<'_>, took: Duration, span: &TraceContext) {
        self.versions
            .of(plugin, |version| version.plugin.exemplars.put(took, span));
    }

    fn queue(&self, name: &str, count: impl FnOnce(&QueueSeries)) {
        if let Some(queue) = self.queues.get(name) {
            count(queue);
        }
    }

    fn started(&self, run: &Run<'_>) {
        let started = run.fetched.elapsed();
        let waited = run.waited(started);
        self.versions.of(run.plugin, |version| {
            version.plugin.start.time(started);
            if let Some(waited) = waited.filter(|_| run.from_lane) {
                version.plugin.lane.time(waited);
            }
        });
        if let Some(waited) = waited.filter(|_| !run.from_lane) {
            self.queue(run.queue, |queue| queue.wait.time(waited));
        }
    }

    fn ended(&self, run: &Run<'_>, attempt: &Attempt) {
        self.versions.of(run.plugin, |version| version.ended(attempt));
        self.settling.begins(run.tag, Instant::now());
    }

    fn settled(&self, queue: &str, settled: &[(u64, Fate)], refused: &[u64]) {
        let now = Instant::now();
        self.queue(queue, |queue| {
            for (tag, fate) in settled {
                queue.fate(Some(*fate));
                if let Some(took) = self.settling.ends(*tag, now) {
                    queue.settle.time(took);
                }
            }
            for _ in refused {
                queue.fate(None);
            }
        });
    }

    fn asked(&self, operation: &str, took: Option<Duration>, failed: bool) {
        let Some(store) = self.store.get(operation) else {
            return;
        };
        if let Some(took) = took {
            store.took.time(took);
        }
        if failed {
            store.errors.add(0, 1);
        }
    }
}

impl Subscriber for Metrics {
    fn on(&self, event: &Event<'_>) {
        match *event {
            Event::Started(run) => self.started(&run),
            Event::Ended { run, attempt } => self.ended(&run, attempt),
            Event::Settled {
                queue,
                settled,
                refused,
                ..
            } => self.settled(queue, settled, refused),
            Event::NotRun { queue, why, .. } => self.queue(queue, |queue| queue.not_run(why)),
            Event::Fetched { queue, jobs, .. } => self.queue(queue, |queue| queue.came.add(FETCHED, jobs as u64)),
            Event::Promoted { queue, jobs } => self.queue(queue, |queue| queue.came.add(PROMOTED, jobs as u64)),
            Event::Adopted { queue, jobs, .. } => self.queue(queue, |queue| queue.came.add(ADOPTED, jobs as u64)),
            Event::StoreAsked {
                operation,
                took,
                failed,
            } => self.asked(operation, took, failed),
            Event::PluginLoaded(loaded) => self.versions.loaded(loaded.plugin, loaded.version),
            Event::PluginRefused { name, .. } => self.versions.refused(name),
            Event::PluginSetAside { plugin, .. } => {
                self.versions
                    .of(plugin, |version| version.aside.store(true, Ordering::Relaxed));
            }
            Event::PluginReleased { name } => self.versions.released(name),
            Event::PluginRemoved { name } => self.versions.removed(name),
            Event::LeaseLost { .. }
            | Event::StoreAway { .. }
            | Event::StoreBack { .. }
            | Event::Fired { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. } => {}
        }
    }
}
