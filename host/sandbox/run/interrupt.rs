//! Where a running guest is asked whether it has to stop, and lets others run.
//!
//! While it computes, the engine asks: at every function and every turn of a loop, once in a tick. It does not between two
//! calls to the host in a row, and one such call may take milliseconds; so there the question is asked after the call.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::yield_now;
use wasmtime::{CallHook, CallHookHandler, Store, StoreContextMut, UpdateDeadline};

use super::deadline::Interrupt;
use super::state::State;
use crate::config::Limit;

/// Processor time from which on an attempt runs among the heavy ones, a few ticks. What answers at once, or mostly waits,
/// never gets there, and never has to wait for the turns of those that do.
const LIGHT_CPU: Duration = Duration::from_millis(10);

/// Has the guests of a store be asked.
pub(in crate::sandbox) fn watch(store: &mut Store<State>) {
    store.epoch_deadline_callback(|store| {
        ask(store.data())?;
        Ok(UpdateDeadline::Yield(1))
    });
    store.call_hook_async(AfterCalls);
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

/// Asks after calls to the host.
struct AfterCalls;

type Asked<'a> = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send + 'a>>;

impl CallHookHandler<State> for AfterCalls {
    /// Called for every change between guest and host. That of nearly all of them costs no allocation is why this is no
    /// async function.
    fn handle_call_event<'a, 'b, 'c>(&'a self, store: StoreContextMut<'b, State>, event: CallHook) -> Asked<'c>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        let state = store.data();
        let is_turn_over = || {
            let running = state.running.as_ref();
            running.is_some_and(|running| state.cpu.is_turn_over(running.ticks()))
        };
        if !matches!(event, CallHook::ReturningFromHost) || !is_turn_over() {
            // A box of nothing.
            return Box::pin(GoesOn);
        }
        Box::pin(async move {
            ask(store.data())?;
            yield_now().await;
            // It may have waited long for its turn, and the next call may take long, too.
            Ok(ask(store.data())?)
        })
    }
}

/// The future of a guest that goes on.
struct GoesOn;

impl Future for GoesOn {
    type Output = wasmtime::Result<()>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(()))
    }
}
