//! The processor time of one attempt: what its thread uses while it polls the attempt, calls to the host included.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::sandbox::engine::ticker::Ticks;

/// Processor time used so far. Clones are the same attempt's: one measures the polls, the other is asked during a poll.
#[derive(Debug, Clone, Default)]
pub(in crate::sandbox) struct CpuTime(Arc<Clock>);

#[derive(Debug, Default)]
struct Clock {
    /// Nanoseconds of the polls that are over.
    used: AtomicU64,
    /// The thread's processor time when the poll under way began, in nanoseconds.
    began: AtomicU64,
    /// The same when the turn under way began. A poll is one turn, unless it begins another.
    turn_began: AtomicU64,
    /// The ticks that had passed when the poll began, or at the last call of [`CpuTime::has_ticked`].
    ticks: AtomicU64,
}

impl CpuTime {
    /// Used by polls that are over.
    pub(in crate::sandbox) fn used(&self) -> Duration {
        Duration::from_nanos(self.0.used.load(Ordering::Relaxed))
    }

    /// Used until now, the poll under way included. Call it on the thread that polls, during the poll.
    pub(in crate::sandbox) fn used_now(&self) -> Duration {
        self.used() + Duration::from_nanos(thread_time().saturating_sub(self.0.began.load(Ordering::Relaxed)))
    }

    /// Whether a tick has passed since the poll began, or since the last call of this. Called after every call to the
    /// host, so it is cheap.
    pub(in crate::sandbox) fn has_ticked(&self, ticks: &Ticks) -> bool {
        let now = ticks.count();
        let ticked = self.0.ticks.load(Ordering::Relaxed) != now;
        if ticked {
            self.0.ticks.store(now, Ordering::Relaxed);
        }
        ticked
    }

    /// Used in the turn under way.
    pub(in crate::sandbox) fn used_in_turn(&self) -> Duration {
        Duration::from_nanos(thread_time().saturating_sub(self.0.turn_began.load(Ordering::Relaxed)))
    }

    /// Begins another turn in the same poll.
    pub(in crate::sandbox) fn begin_turn(&self) {
        self.0.turn_began.store(thread_time(), Ordering::Relaxed);
    }

    /// Measures a future.
    pub(in crate::sandbox) fn measure<'a, F: Future + Unpin>(&self, future: F, ticks: &'a Ticks) -> Measured<'a, F> {
        let cpu = self.clone();
        Measured { cpu, future, ticks }
    }
}

/// A future whose polls are measured.
pub(in crate::sandbox) struct Measured<'a, F> {
    cpu: CpuTime,
    future: F,
    ticks: &'a Ticks,
}

impl<F: Future + Unpin> Future for Measured<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let began = thread_time();
        self.cpu.0.began.store(began, Ordering::Relaxed);
        self.cpu.0.turn_began.store(began, Ordering::Relaxed);
        self.cpu.0.ticks.store(self.ticks.count(), Ordering::Relaxed);
        let polled = Pin::new(&mut self.future).poll(cx);
        let took = thread_time().saturating_sub(began);
        self.cpu.0.used.fetch_add(took, Ordering::Relaxed);
        polled
    }
}

/// Processor time of this thread, in nanoseconds.
fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
