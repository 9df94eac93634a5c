//! What ends an attempt from outside: its host's reasons, or an operator who cancels its job.
//!
//! A host stops every attempt under a lease at once ([`LeaseStop`]). An operator cancels one job, so each delivery also
//! has its own [`StopToken`].

use std::pin::pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Longest job id, in bytes, by which a running attempt can be cancelled. Ids come from producers, in any length.
pub const MAX_CANCEL_ID_BYTES: usize = 256;

/// A time by the machine's monotonic clock, which goes on while the machine sleeps and is never set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) Duration);

impl Moment {
    pub(crate) fn now() -> Self {
        #[cfg(target_os = "linux")]
        let time = clock_gettime(ClockId::Boottime);
        #[cfg(not(target_os = "linux"))]
        let time = clock_gettime(ClockId::Monotonic);
        Self(Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        ))
    }
}

/// Why an attempt has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The host shuts down, or its lease is about to end. The job goes back, and the attempt does not count.
    Host,
    /// An operator cancelled the job: it ends for good.
    Cancelled,
}

/// Stops everything that runs under one lease, at once or from a given time on.
///
/// Timers may fire late: after a pause of the whole process (`SIGSTOP`, a suspended machine) other threads run before
/// any timer has fired. So [`LeaseStop::is_stopped`] reads the clock itself.
#[derive(Debug)]
pub(crate) struct LeaseStop {
    token: CancellationToken,
    /// Nanoseconds of [`Moment`] from which on it counts as stopped.
    at_ns: AtomicU64,
}

impl LeaseStop {
    /// One that is stopped together with `outer`.
    pub(crate) fn within(outer: &CancellationToken) -> Self {
        Self {
            token: outer.child_token(),
            at_ns: AtomicU64::new(u64::MAX),
        }
    }

    /// Moves the time at which the lease counts as stopped to `to`. A later renewal moves it again.
    pub(crate) fn extend(&self, to: Duration) {
        let at_ns = u64::try_from(to.as_nanos()).unwrap_or(u64::MAX);
        self.at_ns.store(at_ns, Ordering::Release);
    }

    pub(crate) fn stop(&self) {
        self.token.cancel();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.token.is_cancelled() || Moment::now().0.as_nanos() >= u128::from(self.at_ns.load(Ordering::Acquire))
    }
}

/// Stops one attempt, and says why. One for each delivery.
///
/// Holds a few words in one allocation. A child of a [`CancellationToken`] would take its parent's lock when made and
/// when dropped, for every job.
#[derive(Debug)]
pub struct StopToken {
    lease: Arc<LeaseStop>,
    /// [`INTERRUPTED`], [`CANCELLED`] and [`CLOSED`].
    state: AtomicU8,
    changed: Notify,
    started: OnceLock<Started>,
}

/// What is known of an attempt once it starts.
#[derive(Debug)]
struct Started {
    job_id: Box<str>,
    at: Instant,
}

/// The host told this attempt alone to stop.
const INTERRUPTED: u8 = 1;

/// An operator cancelled the job before the attempt was over.
const CANCELLED: u8 = 1 << 1;

/// The attempt is over and can no longer be cancelled.
const CLOSED: u8 = 1 << 2;

impl Default for StopToken {
    /// One without a lease.
    fn default() -> Self {
        Self::under(&Arc::new(LeaseStop::within(&CancellationToken::new())))
    }
}

impl StopToken {
    /// One that is stopped with its lease.
    pub(crate) fn under(lease: &Arc<LeaseStop>) -> Self {
        Self {
            lease: Arc::clone(lease),
            state: AtomicU8::new(0),
            changed: Notify::new(),
            started: OnceLock::new(),
        }
    }

    /// What stops everything under the same lease.
    pub(crate) fn lease(&self) -> &Arc<LeaseStop> {
        &self.lease
    }

    /// Sets the id by which [`StopToken::cancel_job`] finds this attempt. An id longer than [`MAX_CANCEL_ID_BYTES`] is
    /// ignored.
    pub(crate) fn set_job_id(&self, id: &str) {
        if id.len() <= MAX_CANCEL_ID_BYTES {
            self.started.get_or_init(|| Started {
                job_id: id.into(),
                at: Instant::now(),
            });
        }
    }

    /// The id of the job that this stops, once set.
    pub(crate) fn job_id(&self) -> Option<&str> {
        self.started.get().map(|started| &*started.job_id)
    }

    /// How long ago that was set.
    pub(crate) fn runs_for(&self) -> Option<Duration> {
        self.started.get().map(|started| started.at.elapsed())
    }

    /// Stops the attempt for the host's sake: its job goes back to its queue.
    pub fn interrupt(&self) {
        self.state.fetch_or(INTERRUPTED, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    /// Stops the attempt because an operator cancelled its job. False: the attempt is already over.
    pub fn cancel(&self) -> bool {
        let in_time = |state| (state & CLOSED == 0).then_some(state | CANCELLED);
        let cancelled = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, in_time)
            .is_ok();
        self.changed.notify_waiters();
        cancelled
    }

    /// Cancels the attempt if it runs the job with this id. False: it runs another job, or is already over.
    pub(crate) fn cancel_job(&self, id: &str) -> bool {
        self.job_id().is_some_and(|of| of == id) && self.cancel()
    }

    /// Ends the time in which the job can be cancelled, since its fate is decided next. Returns why the attempt had to
    /// stop, if it had to.
    pub fn close(&self) -> Option<StopReason> {
        self.state.fetch_or(CLOSED, Ordering::AcqRel);
        self.reason()
    }

    /// Why the attempt has to stop; none if it may start or go on.
    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        match self.state.load(Ordering::Acquire) {
            state if state & CANCELLED != 0 => Some(StopReason::Cancelled),
            state if state & INTERRUPTED != 0 || self.lease.is_stopped() => Some(StopReason::Host),
            _ => None,
        }
    }

    /// Whether the attempt has to stop, or must not start.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.reason().is_some()
    }

    /// Resolves once the attempt is told to stop. The end of a lease's time alone does not wake this: the host watches
    /// the clock and then stops the lease.
    pub async fn stopped(&self) {
        let mut changed = pin!(self.changed.notified());
        // Registers before it checks, so that a stop between the two is not missed.
        changed.as_mut().enable();
        if self.state.load(Ordering::Acquire) & (INTERRUPTED | CANCELLED) != 0 {
            return;
        }
        tokio::select! {
            () = changed => {}
            () = self.lease.token.cancelled() => {}
        }
    }

    /// Runs `work` unless or until the attempt is told to stop.
    pub async fn run_until_stopped<F: Future>(&self, work: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.stopped() => None,
            done = work => Some(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> (Arc<LeaseStop>, StopToken) {
        let lease = Arc::new(LeaseStop::within(&CancellationToken::new()));
        let token = StopToken::under(&lease);
        (lease, token)
    }

    #[tokio::test]
    async fn cancelling_one_job_stops_it_and_no_other_of_its_lease() {
        let (lease, one) = token();
        let other = StopToken::under(&lease);
        one.set_job_id("1");
        other.set_job_id("2");
        assert!(!other.cancel_job("1") && one.cancel_job("1"));
        one.stopped().await;
        assert_eq!((one.reason(), other.reason()), (Some(StopReason::Cancelled), None));
        lease.stop();
        other.stopped().await;
        assert_eq!(
            (one.reason(), other.reason()),
            (Some(StopReason::Cancelled), Some(StopReason::Host))
        );
    }

    #[tokio::test]
    async fn whoever_waits_already_hears_of_it() {
        let (_lease, token) = token();
        let mut waiting = pin!(token.stopped());
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        assert!(token.cancel());
        waiting.await;
        assert!(token.run_until_stopped(std::future::pending::<()>()).await.is_none());
    }

    #[test]
    fn an_attempt_that_is_over_cannot_be_cancelled() {
        let (_lease, token) = token();
        assert_eq!((token.close(), token.cancel(), token.reason()), (None, false, None));
        token.interrupt();
        assert_eq!(token.reason(), Some(StopReason::Host), "the host may always stop it");
    }

    #[test]
    fn a_lease_stops_what_runs_under_it_from_its_time_on() {
        let (lease, token) = token();
        lease.extend(Moment::now().0 + Duration::from_mins(1));
        assert!(!token.is_stopped());
        lease.extend(Moment::now().0);
        assert_eq!(token.reason(), Some(StopReason::Host));
    }

    #[test]
    fn an_id_beyond_the_bound_is_not_remembered() {
        for (len, found) in [(MAX_CANCEL_ID_BYTES, true), (MAX_CANCEL_ID_BYTES + 1, false)] {
            let ((_lease, token), id) = (token(), "i".repeat(len));
            token.set_job_id(&id);
            assert_eq!(token.cancel_job(&id), found, "{len}");
        }
    }
}
