//! The processor time of one attempt: measured while its guest is polled, on whatever thread that happens. What its calls
//! to the host take is part of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::sandbox::engine::ticker::Ticks;

/// Processor time used so far. Clones share it: one measures, another asks in between.
#[derive(Debug, Clone, Default)]
pub(in crate::sandbox) struct CpuTime(Arc<Clock>);

#[derive(Debug, Default)]
struct Clock {
    /// Nanoseconds of the polls that are over.
    used: AtomicU64,
    /// The thread's processor time when the poll under way began, in nanoseconds.
    began: AtomicU64,
    /// The ticks there had been by then.
    ticks: AtomicU64,
}

impl CpuTime {
    /// Used by polls that are over.
    pub(in crate::sandbox) fn used(&self) -> Duration {
        Duration::from_nanos(self.0.used.load(Ordering::Relaxed))
    }

    /// Used until now. To be asked on the thread that polls, during a poll.
    pub(in crate::sandbox) fn used_now(&self) -> Duration {
        self.used() + Duration::from_nanos(thread_time().saturating_sub(self.0.began.load(Ordering::Relaxed)))
    }

    /// Whether the poll under way began before the last tick. Asked at every call to the host.
    pub(in crate::sandbox) fn is_turn_over(&self, ticks: &Ticks) -> bool {
        self.0.ticks.load(Ordering::Relaxed) != ticks.count()
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
