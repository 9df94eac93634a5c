//! Writes out what was counted, as text in the format `OpenMetrics`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::Metrics;
use super::histogram::Written;
use super::series::{ADOPTED, FATES, FETCHED, NOT_RUN, PROMOTED, PluginSeries, VersionSeries};

impl Metrics {
    /// The content type of [`Self::write`].
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Everything counted, as text in the format `OpenMetrics`.
    #[must_use]
    pub fn write(self: &Arc<Self>) -> String {
        self.versions.forget(Instant::now());
        let (mut registry, mut text) = (Registry::with_prefix("kiln"), String::new());
        registry.register_collector(Box::new(Arc::clone(self)));
        text::encode(&mut text, &registry).unwrap_or_else(|err| unreachable!("a string takes any text: {err}"));
        text
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Families(encoder);
        self.write_queues(&mut to)?;
        let (plugins, versions) = self.versions.all();
        write_plugins(&plugins, &mut to)?;
        write_boundaries(&plugins, &mut to)?;
        write_versions(&versions, &mut to)?;
        self.write_store(&mut to)?;
        self.write_vitals(&mut to)
    }
}

impl Metrics {
    fn write_queues(&self, to: &mut Families<'_>) -> fmt::Result {
        let queues = || {
            self.queues
                .iter()
                .map(|(queue, series)| (labels([("queue", queue)]), series))
        };
        for (name, help, place) in [
            ("jobs_fetched", "Jobs taken from their queue", FETCHED),
            (
                "jobs_promoted",
                "Due jobs that this worker moved to the ready ones",
                PROMOTED,
            ),
            ("jobs_adopted", "Jobs taken over from workers that died", ADOPTED),
        ] {
            let came = queues().map(|(labels, queue)| (labels, queue.came.totals()[place]));
            to.counters(name, help, came)?;
        }
        let fates = self.queues.iter().flat_map(|(queue, series)| {
            let named = FATES.iter().zip(series.fates.totals());
            named.map(|((_, fate), count)| (labels([("queue", queue), ("fate", fate)]), count))
        });
        to.counters("jobs_settled", "Deliveries settled, by what became of the job", fates)?;
        let not_run = self.queues.iter().flat_map(|(queue, series)| {
            let named = NOT_RUN.iter().zip(series.not_run.totals());
            named.map(|(why, count)| (labels([("queue", queue), ("why", why.as_str())]), count))
        });
        to.counters("jobs_not_run", "Jobs that ended without an attempt", not_run)?;
        let wait = queues().map(|(labels, queue)| (labels, queue.wait.written()));
        to.times("job_wait", "From when a job was due until it was fetched", wait)?;
        let settle = queues().map(|(labels, queue)| (labels, queue.settle.written()));
        to.times(
            "settle",
            "From the end of an attempt until the store has settled its job",
            settle,
        )
    }

    fn write_store(&self, to: &mut Families<'_>) -> fmt::Result {
        let asked = self
            .store
            .iter()
            .map(|(operation, series)| (operation, series.took.written()));
        let asked = asked.filter(|(_, written)| written.count > 0);
        let asked = asked.map(|(operation, written)| (labels([("operation", operation)]), written));
        to.times("store_operation", "How long the store took to answer", asked)?;
        let errors = self.store.iter();
        let errors = errors.map(|(operation, series)| (labels([("operation", operation)]), series.errors.totals()[0]));
        to.counters("store_errors", "Operations that the store failed or refused", errors)
    }

    fn write_vitals(&self, to: &mut Families<'_>) -> fmt::Result {
        let Some(serving) = self.vitals.serving() else {
            return Ok(());
        };
        let consumer = &serving.consumer;
        let flag = |is: bool| u64::from(is);
        to.gauge(
            "store_up",
            "Whether the store can be used",
            None,
            flag(consumer.store_answers()),
        )?;
        to.gauge(
            "draining",
            "Whether the worker takes nothing new",
            None,
            flag(serving.stop.is_cancelled()),
        )?;
        to.gauge("slots", "Attempts at once, at most", None, serving.slots.get())?;
        to.gauge(
            "slots_used",
            "Jobs in hand that are not settled or set aside to wait",
            None,
            serving.jobs.len(),
        )?;
        to.gauge(
            "unsettled_jobs",
            "Jobs that this worker has to settle",
            None,
            consumer.held(),
        )?;
        let left = consumer.lease_left().as_secs_f64();
        to.gauge(
            "lease_left",
            "Time until the first of the leases ends",
            Some(&Unit::Seconds),
            left,
        )
    }
}

fn write_plugins(plugins: &[Arc<PluginSeries>], to: &mut Families<'_>) -> fmt::Result {
    let plugins = || {
        plugins
            .iter()
            .map(|plugin| (labels([("plugin", &plugin.name)]), plugin))
    };
    let lane = plugins().map(|(labels, plugin)| (labels, plugin.lane.written()));
    to.times(
        "job_lane",
        "From when a job was due until it was taken from its plugin's lane",
        lane,
    )?;
    let start = plugins().map(|(labels, plugin)| (labels, plugin.start.written()));
    to.times("start", "From when a job was fetched until its attempt began", start)?;
    let attempt = plugins().map(|(labels, plugin)| (labels, plugin.attempt.written()));
    to.times("attempt", "How long attempts took", attempt)?;
    let memory = plugins().map(|(labels, plugin)| (labels, plugin.peak_memory.written()));
    to.histograms(
        "attempt_peak_memory",
        "The most memory an attempt held at once",
        &Unit::Bytes,
        memory,
    )?;
    let loads = plugins().flat_map(|(_, plugin)| {
        let named = ["loaded", "refused"].into_iter().zip(plugin.loads.totals());
        named.map(|(result, count)| (labels([("plugin", &plugin.name), ("result", result)]), count))
    });
    to.counters(
        "plugin_loads",
        "Contents of a plugin's file that were loaded or refused",
        loads,
    )
}

fn write_boundaries(plugins: &[Arc<PluginSeries>], to: &mut Families<'_>) -> fmt::Result {
    let denials = plugins.iter().flat_map(|plugin| {
        let counts = plugin.denials.lock().clone().into_iter();
        counts.map(|(capability, count)| (labels([("plugin", &plugin.name), ("capability", capability)]), count))
    });
    to.counters("denials", "Attempts that ended at something not granted", denials)?;
    let hits = plugins.iter().flat_map(|plugin| {
        let counts = plugin.limit_hits.lock().clone().into_iter();
        counts.map(|(limit, count)| (labels([("plugin", &plugin.name), ("limit", limit)]), count))
    });
    to.counters("limit_hits", "Attempts that met a limit", hits)
}

fn write_versions(versions: &[Arc<VersionSeries>], to: &mut Families<'_>) -> fmt::Result {
    let of = |version: &VersionSeries| labels([("plugin", &version.plugin.name), ("digest", &version.digest)]);
    let outcomes = versions.iter().flat_map(|version| {
        version.outcomes().map(|(outcome, count)| {
            let mut labels = of(version);
            labels.push(("outcome", outcome.to_owned()));
            (labels, count)
        })
    });
    to.counters("attempts", "Attempts that ended, by what they came to", outcomes)?;
    let cpu = versions
        .iter()
        .map(|version| (of(version), version.cpu().as_secs_f64()));
    to.counters_in("attempt_cpu", "Processor time of attempts", Some(&Unit::Seconds), cpu)?;
    let serving = versions.iter().filter(|version| version.left.lock().is_none());
    let info = serving.clone().map(|version| {
        let mut labels = of(version);
        labels.push(("version", version.version.clone()));
        (labels, 1_u64)
    });
    to.gauges("plugin_info", "The versions of plugins in service", info)?;
    let aside = serving.map(|version| (of(version), u64::from(version.aside.load(Ordering::Relaxed))));
    to.gauges(
        "plugin_aside",
        "Whether a version was set aside because too many of its attempts fail",
        aside,
    )
}

type Labels = Vec<(&'static str, String)>;

fn labels<const N: usize>(of: [(&'static str, &str); N]) -> Labels {
    of.map(|(name, value)| (name, value.to_owned())).into()
}

/// Writes families of metrics, each with its type, its unit and all its series.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn counters(&mut self, name: &str, help: &str, series: impl Iterator<Item = (Labels, u64)>) -> fmt::Result {
        self.counters_in(name, help, None, series)
    }

    fn counters_in<N: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: impl Iterator<Item = (Labels, N)>,
    ) -> fmt::Result {
        let series = series.map(|(labels, count)| (labels, ConstCounter::new(count)));
        self.family(name, help, unit, MetricType::Counter, series, EncodeMetric::encode)
    }

    fn gauges(&mut self, name: &str, help: &str, series: impl Iterator<Item = (Labels, u64)>) -> fmt::Result {
        let series = series.map(|(labels, value)| (labels, ConstGauge::new(value)));
        self.family(name, help, None, MetricType::Gauge, series, EncodeMetric::encode)
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: impl EncodeGaugeValue) -> fmt::Result {
        let to = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(value).encode(to)
    }

    fn times(&mut self, name: &str, help: &str, series: impl Iterator<Item = (Labels, Written)>) -> fmt::Result {
        self.histograms(name, help, &Unit::Seconds, series)
    }

    fn histograms(
        &mut self,
        name: &str,
        help: &str,
        unit: &Unit,
        series: impl Iterator<Item = (Labels, Written)>,
    ) -> fmt::Result {
        self.family(
            name,
            help,
            Some(unit),
            MetricType::Histogram,
            series,
            |written, mut to| to.encode_histogram::<NoLabelSet>(written.sum, written.count, &written.buckets, None),
        )
    }

    fn family<T>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        series: impl Iterator<Item = (Labels, T)>,
        write: impl Fn(&T, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, one) in series {
            write(&one, family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
