//! How much is in a queue, and who serves it.

use std::collections::BTreeMap;

use super::orders::Pause;

/// How many jobs of a queue are in which state, and who serves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Ready jobs.
    pub ready: u64,
    /// Jobs that wait in lanes, until a host has room for them.
    pub waiting: u64,
    /// Jobs waiting for their time.
    pub delayed: u64,
    /// Jobs that a host holds.
    pub in_flight: u64,
    /// How many of the waiting jobs are in which lane.
    pub lanes: BTreeMap<String, u64>,
    /// The hosts that serve the queue.
    pub hosts: BTreeMap<String, HostState>,
    /// Who paused the queue, when and why; none: it is not paused.
    pub paused: Option<Pause>,
}

/// What the store knows of a host that serves a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct HostState {
    /// What its lease has left; below zero, the host is dead and its jobs are about to be taken over.
    pub lease_left_ms: i64,
    /// Jobs it holds.
    pub in_flight: u64,
}

impl Counts {
    /// Whether nothing is ready, waiting, delayed or in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready == 0 && self.waiting == 0 && self.delayed == 0 && self.in_flight == 0
    }
}
