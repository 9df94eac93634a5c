//! One attempt: a store with every bound in force, the call, and what it came to.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::{Engine, Store};

use super::context::AttemptContext;
use super::deadline::{Deadline, Interrupt, TimeLimit};
use super::runner::Runner;
use super::state::State;
use super::store;
use super::thread_class::ThreadClass;
use super::verdict::{self, Facts, Returned};
use super::warm::Warm;
use crate::aside::aside;
use crate::outcome::{Asked, Attempt, Outcome, Report};
use crate::sandbox::bindings::JobHandler;
use crate::sandbox::bindings::exports::kiln::job::handler::Job as GuestJob;
use crate::sandbox::capabilities::LateDenial;
use crate::sandbox::load::Loaded;
use crate::sandbox::load::plugin::Plugin;
use crate::stop::StopReason;

/// The right to one attempt: a permit under the plugin's `concurrency`, and permits for the pool slots beyond its
/// first.
#[derive(Debug)]
pub struct PluginPermit {
    pub(super) _permit: Option<OwnedSemaphorePermit>,
    pub(super) _spare: Option<OwnedSemaphorePermit>,
}

/// What an attempt runs in: slots of the pool, and the instance that is kept in them, if there is one.
pub(super) struct PoolSlots {
    pub(super) warm: Option<Warm>,
    pub(super) thread_class: ThreadClass,
    /// Must be dropped after `warm`, here and elsewhere: slots are free only once their instance is gone.
    pub(super) slots: OwnedSemaphorePermit,
}

/// One attempt, ready to run on a guest thread.
pub(super) struct PreparedAttempt {
    pub(super) runner: Arc<Runner>,
    pub(super) loaded: Arc<Loaded>,
    pub(super) plugin: Arc<Plugin>,
    pub(super) job: GuestJob,
    pub(super) deadline: Deadline,
    pub(super) context: AttemptContext,
    /// Dropped last: the next attempt finds nothing of this one left.
    pub(super) _permit: PluginPermit,
}

impl PreparedAttempt {
    /// Runs the attempt on this thread, and moves it to the threads for heavy attempts once it becomes heavy.
    pub(super) fn run_anywhere(self, pool_slots: PoolSlots) -> impl Future<Output = Attempt> {
        let (thread_class, heavy) = (pool_slots.thread_class.clone(), self.runner.heavy.clone());
        let attempt = Box::pin(self.run(pool_slots));
        async move { thread_class.run(attempt, heavy).await }
    }

    async fn run(self, pool_slots: PoolSlots) -> Attempt {
        let (deadline, context) = (self.deadline, &self.context);
        // The attempt may have waited long for a guest thread.
        if context.stop.is_stopped() {
            return never_ran(&self.plugin, self.job.attempt, deadline.limit(), context);
        }
        let pre = self.loaded.pre.load_full();
        let (mut store, known, served) = self.store(pre.engine(), pool_slots.thread_class, pool_slots.warm);
        let (cpu, late_denial) = (store.data().cpu.clone(), store.data().late_denial());
        let made_ahead = known.is_some() && served == 1;
        let counts_faults = known.is_none() && self.loaded.faults.are_wanted();
        let call = Box::pin(async {
            let handler = if let Some(handler) = known {
                handler
            } else {
                let handler = pre.instantiate_async(&mut store).await?;
                store.data_mut().holdings.started();
                self.loaded.ahead.note(deadline.elapsed(), store.data().asks.any());
                // An instance with much memory has moved to the heavy threads, and may have waited for one.
                if context.stop.is_stopped() {
                    return Err(Interrupt::Stopped.into());
                }
                handler
            };
            store.data_mut().instantiate = Some(deadline.elapsed());
            let answer = handler.kiln_job_handler().call_handle(&mut store, &self.job).await?;
            Ok((answer, handler))
        });
        // A guest that computes is interrupted by the epoch, one that waits in the host by what follows.
        let called: wasmtime::Result<_> = tokio::select! {
            biased;
            called = cpu.measure(call, self.runner.ticker.ticks(), counts_faults) => called,
            denied = LateDenial::of(late_denial) => Err(denied.into()),
            () = context.stop.stopped() => Err(Interrupt::Stopped.into()),
            // A timer is set only for a guest that waits.
            () = async { tokio::time::sleep(deadline.remaining()).await } => Err(Interrupt::TimedOut.into()),
        };
        let mut report = Report {
            made_ahead,
            ..store.data().report()
        };
        if counts_faults && called.is_ok() {
            let memory = store.data().holdings.memory();
            self.runner.note_faults(&self.loaded, cpu.faults(), memory);
        }
        let asked = store.data_mut().take_asked();
        let returned: Returned = match called {
            Ok((answer, handler)) => {
                let warm = Warm {
                    store,
                    handler,
                    served,
                    _ahead: None,
                };
                self.keep((warm, pool_slots.slots));
                self.runner.make_ahead(&self.loaded, &self.plugin);
                Ok(answer)
            }
            Err(err) => {
                report.boundary = verdict::boundary(&err);
                Err(err)
            }
        };
        let stopped = context.stop.close();
        let facts = facts(&self.plugin, self.job.attempt, deadline.limit(), &report, stopped);
        let result = returned.as_ref().ok().and_then(|answer| answer.as_ref().ok()?.as_ref());
        let result_bytes = result.map_or(0, String::len);
        let outcome = aside(result_bytes, || verdict::judge(returned, &facts));
        report.caused_by_job = facts.caused_by_job(&outcome, self.job.payload.len() + self.job.metadata.len());
        let completed = matches!(outcome, Outcome::Completed { .. });
        let asked = if completed { asked } else { Asked::default() };
        Attempt { outcome, asked, report }
    }

    /// A store for this attempt; the instance in it, if there is one already; and how many attempts it will have served.
    fn store(
        &self,
        engine: &Engine,
        thread_class: ThreadClass,
        warm: Option<Warm>,
    ) -> (Store<State>, Option<JobHandler>, u32) {
        let (sandbox, plugin) = (&self.runner, &self.plugin);
        let (deadline, context) = (self.deadline, &self.context);
        let (mut store, handler, served) = if let Some(warm) = warm {
            let (mut store, served) = (warm.store, warm.served + 1);
            store.data_mut().renew(&self.job, deadline, context, &sandbox.shared);
            (store, Some(warm.handler), served)
        } else {
            let state = State::new(
                Arc::clone(plugin),
                &self.job,
                deadline,
                context,
                thread_class,
                &sandbox.shared,
            );
            (store::of(state, engine), None, 1)
        };
        store.data_mut().running = Some(sandbox.ticker.running());
        store::rearm(&mut store);
        (store, handler, served)
    }

    /// Keeps an instance for another attempt, or takes it apart.
    fn keep(&self, mut used: (Warm, OwnedSemaphorePermit)) {
        let warm = &mut used.0;
        let state = warm.store.data_mut();
        state.running = None;
        let small = !state.holdings.has_grown_large() && self.runner.shared.memory_budget.has_half();
        if warm.served < self.plugin.reuse.get() && small && state.close_handles().is_ok() {
            state.thread_class.begin(state.holdings.is_large());
            self.runner.kept.put(used, &self.runner.slots);
        }
    }
}

pub(super) fn facts<'a>(
    plugin: &'a Plugin,
    attempt: u32,
    limit: TimeLimit,
    report: &'a Report,
    stopped: Option<StopReason>,
) -> Facts<'a> {
    Facts {
        plugin,
        attempt,
        limit,
        report,
        stopped,
    }
}

pub(super) fn never_ran(plugin: &Plugin, attempt: u32, limit: TimeLimit, context: &AttemptContext) -> Attempt {
    let report = Report::default();
    let outcome = verdict::stopped(&facts(plugin, attempt, limit, &report, context.stop.close()));
    let asked = Asked::default();
    Attempt { outcome, asked, report }
}
