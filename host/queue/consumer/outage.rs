//! Whether the store can be used, and telling of it: once when it begins, once when it is over, whoever meets it first.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::events::{Event, Events};
use crate::queue::error::QueueError;

/// Whether the store can be used.
#[derive(Debug)]
pub(super) struct Outage {
    state: Mutex<State>,
    over: Notify,
    events: Events,
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
    /// None so far. Tells when one begins and when it is over.
    pub(super) fn new(events: Events) -> Self {
        Self {
            state: Mutex::default(),
            over: Notify::new(),
            events,
        }
    }

    /// Takes note of an error. False: it says nothing about the store as a whole.
    pub(super) fn note(&self, err: &QueueError) -> bool {
        if !err.is_outage() {
            return false;
        }
        let mut state = self.state.lock();
        state.beats = 0;
        if state.since.is_none() {
            state.since = Some(Instant::now());
            // Under the lock, so that nobody hears of the end before the beginning.
            self.events.tell(Event::StoreAway { why: &err.to_string() });
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
            let after = since.elapsed();
            self.events.tell(Event::StoreBack { after });
        }
        self.over.notify_waiters();
    }

    /// Waits about that long before something is tried again, but not beyond the end of the outage: others may take over
    /// what is not settled soon.
    pub(super) async fn wait(&self, about: Duration) {
        let _ = timeout(about.mul_f64(0.5 + fastrand::f64()), self.over.notified()).await;
    }
}
