//! How an attempt is told to stop: by whoever decides it, or by the clock once its host's right to run the job has ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

/// A time of the machine's own clock, which goes on while the machine sleeps and is never set.
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

/// Tells attempts to stop, and may carry a time at which they must have stopped.
///
/// Timers are late: after a pause of the whole process (`SIGSTOP`, a suspended machine) threads go on before any timer has
/// fired. So [`Stop::is_cancelled`] looks at the clock itself.
#[derive(Debug)]
pub struct Stop {
    token: CancellationToken,
    /// Nanoseconds of [`Moment`] from which on it counts as cancelled.
    at_ns: AtomicU64,
}

impl Default for Stop {
    fn default() -> Self {
        Self::within(&CancellationToken::new())
    }
}

impl Stop {
    /// One that is cancelled together with `outer`.
    pub(crate) fn within(outer: &CancellationToken) -> Self {
        Self {
            token: outer.child_token(),
            at_ns: AtomicU64::new(u64::MAX),
        }
    }

    /// Has it count as cancelled from that time on, unless it is put off again.
    pub(crate) fn extend(&self, to: Duration) {
        let at_ns = u64::try_from(to.as_nanos()).unwrap_or(u64::MAX);
        self.at_ns.store(at_ns, Ordering::Release);
    }

    /// Tells whoever waits for it or asks.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// Whether nothing may start, and what runs must stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled() || Moment::now().0.as_nanos() >= u128::from(self.at_ns.load(Ordering::Acquire))
    }

    /// Resolves once it is cancelled. The end of its time alone does not wake who waits: whoever watches the clock cancels.
    pub async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// Runs `work` unless or until it is cancelled.
    pub async fn run_until_cancelled<F: Future>(&self, work: F) -> Option<F::Output> {
        self.token.run_until_cancelled(work).await
    }
}
