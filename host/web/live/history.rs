//! The samples of the last minutes, for charts.
//!
//! It begins when somebody looks, and has a gap where nobody did. Statistics that outlive the process are the store's to
//! keep.

use std::collections::VecDeque;

use super::sample::Sample;

/// Points kept: those of a quarter of an hour.
const MAX_POINTS: usize = 450;

/// One sample, as a chart shows it.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(in crate::web) struct Point {
    /// When, in milliseconds since the Unix epoch.
    pub(in crate::web) at_ms: i64,
    /// Jobs that are ready or wait in a lane.
    pub(in crate::web) backlog: u64,
    /// Jobs that a host holds.
    pub(in crate::web) in_flight: u64,
    /// Attempts that completed in a second.
    pub(in crate::web) completed: f64,
    /// Attempts that failed in a second.
    pub(in crate::web) failed: f64,
    /// For how long the oldest ready job has been due; none: no job is ready.
    pub(in crate::web) oldest_ms: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Point>);

impl History {
    pub(super) fn add(&mut self, sample: &Sample) {
        let totals = sample.totals();
        let oldest = sample.oldest_of_all();
        if self.0.len() >= MAX_POINTS {
            self.0.pop_front();
        }
        self.0.push_back(Point {
            at_ms: sample.time.as_millisecond(),
            backlog: totals.ready + totals.waiting,
            in_flight: totals.in_flight,
            completed: sample.fleet.rate.completed,
            failed: sample.fleet.rate.failed,
            oldest_ms: oldest.map(|(_, age)| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        });
    }

    pub(super) fn points(&self) -> Vec<Point> {
        self.0.iter().copied().collect()
    }
}
