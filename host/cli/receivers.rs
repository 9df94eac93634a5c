//! The flags of `kiln worker` about receivers of OTLP: of traces, and of metrics.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::Usage;
use super::store::duration;
use crate::config::TimeRange;
use crate::events::Events;
use crate::observe::{Endpoint, Keep, Metrics, Receiver, Reporter, Traces};
use crate::worker::Spans;

/// Where traces go, and which attempts they tell of.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Traces")]
pub(super) struct TraceArgs {
    /// Send a span for each attempt that is kept to this receiver of OTLP over HTTP, such as `http://127.0.0.1:4318`
    /// [default: none]
    #[arg(long = "traces", env = "KILN_TRACES", value_name = "URL")]
    url: Option<String>,
    /// A header for the receiver, such as authorization=Bearer …; repeat for more. The variable has one on each line
    #[arg(id = "trace_headers", long = "trace-header", env = "KILN_TRACE_HEADERS", value_delimiter = '\n', value_parser = header, value_name = "NAME=VALUE")]
    headers: Vec<(String, String)>,
    /// The share of attempts that are kept of those that neither fail nor take long
    #[arg(long = "trace-share", env = "KILN_TRACE_SHARE", default_value = "1%", value_parser = share, value_name = "PERCENT")]
    share: f64,
    /// From when on an attempt takes long, and is kept in any case
    #[arg(long = "trace-slow", env = "KILN_TRACE_SLOW", default_value = "1s", value_parser = duration, value_name = "DURATION")]
    slow: Duration,
    /// Have a job's first attempt be a child of its producer's span, instead of a trace that links to it
    #[arg(long = "trace-child", env = "KILN_TRACE_CHILD", value_parser = clap::builder::BoolishValueParser::new())]
    child: bool,
}

/// Where metrics go, beside whoever asks for them.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Metrics")]
pub(super) struct MetricArgs {
    /// Send what /metrics tells to this receiver of OTLP over HTTP, such as `http://127.0.0.1:4318` [default: none]
    #[arg(id = "metrics_url", long = "metrics", env = "KILN_METRICS", value_name = "URL")]
    url: Option<String>,
    /// A header for the receiver, such as authorization=Bearer …; repeat for more. The variable has one on each line
    #[arg(id = "metric_headers", long = "metric-header", env = "KILN_METRIC_HEADERS", value_delimiter = '\n', value_parser = header, value_name = "NAME=VALUE")]
    headers: Vec<(String, String)>,
    /// How long it is from one request to the next
    #[arg(id = "metric_interval", long = "metric-interval", env = "KILN_METRIC_INTERVAL", default_value = "1m", value_parser = interval, value_name = "DURATION")]
    every: Duration,
}

impl TraceArgs {
    /// How spans belong to those of producers, if a receiver is named.
    pub(super) fn spans(&self) -> Option<Spans> {
        self.url.as_ref().map(|_| Spans { as_child: self.child })
    }

    /// Begins to send traces, if a receiver is named, and tells the metrics of them.
    pub(super) fn start(
        &self,
        events: &Events,
        metrics: Option<Arc<Metrics>>,
    ) -> anyhow::Result<Option<Arc<Receiver>>> {
        let Some(url) = &self.url else { return Ok(None) };
        let receiver = Receiver::start(endpoint(url, &self.headers));
        let receiver = receiver.map_err(|why| Usage(format!("--traces: {why}")))?;
        let keep = Keep {
            share: self.share,
            slow: self.slow,
            as_child: self.child,
        };
        events.subscribe(&Arc::new(Traces::new(keep, Arc::clone(&receiver), metrics)));
        Ok(Some(receiver))
    }
}

impl MetricArgs {
    /// Whether a receiver is named.
    pub(super) fn are_sent(&self) -> bool {
        self.url.is_some()
    }

    /// Begins to send metrics, if a receiver is named.
    pub(super) fn start(&self, metrics: Option<&Arc<Metrics>>) -> anyhow::Result<Option<Reporter>> {
        let (Some(url), Some(metrics)) = (&self.url, metrics) else {
            return Ok(None);
        };
        let reporter = Reporter::start(endpoint(url, &self.headers), self.every, Arc::clone(metrics));
        Ok(Some(reporter.map_err(|why| Usage(format!("--metrics: {why}")))?))
    }
}

fn endpoint(url: &str, headers: &[(String, String)]) -> Endpoint {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    Endpoint {
        url: url.to_owned(),
        headers: headers.to_vec(),
        instance: format!("{host}-{}", std::process::id()),
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it like NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

const INTERVAL: TimeRange = TimeRange {
    least: Duration::from_secs(1),
    most: Duration::from_hours(1),
    why: "each request brings every series; what is older says little of how a worker does",
};

fn interval(text: &str) -> Result<Duration, String> {
    INTERVAL.parse(text)
}

fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    let percent = percent.ok_or("write it like 1%")?;
    if !(0.0..=100.0).contains(&percent) {
        return Err("it must be between 0% and 100%".to_owned());
    }
    Ok(percent / 100.0)
}
