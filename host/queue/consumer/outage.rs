//! Whether the store can be used, and telling of it: once when it begins, once when it is over, whoever meets it first.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::queue::error::QueueError;

/// Whether the store can be used.
#[derive(Debug, Default)]
pub(super) struct Outage {
    state: Mutex<State>,
    over: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Since when it cannot; none while it can.
    since: Option<Instant>,
    /// Heartbeats that succeeded since the last error.
    beats: u32,
}

/// Heartbeats in a row that end an outage: one may succeed while other moves still fail.
const BEATS: u32 = 2;

impl Outage {
    /// Takes note of an error. False: it says nothing about the store as a whole.
    pub(super) fn note(&self, err: &QueueError) -> bool {
        if !err.is_outage() {
            return false;
        }
        let mut state = self.state.lock();
        state.beats = 0;
        if state.since.is_none() {
            state.since = Some(Instant::now());
            tracing::error!(%err, "the store cannot be used; what runs goes on, settlements wait");
        }
        true
    }

    /// A heartbeat has succeeded: whoever waits may try again, and if nothing fails until the next, the outage is over.
    pub(super) fn beat(&self) {
        let mut state = self.state.lock();
        let Some(since) = state.since else { return };
        state.beats += 1;
        if state.beats >= BEATS {
            state.since = None;
            let outage_s = (since.elapsed().as_secs_f64() * 10.0).round() / 10.0;
            tracing::info!(outage_s, "the store can be used again");
        }
        self.over.notify_waiters();
    }

    /// Waits about that long before something is tried again, but not beyond the end of the outage: others may take over
    /// what is not settled soon.
    pub(super) async fn wait(&self, about: Duration) {
        let _ = timeout(about.mul_f64(0.5 + fastrand::f64()), self.over.notified()).await;
    }
}
