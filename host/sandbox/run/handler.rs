//! A loaded plugin: makes a sandbox for every attempt, a fresh one unless its manifest says otherwise, and runs the handler
//! in it.

use std::any::Any;
use std::fmt;
use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures::FutureExt as _;
use futures::future::OptionFuture;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;
use wasmtime::Store;

use super::context::AttemptContext;
use super::deadline::{Deadline, Interrupt, TimeLimit};
use super::runner::Runner;
use super::state::State;
use super::store;
use super::thread_class::ThreadClass;
use super::verdict::{self, Facts, Returned};
use super::warm::Warm;
use crate::aside::aside;
use crate::config::{Limits, Manifest, RetryPolicy};
use crate::job::Job;
use crate::outcome::{Attempt, Outcome, Report};
use crate::sandbox::bindings::JobHandler;
use crate::sandbox::bindings::exports::kiln::job::handler::Job as GuestJob;
use crate::sandbox::capabilities::LateDenial;
use crate::sandbox::load::Loaded;
use crate::sandbox::load::plugin::Plugin;
use crate::stop::StopReason;
use crate::text;

/// What job names resolve to. Holding one keeps its version of the plugin, whatever is loaded after it.
pub struct Handler {
    sandbox: Arc<Runner>,
    plugin: Arc<Plugin>,
    loaded: Arc<Loaded>,
    /// What the manifest says about attempts at once.
    concurrency: Option<NonZeroU32>,
    /// As many permits as that; none: no limit but the host's.
    permits: Option<Arc<Semaphore>>,
}

/// The right to one attempt: as far as the plugin's own limit goes, and for the slots beyond its first.
#[derive(Debug)]
pub struct PluginPermit {
    _permit: Option<OwnedSemaphorePermit>,
    _spare: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler")
            .field("name", &self.name())
            .field("digest", &self.short_digest())
            .finish_non_exhaustive()
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        if self.plugin.reuse > NonZeroU32::MIN {
            self.sandbox.kept.forget(&self.plugin);
        }
    }
}

impl Handler {
    pub(in crate::sandbox) fn new(
        sandbox: Arc<Runner>,
        plugin: Plugin,
        loaded: Arc<Loaded>,
        manifest: &Manifest,
    ) -> Self {
        let concurrency = manifest.concurrency;
        let permits = |limit: NonZeroU32| Arc::new(Semaphore::new((limit.get() as usize).min(Semaphore::MAX_PERMITS)));
        Self {
            sandbox,
            plugin: Arc::new(plugin),
            loaded,
            concurrency,
            permits: concurrency.map(permits),
        }
    }

    pub(in crate::sandbox) fn loaded(&self) -> &Arc<Loaded> {
        &self.loaded
    }

    /// Counts its attempts together with those of an older version that may be run as often at once: what a plugin's
    /// limit is for does not care which version runs.
    pub fn share_permits(&mut self, old: &Self) {
        if self.concurrency == old.concurrency {
            self.permits.clone_from(&old.permits);
        }
    }

    /// The plugin's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.plugin.name
    }

    /// SHA-256 of the plugin's bytes, hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.plugin.digest
    }

    /// The digest's first twelve digits: enough to tell versions apart in a log.
    #[must_use]
    pub fn short_digest(&self) -> &str {
        self.plugin.short_digest()
    }

    /// What one attempt may take.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.plugin.limits
    }

    /// When its failed attempts are made again, and how many.
    #[must_use]
    pub fn retry(&self) -> &RetryPolicy {
        &self.plugin.retry
    }

    /// Whether it is granted HTTP requests at all.
    #[must_use]
    pub fn reaches_network(&self) -> bool {
        self.plugin.granted.http.grant_any()
    }

    /// The threads on which its attempts run.
    #[must_use]
    pub fn guests(&self) -> &Handle {
        &self.sandbox.guests
    }

    /// The right to an attempt now, if the plugin may run once more.
    #[must_use]
    pub fn try_permit(&self) -> Option<PluginPermit> {
        let permit = self
            .permits
            .as_ref()
            .map(|permits| Arc::clone(permits).try_acquire_owned());
        let spare = self.spare().map(|(spare, slots)| spare.try_acquire_many_owned(slots));
        Some(PluginPermit {
            _permit: permit.transpose().ok()?,
            _spare: spare.transpose().ok()?,
        })
    }

    /// The right to an attempt once the plugin may run once more; none if the host is told to stop first.
    pub async fn permit(&self, context: &AttemptContext) -> Option<PluginPermit> {
        let permit = async {
            let permit = OptionFuture::from(self.permits.as_ref().map(|permits| Arc::clone(permits).acquire_owned()));
            let permit = permit.await.transpose().ok()?;
            let spare = OptionFuture::from(self.spare().map(|(spare, slots)| spare.acquire_many_owned(slots)));
            Some(PluginPermit {
                _permit: permit,
                _spare: spare.await.transpose().ok()?,
            })
        };
        tokio::select! {
            biased;
            () = context.draining.cancelled() => None,
            () = context.stop.stopped() => None,
            permit = permit => permit,
        }
    }

    /// Where to get the slots beyond its first; none where it takes only one.
    fn spare(&self) -> Option<(Arc<Semaphore>, u32)> {
        let more = self.loaded.slots.checked_sub(1).filter(|more| *more > 0)?;
        Some((Arc::clone(&self.sandbox.spare), more))
    }

    /// Runs one attempt at `job`, which was found on `queue`, as soon as the plugin may run once more. Called from
    /// anywhere; dropping the future ends the attempt.
    pub async fn run(&self, job: &Job, queue: &str, context: &AttemptContext) -> Attempt {
        let Some(permit) = self.permit(context).await else {
            return self.never_ran(job, context);
        };
        let Some((prepared, pool_slots)) = self.prepare(permit, job, queue, context).await else {
            return self.never_ran(job, context);
        };
        let deadline = prepared.deadline;
        let running = self.sandbox.guests.spawn(prepared.run_anywhere(pool_slots));
        match AbortOnDropHandle::new(running).await {
            Ok(attempt) => attempt,
            Err(err) => match err.try_into_panic() {
                Ok(panic) => self.panicked(&*panic, job, deadline, context),
                // The threads are shut down.
                Err(_) => self.never_ran(job, context),
            },
        }
    }

    /// The same with a permit in hand and on a guest thread already: the attempt runs there, without a task of its own.
    pub async fn attempt(&self, permit: PluginPermit, job: &Job, queue: &str, context: &AttemptContext) -> Attempt {
        let Some((prepared, pool_slots)) = self.prepare(permit, job, queue, context).await else {
            return self.never_ran(job, context);
        };
        let deadline = prepared.deadline;
        // A panic of the host's is this attempt's failure alone.
        let running = AssertUnwindSafe(prepared.run_anywhere(pool_slots)).catch_unwind();
        running
            .await
            .unwrap_or_else(|panic| self.panicked(&*panic, job, deadline, context))
    }

    /// All that an attempt needs; none if the host stops first.
    async fn prepare(
        &self,
        permit: PluginPermit,
        job: &Job,
        queue: &str,
        context: &AttemptContext,
    ) -> Option<(PreparedAttempt, PoolSlots)> {
        let pool_slots = self.pool_slots(context).await?;
        let prepared = PreparedAttempt {
            sandbox: Arc::clone(&self.sandbox),
            loaded: Arc::clone(&self.loaded),
            plugin: Arc::clone(&self.plugin),
            job: guest_job(job, queue, &self.plugin.retry),
            deadline: Deadline::start(TimeLimit::of(job, &self.plugin.limits)),
            context: context.clone(),
            _permit: permit,
        };
        Some((prepared, pool_slots))
    }

    /// Somewhere to run: what an attempt before has left, or a place for a fresh instance. None if the host stops first.
    async fn pool_slots(&self, context: &AttemptContext) -> Option<PoolSlots> {
        if self.plugin.reuse > NonZeroU32::MIN
            && let Some((warm, slots)) = self.sandbox.kept.take(&self.plugin)
        {
            let thread_class = warm.store.data().thread_class.clone();
            let warm = Some(warm);
            return Some(PoolSlots {
                warm,
                thread_class,
                slots,
            });
        }
        let slots = &self.sandbox.slots;
        let slots = if let Ok(slots) = Arc::clone(slots).try_acquire_many_owned(self.loaded.slots) {
            slots
        } else {
            let mut acquiring = pin!(Arc::clone(slots).acquire_many_owned(self.loaded.slots));
            // In the queue first: from then on no instance is kept.
            let acquired = futures::poll!(acquiring.as_mut());
            self.sandbox.kept.clear();
            let slots = match acquired {
                Poll::Ready(slots) => slots,
                Poll::Pending => tokio::select! {
                    biased;
                    () = context.draining.cancelled() => return None,
                    () = context.stop.stopped() => return None,
                    slots = acquiring => slots,
                },
            };
            slots.ok()?
        };
        let (thread_class, warm) = (ThreadClass::default(), None);
        Some(PoolSlots {
            warm,
            thread_class,
            slots,
        })
    }

    /// What becomes of an attempt that is stopped before it has an instance.
    fn never_ran(&self, job: &Job, context: &AttemptContext) -> Attempt {
        let limit = TimeLimit::of(job, &self.plugin.limits);
        never_ran(&self.plugin, job.next_attempt(), limit, context)
    }

    /// What becomes of an attempt in which the host itself fails.
    fn panicked(&self, panic: &(dyn Any + Send), job: &Job, deadline: Deadline, context: &AttemptContext) -> Attempt {
        let report = Report {
            duration: deadline.elapsed(),
            ..Report::default()
        };
        let stopped = context.stop.close();
        let facts = facts(&self.plugin, job.next_attempt(), deadline.limit(), &report, stopped);
        let outcome = verdict::host_panic(panic, &facts);
        if let Outcome::Failed { failure, .. } = &outcome {
            let (id, name, queue) = (&*text::name(&job.id), &*text::name(&job.name), job.home());
            let (plugin, digest) = (self.name(), self.short_digest());
            tracing::error!(
                id,
                name,
                queue,
                plugin,
                digest,
                why = failure.message,
                "the host failed an attempt; please report it"
            );
        }
        Attempt { outcome, report }
    }
}

/// What an attempt runs in: slots of the pool, and what is in them already.
struct PoolSlots {
    warm: Option<Warm>,
    thread_class: ThreadClass,
    /// Last, here and wherever the two go together: they are free only once what was in them is gone.
    slots: OwnedSemaphorePermit,
}

/// One attempt, ready to run on a guest thread.
struct PreparedAttempt {
    sandbox: Arc<Runner>,
    loaded: Arc<Loaded>,
    plugin: Arc<Plugin>,
    job: GuestJob,
    deadline: Deadline,
    context: AttemptContext,
    /// Last: the attempt that gets the permit next finds nothing left of this one.
    _permit: PluginPermit,
}

impl PreparedAttempt {
    /// Runs it here, and from when it turns out to be heavy on among others like it.
    async fn run_anywhere(self, pool_slots: PoolSlots) -> Attempt {
        let (thread_class, heavy) = (pool_slots.thread_class.clone(), self.sandbox.heavy.clone());
        thread_class.run(Box::pin(self.run(pool_slots)), heavy).await
    }

    async fn run(self, pool_slots: PoolSlots) -> Attempt {
        let (deadline, context) = (self.deadline, &self.context);
        // It may have waited long until it was its turn on these threads.
        if context.stop.is_stopped() {
            return never_ran(&self.plugin, self.job.attempt, deadline.limit(), context);
        }
        let (mut store, known, served) = self.store(pool_slots.thread_class, pool_slots.warm);
        let (cpu, late_denial) = (store.data().cpu.clone(), store.data().late_denial());
        let call = Box::pin(async {
            let handler = if let Some(handler) = known {
                handler
            } else {
                let handler = self.loaded.pre.instantiate_async(&mut store).await?;
                store.data_mut().holdings.started();
                // Its memory may have had to wait for other threads.
                if context.stop.is_stopped() {
                    return Err(Interrupt::Stopped.into());
                }
                handler
            };
            store.data_mut().instantiate = Some(deadline.elapsed());
            let answer = handler.kiln_job_handler().call_handle(&mut store, &self.job).await?;
            Ok((answer, handler))
        });
        // A guest that computes is interrupted by the epoch; one that waits in the host, here.
        let called: wasmtime::Result<_> = tokio::select! {
            biased;
            called = cpu.measure(call, self.sandbox.ticker.ticks()) => called,
            denied = LateDenial::of(late_denial) => Err(denied.into()),
            () = context.stop.stopped() => Err(Interrupt::Stopped.into()),
            // A timer is set only for one that waits.
            () = async { tokio::time::sleep(deadline.remaining()).await } => Err(Interrupt::TimedOut.into()),
        };
        let mut report = store.data().report();
        let returned: Returned = match called {
            Ok((answer, handler)) => {
                self.keep((Warm { store, handler, served }, pool_slots.slots));
                Ok(answer)
            }
            Err(err) => Err(err),
        };
        let stopped = context.stop.close();
        let facts = facts(&self.plugin, self.job.attempt, deadline.limit(), &report, stopped);
        let result = returned.as_ref().ok().and_then(|answer| answer.as_ref().ok()?.as_ref());
        let result_bytes = result.map_or(0, String::len);
        let outcome = aside(result_bytes, || verdict::judge(returned, &facts));
        report.caused_by_job = facts.caused_by_job(&outcome, self.job.payload.len() + self.job.metadata.len());
        Attempt { outcome, report }
    }

    /// A store for this attempt; the instance in it, if there is one already; and how many attempts it will have served.
    fn store(&self, thread_class: ThreadClass, warm: Option<Warm>) -> (Store<State>, Option<JobHandler>, u32) {
        let (sandbox, plugin) = (&self.sandbox, &self.plugin);
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
            (store::of(state, &sandbox.engine), None, 1)
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
        let small = !state.holdings.has_grown_large() && self.sandbox.shared.memory_budget.has_half();
        if warm.served < self.plugin.reuse.get() && small && state.close_handles().is_ok() {
            state.thread_class.begin(state.holdings.is_large());
            self.sandbox.kept.put(used, &self.sandbox.slots);
        }
    }
}

fn facts<'a>(
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

fn never_ran(plugin: &Plugin, attempt: u32, limit: TimeLimit, context: &AttemptContext) -> Attempt {
    let report = Report::default();
    let outcome = verdict::stopped(&facts(plugin, attempt, limit, &report, context.stop.close()));
    Attempt { outcome, report }
}

/// The job as the guest sees it.
fn guest_job(job: &Job, queue: &str, retry: &RetryPolicy) -> GuestJob {
    GuestJob {
        id: job.id.clone(),
        name: job.name.clone(),
        queue: queue.to_owned(),
        payload: job.payload.get().to_owned(),
        attempt: job.next_attempt(),
        max_attempts: retry.attempts_of(job),
        created_at_ms: job.created_at_ms(),
        metadata: job
            .metadata
            .as_deref()
            .map_or_else(|| "{}".to_owned(), |metadata| metadata.get().to_owned()),
    }
}
