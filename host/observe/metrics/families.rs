//! Everything counted, as families of series: what is written out in one format or another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Metrics;
use super::histogram::Written;
use super::series::{ADOPTED, FATES, FETCHED, NOT_RUN, PROMOTED, PluginSeries, VersionSeries};

/// All series of one name.
pub(super) struct Family {
    name: &'static str,
    pub(super) help: &'static str,
    pub(super) unit: Option<Unit>,
    pub(super) values: Values,
}

#[derive(Clone, Copy)]
pub(super) enum Unit {
    Seconds,
    Bytes,
}

/// What is told of each series. The kinds are those of every format.
pub(super) enum Values {
    Counters(Vec<(Labels, Number)>),
    Gauges(Vec<(Labels, Number)>),
    Histograms(Vec<(Labels, Written)>),
}

#[derive(Clone, Copy)]
pub(super) enum Number {
    Whole(u64),
    Real(f64),
}

pub(super) type Labels = Vec<(&'static str, String)>;

impl Family {
    /// The name with its unit, as those who read it know it; for counters without `_total`.
    pub(super) fn name(&self) -> String {
        let unit = self.unit.map_or_else(String::new, |unit| format!("_{}", unit.name()));
        format!("kiln_{}{unit}", self.name)
    }

    fn counters(name: &'static str, help: &'static str, series: impl Iterator<Item = (Labels, u64)>) -> Self {
        let series = series.map(|(labels, count)| (labels, Number::Whole(count)));
        Self {
            name,
            help,
            unit: None,
            values: Values::Counters(series.collect()),
        }
    }

    fn gauges(name: &'static str, help: &'static str, series: impl Iterator<Item = (Labels, u64)>) -> Self {
        let series = series.map(|(labels, value)| (labels, Number::Whole(value)));
        Self {
            name,
            help,
            unit: None,
            values: Values::Gauges(series.collect()),
        }
    }

    fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self::gauges(name, help, std::iter::once((Labels::new(), value)))
    }

    fn times(name: &'static str, help: &'static str, series: impl Iterator<Item = (Labels, Written)>) -> Self {
        Self {
            name,
            help,
            unit: Some(Unit::Seconds),
            values: Values::Histograms(series.collect()),
        }
    }
}

impl Unit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
        }
    }
}

impl Metrics {
    /// Everything counted.
    pub(super) fn families(&self) -> Vec<Family> {
        self.versions.forget(Instant::now());
        let (plugins, versions) = self.versions.all();
        let mut all = self.of_queues();
        all.extend(of_plugins(&plugins));
        all.extend(of_boundaries(&plugins));
        all.extend(of_versions(&versions));
        all.extend(self.of_store());
        all.extend(self.of_vitals());
        all
    }

    fn of_queues(&self) -> Vec<Family> {
        let queues = || {
            self.queues
                .iter()
                .map(|(queue, series)| (labels([("queue", queue)]), series))
        };
        let came = |name, help, place: usize| {
            let series = queues().map(|(labels, queue)| (labels, queue.came.totals()[place]));
            Family::counters(name, help, series)
        };
        let fates = self.queues.iter().flat_map(|(queue, series)| {
            let named = FATES.iter().zip(series.fates.totals());
            named.map(|((_, fate), count)| (labels([("queue", queue), ("fate", fate)]), count))
        });
        let not_run = self.queues.iter().flat_map(|(queue, series)| {
            let named = NOT_RUN.iter().zip(series.not_run.totals());
            named.map(|(why, count)| (labels([("queue", queue), ("why", why.as_str())]), count))
        });
        let wait = queues().map(|(labels, queue)| (labels, queue.wait.written()));
        let settle = queues().map(|(labels, queue)| (labels, queue.settle.written()));
        vec![
            came("jobs_fetched", "Jobs taken from their queue", FETCHED),
            came(
                "jobs_promoted",
                "Due jobs that this worker moved to the ready ones",
                PROMOTED,
            ),
            came("jobs_adopted", "Jobs taken over from workers that died", ADOPTED),
            Family::counters("jobs_settled", "Deliveries settled, by what became of the job", fates),
            Family::counters("jobs_not_run", "Jobs that ended without an attempt", not_run),
            Family::times("job_wait", "From when a job was due until it was fetched", wait),
            Family::times(
                "settle",
                "From the end of an attempt until the store has settled its job",
                settle,
            ),
        ]
    }

    fn of_store(&self) -> [Family; 2] {
        let asked = self
            .store
            .iter()
            .map(|(operation, series)| (operation, series.took.written()));
        let asked = asked.filter(|(_, written)| written.count > 0);
        let asked = asked.map(|(operation, written)| (labels([("operation", operation)]), written));
        let errors = self.store.iter();
        let errors = errors.map(|(operation, series)| (labels([("operation", operation)]), series.errors.totals()[0]));
        [
            Family::times("store_operation", "How long the store took to answer", asked),
            Family::counters("store_errors", "Operations that the store failed or refused", errors),
        ]
    }

    fn of_vitals(&self) -> Vec<Family> {
        let Some(serving) = self.vitals.serving() else {
            return Vec::new();
        };
        let consumer = &serving.consumer;
        let left = Number::Real(consumer.lease_left().as_secs_f64());
        vec![
            Family::gauge(
                "store_up",
                "Whether the store can be used",
                u64::from(consumer.store_answers()),
            ),
            Family::gauge(
                "draining",
                "Whether the worker takes nothing new",
                u64::from(serving.stop.is_cancelled()),
            ),
            Family::gauge("slots", "Attempts at once, at most", u64::from(serving.slots.get())),
            Family::gauge(
                "slots_used",
                "Jobs in hand that are not settled or set aside to wait",
                serving.jobs.len() as u64,
            ),
            Family::gauge(
                "unsettled_jobs",
                "Jobs that this worker has to settle",
                consumer.held() as u64,
            ),
            Family {
                name: "lease_left",
                help: "Time until the first of the leases ends",
                unit: Some(Unit::Seconds),
                values: Values::Gauges(vec![(Labels::new(), left)]),
            },
        ]
    }
}

fn of_plugins(plugins: &[Arc<PluginSeries>]) -> [Family; 5] {
    let plugins = || {
        plugins
            .iter()
            .map(|plugin| (labels([("plugin", &plugin.name)]), plugin))
    };
    let lane = plugins().map(|(labels, plugin)| (labels, plugin.lane.written()));
    let start = plugins().map(|(labels, plugin)| (labels, plugin.start.written()));
    let attempt = plugins().map(|(labels, plugin)| {
        let exemplars = plugin.exemplars.all();
        let written = plugin.attempt.written();
        (labels, Written { exemplars, ..written })
    });
    let memory = plugins().map(|(labels, plugin)| (labels, plugin.peak_memory.written()));
    let loads = plugins().flat_map(|(_, plugin)| {
        let named = ["loaded", "refused"].into_iter().zip(plugin.loads.totals());
        named.map(|(result, count)| (labels([("plugin", &plugin.name), ("result", result)]), count))
    });
    [
        Family::times(
            "job_lane",
            "From when a job was due until it was taken from its plugin's lane",
            lane,
        ),
        Family::times("start", "From when a job was fetched until its attempt began", start),
        Family::times("attempt", "How long attempts took", attempt),
        Family {
            name: "attempt_peak_memory",
            help: "The most memory an attempt held at once",
            unit: Some(Unit::Bytes),
            values: Values::Histograms(memory.collect()),
        },
        Family::counters(
            "plugin_loads",
            "Contents of a plugin's file that were loaded or refused",
            loads,
        ),
    ]
}

fn of_boundaries(plugins: &[Arc<PluginSeries>]) -> [Family; 2] {
    let denials = plugins.iter().flat_map(|plugin| {
        let counts = plugin.denials.lock().clone().into_iter();
        counts.map(|(capability, count)| (labels([("plugin", &plugin.name), ("capability", capability)]), count))
    });
    let hits = plugins.iter().flat_map(|plugin| {
        let counts = plugin.limit_hits.lock().clone().into_iter();
        counts.map(|(limit, count)| (labels([("plugin", &plugin.name), ("limit", limit)]), count))
    });
    [
        Family::counters("denials", "Attempts that ended at something not granted", denials),
        Family::counters("limit_hits", "Attempts that met a limit", hits),
    ]
}

fn of_versions(versions: &[Arc<VersionSeries>]) -> [Family; 4] {
    let of = |version: &VersionSeries| labels([("plugin", &version.plugin.name), ("digest", &version.digest)]);
    let outcomes = versions.iter().flat_map(|version| {
        version.outcomes().map(|(outcome, count)| {
            let mut labels = of(version);
            labels.push(("outcome", outcome.to_owned()));
            (labels, count)
        })
    });
    let cpu = versions
        .iter()
        .map(|version| (of(version), Number::Real(version.cpu().as_secs_f64())));
    let serving = versions.iter().filter(|version| version.left.lock().is_none());
    let info = serving.clone().map(|version| {
        let mut labels = of(version);
        labels.push(("version", version.version.clone()));
        (labels, 1)
    });
    let aside = serving.map(|version| (of(version), u64::from(version.aside.load(Ordering::Relaxed))));
    [
        Family::counters("attempts", "Attempts that ended, by what they came to", outcomes),
        Family {
            name: "attempt_cpu",
            help: "Processor time of attempts",
            unit: Some(Unit::Seconds),
            values: Values::Counters(cpu.collect()),
        },
        Family::gauges("plugin_info", "The versions of plugins in service", info),
        Family::gauges(
            "plugin_aside",
            "Whether a version was set aside because too many of its attempts fail",
            aside,
        ),
    ]
}

fn labels<const N: usize>(of: [(&'static str, &str); N]) -> Labels {
    of.map(|(name, value)| (name, value.to_owned())).into()
}
