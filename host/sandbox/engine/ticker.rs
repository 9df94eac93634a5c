//! The thread that lets running guests be interrupted.
//!
//! Every tick begins another epoch of each engine, upon which each running guest is asked whether it has to stop. While no
//! guest runs the thread sleeps. It holds the engines weakly and ends with them. Nothing else ends it: a guest that outlives
//! the sandbox still has to be interrupted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::Mutex;
use wasmtime::{Engine, EngineWeak};

use crate::config::EPOCH_TICK;

/// Ticks without a running guest before the thread sleeps: waking it costs more than ticking through a short pause.
const IDLE_TICKS: u32 = 50;

/// How often the sleeping thread checks whether its engine is gone.
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// Longest nap of a guest that keeps its thread: after it the guest is asked again whether it has to stop.
const MAX_NAP: Duration = Duration::from_millis(100);

/// Counts running attempts and wakes the thread for the first of them.
pub(in crate::sandbox) struct Ticker {
    state: Arc<State>,
    thread: Thread,
}

#[derive(Default)]
struct State {
    engines: Mutex<Vec<EngineWeak>>,
    running: AtomicUsize,
    asleep: AtomicBool,
    /// Guests that nap.
    napping: AtomicU32,
    /// Turns of the thread, those in which no guest ran included.
    turns: AtomicU64,
    ticks: Ticks,
}

/// Counts epochs that have ended. It has a cache line of its own, because attempts read it often and write the counters
/// beside it.
#[derive(Default)]
#[repr(align(64))]
pub(in crate::sandbox) struct Ticks(AtomicU64);

impl Ticks {
    pub(in crate::sandbox) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// While this lives, epochs advance.
pub(in crate::sandbox) struct Running(Arc<State>);

impl Ticker {
    pub(in crate::sandbox) fn start(engine: &Engine) -> io::Result<Self> {
        let state = Arc::new(State::default());
        state.engines.lock().push(engine.weak());
        let seen = Arc::clone(&state);
        let thread = thread::Builder::new()
            .name("kiln-epoch".into())
            .spawn(move || tick(&seen))?;
        Ok(Self {
            state,
            thread: thread.thread().clone(),
        })
    }

    /// Interrupts the guests of another engine as well.
    pub(in crate::sandbox) fn also(&self, engine: &Engine) {
        self.state.engines.lock().push(engine.weak());
    }

    pub(in crate::sandbox) fn ticks(&self) -> &Ticks {
        &self.state.ticks
    }

    pub(in crate::sandbox) fn turns(&self) -> u64 {
        self.state.turns.load(Ordering::Relaxed)
    }

    /// Notes one more running attempt.
    pub(in crate::sandbox) fn running(&self) -> Running {
        self.state.running.fetch_add(1, Ordering::SeqCst);
        if self.state.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(Arc::clone(&self.state))
    }
}

impl Running {
    pub(in crate::sandbox) fn ticks(&self) -> &Ticks {
        &self.0.ticks
    }

    /// Sleeps for a tick for each guest that naps.
    pub(in crate::sandbox) fn nap(&self) {
        let napping = self.0.napping.fetch_add(1, Ordering::Relaxed) + 1;
        thread::sleep((EPOCH_TICK * napping).min(MAX_NAP));
        self.0.napping.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tick(state: &State) {
    let mut idle = 0;
    loop {
        state.turns.fetch_add(1, Ordering::Relaxed);
        let engines: Vec<_> = state.engines.lock().iter().filter_map(EngineWeak::upgrade).collect();
        if engines.is_empty() {
            return;
        }
        if state.running.load(Ordering::SeqCst) > 0 {
            engines.iter().for_each(Engine::increment_epoch);
            state.ticks.0.fetch_add(1, Ordering::Relaxed);
            idle = 0;
        } else {
            idle += 1;
        }
        drop(engines);
        if idle < IDLE_TICKS {
            thread::sleep(EPOCH_TICK);
        } else {
            sleep(state);
            idle = 0;
        }
    }
}

/// Sleeps until an attempt starts. It notes that it sleeps before it looks for the last time, so that no start is missed.
fn sleep(state: &State) {
    state.asleep.store(true, Ordering::SeqCst);
    if state.running.load(Ordering::SeqCst) == 0 {
        thread::park_timeout(IDLE_WAIT);
    }
    state.asleep.store(false, Ordering::SeqCst);
}
