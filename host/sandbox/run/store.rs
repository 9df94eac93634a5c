//! A store, with every bound of its attempt in force.

use wasmtime::{Engine, Store};

use super::interrupt;
use super::state::State;
use crate::config::Limit;

/// Puts an attempt's state into a store of its own.
pub(super) fn of(state: State, engine: &Engine) -> Store<State> {
    let handles = state.plugin.limits.size(Limit::Handles);
    let mut store = Store::new(engine, state);
    store.limiter_async(|state| &mut state.holdings);
    store.set_max_component_handles(handles);
    interrupt::watch(&mut store);
    store
}

/// Puts the bounds in force that an attempt uses up.
pub(super) fn rearm(store: &mut Store<State>) {
    let hostcall_bytes = store.data().plugin.limits.size(Limit::HostcallBytes);
    store.set_hostcall_fuel(hostcall_bytes);
    store.set_epoch_deadline(1);
}
