//! A host's lease on one queue by the host's own clock: until when it may run its jobs.
//!
//! Redis' clock decides when others take over. The host reads its own clock before it asks Redis, so its idea of the
//! end is never too late.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::queue::queue_name::QueueName;
use crate::stop::{LeaseStop, Moment};

/// How long a host may be silent before others take over its jobs. Recovery after a crash takes this long. With much
/// less, a pause of a busy machine would pass for a crash.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(10);

/// How long this host must have been in touch, or the other be known to be dead, before it takes over: at most half a
/// lease. Long enough for every host that can come back to do so.
const REAP_AFTER: Duration = Duration::from_secs(5);

/// This host's lease on one queue.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) queue: QueueName,
    length: Duration,
    /// Stops the attempts under all leases of this host.
    every: CancellationToken,
    state: Mutex<State>,
    /// When the next lease on the queue ends, whoever has it.
    next: Mutex<Option<Moment>>,
}

#[derive(Debug)]
struct State {
    /// Since when the lease has been good without a break; none while it is not good.
    since: Option<Moment>,
    ends: Moment,
    /// Stops the attempts under the present lease.
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
            next: Mutex::default(),
        }
    }

    /// Takes note of when the next lease on the queue ends.
    pub(super) fn next_ends_in(&self, wait: Option<Duration>) {
        *self.next.lock() = wait.map(|wait| Moment(Moment::now().0 + wait));
    }

    /// How long until then. Tells it once: after that somebody has to look again.
    pub(super) fn next_end(&self) -> Option<Duration> {
        let next = self.next.lock().take()?;
        Some(next.0.saturating_sub(Moment::now().0))
    }

    /// The stop for what the store was asked for at `asked` and has given. It is stopped at once unless the lease has been good
    /// ever since: others may have taken these jobs over.
    pub(super) fn running_since(&self, asked: Moment) -> Arc<LeaseStop> {
        let state = self.state();
        if state.since.is_some_and(|since| since <= asked) {
            return Arc::clone(&state.running);
        }
        let over = LeaseStop::within(&self.every);
        over.stop();
        Arc::new(over)
    }

    /// Redis has renewed the lease, and was asked at `asked`. Returns whether that came too late for what ran under it.
    ///
    /// What had to stop before does not go on because of it. Redis calls a lease kept also if it ran out and the answer to
    /// an earlier renewal, which said so, was lost: by then others may have taken the jobs over.
    pub(super) fn renewed(&self, asked: Moment) -> bool {
        let mut state = self.state();
        let late = state.since.is_some() && self.stops(&state) <= Moment::now().0;
        if late {
            self.stop(&mut state);
        }
        state.ends = state.ends.max(Moment(asked.0 + self.length));
        state.since.get_or_insert(asked);
        state.running.extend(self.stops(&state));
        late
    }

    /// Redis says that the lease had run out: stops what runs under it. Returns whether it was thought to be good.
    pub(super) fn ran_out(&self) -> bool {
        self.stop(&mut self.state())
    }

    /// Stops the attempts if the lease is about to end, or returns the time until then.
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

    /// How long the lease is still good; zero while it is not.
    pub(super) fn left(&self) -> Duration {
        let state = self.state();
        let left = state.ends.0.saturating_sub(Moment::now().0);
        state.since.map_or(Duration::ZERO, |_| left)
    }

    /// How long another host must be known to be dead before this one takes over its jobs. Zero if this host has been
    /// in touch for a while. If this host has just joined or was out of touch, the store may have been away, and then
    /// the other hosts need a moment to come back as well.
    pub(super) fn patience(&self) -> Duration {
        let (since, patience) = (self.state().since, REAP_AFTER.min(self.length / 2));
        match since {
            Some(since) if Moment::now().0.saturating_sub(since.0) >= patience => Duration::ZERO,
            _ => patience,
        }
    }

    /// When the attempts have to stop: interrupted guests have the last tenth of the lease to do so.
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

/// The attempts under a lease have been told to stop.
#[derive(Debug)]
pub(super) struct Stopped;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_had_to_stop_does_not_go_on_once_the_lease_is_renewed() {
        let length = Duration::from_secs(10);
        let queue = QueueName::new("default").expect("a name");
        let lease = Lease::new(queue, length, CancellationToken::new());
        let percent_ago = |percent| Moment(Moment::now().0.saturating_sub(length * percent / 100));
        assert!(!lease.renewed(percent_ago(95)), "a new lease ends nothing");
        let ran = lease.running_since(Moment::now());
        assert!(ran.is_stopped(), "the last tenth is for stopping");
        assert!(lease.renewed(Moment::now()));
        let runs = lease.running_since(Moment::now());
        assert!(ran.is_stopped() && !runs.is_stopped());
        assert!(
            !lease.renewed(percent_ago(95)) && !runs.is_stopped(),
            "an older answer takes nothing away"
        );
        assert!(
            lease.running_since(percent_ago(95)).is_stopped(),
            "asked for under the lease before"
        );
    }
}
