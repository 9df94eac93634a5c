//! The processor time of one attempt: what its thread uses while it polls the attempt, calls to the host included.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::page_faults;
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
    /// Page faults of the polls that are over, where they are counted.
    faults: AtomicU64,
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

    /// Measures a future, and counts its page faults if that is asked for, which takes some microseconds.
    pub(in crate::sandbox) fn measure<'a, F: Future + Unpin>(
        &self,
        future: F,
        ticks: &'a Ticks,
        faults: bool,
    ) -> Measured<'a, F> {
        let cpu = self.clone();
        Measured {
            cpu,
            future,
            ticks,
            faults,
        }
    }

    /// Page faults of polls that are over.
    pub(in crate::sandbox) fn faults(&self) -> u64 {
        self.0.faults.load(Ordering::Relaxed)
    }
}

/// A future whose polls are measured.
pub(in crate::sandbox) struct Measured<'a, F> {
    cpu: CpuTime,
    future: F,
    ticks: &'a Ticks,
    faults: bool,
}

impl<F: Future + Unpin> Future for Measured<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let faults = self.faults.then(page_faults::of_this_thread).flatten();
        let began = about_thread_time();
        self.cpu.0.began.store(began, Ordering::Relaxed);
        self.cpu.0.turn_began.store(began, Ordering::Relaxed);
        self.cpu.0.ticks.store(self.ticks.count(), Ordering::Relaxed);
        let polled = Pin::new(&mut self.future).poll(cx);
        let took = about_thread_time().saturating_sub(began);
        self.cpu.0.used.fetch_add(took, Ordering::Relaxed);
        if let Some((before, now)) = faults.zip(self.faults.then(page_faults::of_this_thread).flatten()) {
            self.cpu.0.faults.fetch_add(now - before, Ordering::Relaxed);
        }
        polled
    }
}

/// Longest step by the clock that counts as processor time of this thread. In so short a time it was hardly interrupted, and
/// it cannot have used more.
const STEP: Duration = Duration::from_micros(50);

/// For how long steps are added up before the kernel is asked again.
const STEPS: Duration = Duration::from_millis(1);

/// Processor time of this thread, in nanoseconds, and when it was told or reckoned.
#[derive(Clone, Copy)]
struct Reckoned {
    used: u64,
    at: Instant,
    told: Instant,
}

thread_local! {
    static RECKONED: Cell<Option<Reckoned>> = const { Cell::new(None) };
}

/// Processor time of this thread, in nanoseconds, at most a millisecond more than it is. To ask the kernel costs a system
/// call, twice for each attempt; the clock costs a tenth of one. A thread that goes from attempt to attempt asks once in a
/// millisecond.
fn about_thread_time() -> u64 {
    let now = Instant::now();
    let reckoned = RECKONED
        .get()
        .filter(|last| now - last.at < STEP && now - last.told < STEPS);
    let reckoned = match reckoned {
        Some(last) => Reckoned {
            used: last.used + u64::try_from((now - last.at).as_nanos()).unwrap_or(0),
            at: now,
            told: last.told,
        },
        None => Reckoned {
            used: thread_time(),
            at: now,
            told: now,
        },
    };
    RECKONED.set(Some(reckoned));
    reckoned.used
}

/// Processor time of this thread, in nanoseconds.
fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
