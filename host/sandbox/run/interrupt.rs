//! Where a running guest is asked whether it has to stop, and lets others run.
//!
//! While a guest computes, the engine asks it at every function and every turn of a loop, once in a tick, and there it also
//! yields to the other guests of its thread. Between two calls to the host in a row there is no such place, and one call, or
//! one instruction that copies much memory, may take milliseconds. So after each of them the guest is asked as well; but
//! there it cannot yield. Nearly every guest comes to a function or a loop at once. One that does not, for two ticks of
//! processor time, lets go of its thread and naps.

use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;
use wasmtime::{CallHook, Store, UpdateDeadline};

use super::deadline::Interrupt;
use super::state::State;
use crate::config::{EPOCH_TICK, Limit};
use crate::sandbox::engine::ticker::Running;

/// Processor time from which on an attempt runs on the threads for heavy ones: a few ticks. An attempt that answers at once,
/// or mostly waits, stays below it, and does not wait for the turns of those that compute.
const LIGHT_CPU: Duration = Duration::from_millis(10);

/// Processor time after which a guest naps. Only one that makes call after call to the host comes so far: others yield
/// at a tick.
const LONG_TURN: Duration = EPOCH_TICK.saturating_mul(2);

/// Makes the engine ask the guest of a store whether it has to stop: at each tick, and after each call to the host.
pub(super) fn watch(store: &mut Store<State>) {
    store.epoch_deadline_callback(|mut store| {
        store.data_mut().asks.is_tick = true;
        ask(store.data())?;
        Ok(UpdateDeadline::Yield(1))
    });
    // Called at every change between guest and host, some thirty times a job. The variant that can yield costs twice as
    // much each time.
    store.call_hook(|mut store, event| {
        if matches!(event, CallHook::ReturningFromHost) {
            store.data_mut().asks.count();
            after_call(store.data())?;
        }
        Ok(())
    });
}

/// Why the guest has to stop, if it has to.
fn ask(state: &State) -> Result<(), Interrupt> {
    if state.stop.is_stopped() {
        return Err(Interrupt::Stopped);
    }
    if state.deadline.is_over() {
        return Err(Interrupt::TimedOut);
    }
    let used = state.cpu.used_now();
    if used > state.plugin.limits.time(Limit::CpuTime) {
        return Err(Interrupt::OutOfCpu);
    }
    if used > LIGHT_CPU {
        state.thread_class.leave();
    }
    Ok(())
}

/// Asks a guest that comes back from the host, once in a tick.
fn after_call(state: &State) -> Result<(), Interrupt> {
    let Some(running) = &state.running else {
        return Ok(());
    };
    if !state.cpu.has_ticked(running.ticks()) {
        return Ok(());
    }
    ask(state)?;
    if state.cpu.used_in_turn() < LONG_TURN {
        return Ok(());
    }
    let_others_run(running);
    state.cpu.begin_turn();
    // The nap may have been long, and the next call may take long, too.
    ask(state)
}

/// Gives up the guest's shared thread and naps: one tick for each guest that naps. Another thread runs what this one
/// was to run next. So all such guests together take the time of one thread.
fn let_others_run(running: &Running) {
    // The runtime of an attempt's caller may have one thread only, and so no other to go on with.
    let shared = Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if shared {
        block_in_place(|| running.nap());
    }
}
