//! What a host knows of its lease on one queue, by its own clock: until when it may run what it holds.
//!
//! Redis' clock decides when others take over. This one is read before Redis is asked, so it is never later.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::queue::queue_name::QueueName;
use crate::stop::{LeaseStop, Moment};

/// How long a host may be silent before others take over what it holds. Recovery after a crash takes this long and no
/// more; much less, and a pause of a busy machine would pass for a crash.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(10);

/// How long a host must have been in touch, or another be known to be dead, before anything is taken over: at most half a
/// lease, and long enough for any host that can to be back.
const REAP_AFTER: Duration = Duration::from_secs(5);

/// A claim on what this host holds of one queue.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) queue: QueueName,
    length: Duration,
    /// Ends what runs under any lease of this host.
    every: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Since when it has been good without a break; none while it is not.
    since: Option<Moment>,
    ends: Moment,
    /// Ends what runs under the lease as it is now.
    running: Arc<LeaseStop>,
}

impl Lease {
    pub(super) fn new(queue: QueueName, length: Duration, every: CancellationToken) -> Self {
        let state = State {
            since: None,
            ends: Moment(Duration::ZERO),
            running: Arc::new(LeaseStop::within(&every)),
        };
        Self {
            queue,
            length,
            every,
            state: Mutex::new(state),
        }
    }

    /// Stopped when what was fetched now must stop.
    pub(super) fn running(&self) -> Arc<LeaseStop> {
        Arc::clone(&self.state().running)
    }

    /// Redis has put the lease off, having been asked at `asked`.
    pub(super) fn renewed(&self, asked: Moment) {
        let mut state = self.state();
        state.ends = state.ends.max(Moment(asked.0 + self.length));
        state.since.get_or_insert(asked);
        state.running.extend(self.stops(&state));
    }

    /// Redis says that it had run out: stops what runs under it. Whether anything did.
    pub(super) fn ran_out(&self) -> bool {
        self.stop(&mut self.state())
    }

    /// Stops what runs under it if it is about to end, and returns how long until it is.
    pub(super) fn stop_in_time(&self) -> Result<Duration, Stopped> {
        let mut state = self.state();
        if state.since.is_none() {
            return Ok(self.length);
        }
        match self.stops(&state).checked_sub(Moment::now().0) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => {
                self.stop(&mut state);
                Err(Stopped)
            }
        }
    }

    /// For how long a host must be known to be dead before this one takes over what it held. None for a host that has been
    /// in touch for a while. One that has just joined, or has just been out of touch, cannot tell whether the store was away:
    /// then the others need a moment to come back as well.
    pub(super) fn patience(&self) -> Duration {
        let (since, patience) = (self.state().since, REAP_AFTER.min(self.length / 2));
        match since {
            Some(since) if Moment::now().0.saturating_sub(since.0) >= patience => Duration::ZERO,
            _ => patience,
        }
    }

    /// When what runs under it has to stop: interrupted guests have the last tenth to do so.
    fn stops(&self, state: &State) -> Duration {
        state.ends.0.saturating_sub(self.length / 10)
    }

    fn stop(&self, state: &mut State) -> bool {
        let ran = state.since.take().is_some();
        state.running.stop();
        state.running = Arc::new(LeaseStop::within(&self.every));
        ran
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// What ran under a lease has been told to stop.
#[derive(Debug)]
pub(super) struct Stopped;
