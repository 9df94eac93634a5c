//! Tells a receiver of traces about attempts, each as one span, over OTLP.
//!
//! A span is made when its attempt has ended, from times that are known by then. So attempts that failed or took long are
//! always kept, whatever share of the others is, and an attempt that is not kept costs a random number. Absent on
//! purpose: spans that are open while a job runs, which would have to be carried through every step.

mod receiver;
mod request;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Metrics;
use crate::events::{Event, Run, Subscriber};
use crate::job::TraceContext;
use crate::outcome::{Attempt, Outcome};
use crate::text::{self, MAX_LINE_BYTES};

pub use receiver::{MAX_WAITING_SPANS, Receiver};

/// Which attempts become spans.
#[derive(Debug, Clone, PartialEq)]
pub struct Keep {
    /// The share of the attempts that neither failed nor took long, from 0 to 1.
    pub share: f64,
    /// From when on an attempt took long.
    pub slow: Duration,
    /// Whether a job's first attempt is a child of its producer's span. If not, and for each further attempt, the span
    /// begins a trace of its own and links to that of the producer.
    pub as_child: bool,
}

/// One attempt.
#[derive(Debug)]
struct Span {
    queue: String,
    id: String,
    name: String,
    plugin: String,
    digest: String,
    attempt: u32,
    outcome: &'static str,
    /// Why it failed; none if it did not.
    error: Option<String>,
    ended: SystemTime,
    took: Duration,
    /// From when the job came into this host's hands until the attempt began.
    waited: Duration,
    cpu: Duration,
    peak_memory_bytes: u64,
    own: TraceContext,
    producer: Option<TraceContext>,
    is_child: bool,
}

/// Makes spans of attempts, and hands them to a receiver.
#[derive(Debug)]
pub struct Traces {
    keep: Keep,
    receiver: Arc<Receiver>,
    metrics: Option<Arc<Metrics>>,
}

impl Traces {
    /// Makes spans of the attempts to keep, and tells the metrics, if there are any, which they are.
    #[must_use]
    pub fn new(keep: Keep, receiver: Arc<Receiver>, metrics: Option<Arc<Metrics>>) -> Self {
        Self {
            keep,
            receiver,
            metrics,
        }
    }

    fn keeps(&self, run: &Run<'_>, attempt: &Attempt) -> bool {
        // Servers may have told of their part in the trace that it told them.
        run.span.is_some_and(TraceContext::is_kept)
            || matches!(attempt.outcome, Outcome::Failed { .. })
            || attempt.report.duration >= self.keep.slow
            || (self.keep.share > 0.0 && fastrand::f64() < self.keep.share)
    }

    fn span(&self, run: &Run<'_>, attempt: &Attempt) -> Span {
        let (outcome, error) = match &attempt.outcome {
            Outcome::Completed { .. } => ("completed", None),
            Outcome::Failed { failure, .. } => (
                failure.kind.as_str(),
                Some(text::line(&failure.message, MAX_LINE_BYTES).into_owned()),
            ),
            Outcome::Stopped => ("stopped", None),
        };
        let producer = run.job.trace_context();
        let is_child = self.keep.as_child && run.attempt == 1;
        // What the handler's requests carried, if they did.
        let own = run.span.cloned().unwrap_or_else(|| match &producer {
            Some(producer) => producer.of_attempt(is_child),
            None => TraceContext::first(0),
        });
        let (report, name) = (&attempt.report, |name: &str| text::name(name).into_owned());
        Span {
            queue: name(run.queue),
            id: name(&run.job.id),
            name: name(&run.job.name),
            plugin: run.plugin.name.to_owned(),
            digest: run.plugin.digest.to_owned(),
            attempt: run.attempt,
            outcome,
            error,
            ended: SystemTime::now(),
            took: report.duration,
            waited: run.fetched.elapsed().saturating_sub(report.duration),
            cpu: report.cpu,
            peak_memory_bytes: report.peak_memory_bytes,
            own,
            producer,
            is_child,
        }
    }
}

impl Subscriber for Traces {
    fn on(&self, event: &Event<'_>) {
        if let Event::Ended { run, attempt } = event
            && self.keeps(run, attempt)
        {
            let span = self.span(run, attempt);
            if let Some(metrics) = &self.metrics {
                metrics.became_a_span(run.plugin, span.took, &span.own);
            }
            self.receiver.take(span);
        }
    }
}
