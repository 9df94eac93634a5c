//! Whether the store can be used. Reports an outage once when it begins and once when it ends, whoever notices it.

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
    /// Since when the store cannot be used; none while it can.
    since: Option<Instant>,
    /// Heartbeats that succeeded since the last error.
    beats: u32,
}

/// Heartbeats in a row that end an outage: one may succeed while other moves still fail.
const BEATS: u32 = 2;

impl Outage {
    /// No outage so far. Later ones are reported to `events`.
    pub(super) fn new(events: Events) -> Self {
        Self {
            state: Mutex::default(),
            over: Notify::new(),
            events,
        }
    }

    /// Whether the store cannot be used.
    pub(super) fn is_on(&self) -> bool {
        self.state.lock().since.is_some()
    }

    /// Records an error. False: the error says nothing about the store as a whole.
    pub(super) fn note(&self, err: &QueueError) -> bool {
        if !err.is_outage() {
            return false;
        }
        let mut state = self.state.lock();
        state.beats = 0;
        if state.since.is_none() {
            state.since = Some(Instant::now());
            // Reported under the lock, so that the end is never reported before the beginning.
            self.events.tell(Event::StoreAway { why: &err.to_string() });
        }
        true
    }

    /// A heartbeat has succeeded. All that wait may try again; if nothing fails until the next heartbeat, the outage is
    /// over.
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

    /// Waits about that long before the next try, but no longer than the outage: unless jobs are settled soon, others
    /// may take them over.
    pub(super) async fn wait(&self, about: Duration) {
        let _ = timeout(about.mul_f64(0.5 + fastrand::f64()), self.over.notified()).await;
    }
}
