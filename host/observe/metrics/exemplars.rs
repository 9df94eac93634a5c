//! Which trace to look at for a time in a histogram.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::histogram::Times;
use crate::job::TraceContext;

/// For each bucket the last attempt that became a span. Most attempts become none, and cost nothing here.
#[derive(Debug, Default)]
pub(super) struct Exemplars(Mutex<BTreeMap<usize, Exemplar>>);

#[derive(Debug, Clone)]
pub(super) struct Exemplar {
    pub(super) trace_id: String,
    pub(super) span_id: String,
    pub(super) took: Duration,
    pub(super) at: SystemTime,
}

impl Exemplars {
    pub(super) fn put(&self, took: Duration, span: &TraceContext) {
        let exemplar = Exemplar {
            trace_id: span.trace_id.clone(),
            span_id: span.span_id.clone(),
            took,
            at: SystemTime::now(),
        };
        self.0.lock().insert(Times::bucket(took), exemplar);
    }

    /// By the places of their buckets.
    pub(super) fn all(&self) -> BTreeMap<usize, Exemplar> {
        self.0.lock().clone()
    }
}
