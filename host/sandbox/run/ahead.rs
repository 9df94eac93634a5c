//! Instances that are made before there is a job for them, on a worker that has little to do: each is used once, as any other.
//!
//! A guest whose start calls the host has none, see [`Ahead`](crate::sandbox::load::ahead::Ahead).

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::context::AttemptContext;
use super::deadline::{Deadline, Interrupt, TimeLimit};
use super::runner::Runner;
use super::state::State;
use super::store;
use super::thread_class::ThreadClass;
use super::warm::Warm;
use crate::sandbox::bindings::exports::kiln::job::handler::Job;
use crate::sandbox::load::Loaded;
use crate::sandbox::load::ahead::MadeAhead;
use crate::sandbox::load::plugin::Plugin;

/// What is needed to make one instance.
struct Making {
    runner: Arc<Runner>,
    loaded: Arc<Loaded>,
    plugin: Arc<Plugin>,
    thread_class: ThreadClass,
    counted: MadeAhead,
    /// Dropped last, as slots have to be.
    slots: OwnedSemaphorePermit,
}

impl Runner {
    /// Makes one more instance, if that pays and at least half of the slots are free: attempts have the rest.
    pub(super) fn make_ahead(self: &Arc<Self>, loaded: &Arc<Loaded>, plugin: &Arc<Plugin>) {
        // In which pool its attempts run is decided first, by those in instances of their own.
        let pays = loaded.ahead.pays() && !loaded.faults.are_wanted() && plugin.reuse == NonZeroU32::MIN;
        if !pays || !self.has_half_its_slots() {
            return;
        }
        let Some(counted) = loaded.ahead.begin() else {
            return;
        };
        let Ok(slots) = Arc::clone(&self.slots).try_acquire_many_owned(loaded.slots) else {
            return;
        };
        let thread_class = ThreadClass::default();
        let making = Making {
            runner: Arc::clone(self),
            loaded: Arc::clone(loaded),
            plugin: Arc::clone(plugin),
            thread_class: thread_class.clone(),
            counted,
            slots,
        };
        let heavy = self.heavy.clone();
        self.guests
            .spawn(async move { thread_class.run(Box::pin(making.make()), heavy).await });
    }
}

impl Making {
    /// Makes it under the bounds of an attempt, and has it wait for one.
    async fn make(self) {
        let (runner, plugin) = (&self.runner, &self.plugin);
        let (pre, context) = (self.loaded.pre.load_full(), AttemptContext::default());
        let deadline = Deadline::start(TimeLimit::of_start(&plugin.limits));
        let (plugin_of, class) = (Arc::clone(plugin), self.thread_class.clone());
        let state = State::new(plugin_of, &no_job(), deadline, &context, class, &runner.shared);
        let mut store = store::of(state, pre.engine());
        store.data_mut().running = Some(runner.ticker.running());
        store::rearm(&mut store);
        let cpu = store.data().cpu.clone();
        let instantiating = Box::pin(pre.instantiate_async(&mut store));
        let made = tokio::select! {
            biased;
            made = cpu.measure(instantiating, runner.ticker.ticks(), false) => made,
            () = async { tokio::time::sleep(deadline.remaining()).await } => Err(Interrupt::TimedOut.into()),
        };
        let state = store.data_mut();
        let handler = match made {
            Ok(handler) if !state.asks.any() => handler,
            _ => return self.loaded.ahead.never(),
        };
        state.running = None;
        state.holdings.started();
        state.thread_class.begin(state.holdings.is_large());
        if !runner.shared.memory_budget.has_half() {
            return;
        }
        let warm = Warm {
            store,
            handler,
            served: 0,
            _ahead: Some(self.counted),
        };
        runner.kept.put((warm, self.slots), &runner.slots);
        if plugin.is_retired() {
            // It was meanwhile, and what waited then is gone already.
            runner.kept.forget(plugin);
        }
    }
}

/// The job of a guest that is not called yet.
fn no_job() -> Job {
    Job {
        id: String::new(),
        name: String::new(),
        queue: String::new(),
        payload: String::new(),
        attempt: 0,
        max_attempts: 0,
        created_at_ms: 0,
        metadata: String::new(),
    }
}
