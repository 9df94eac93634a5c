//! A loaded plugin: makes a sandbox for every attempt, a fresh one unless its manifest says otherwise, and runs the handler
//! in it.

use std::any::Any;
use std::fmt;
use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::OptionFuture;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::Engine;

use super::attempt::{PluginPermit, PoolSlots, PreparedAttempt, facts, never_ran};
use super::context::AttemptContext;
use super::deadline::{Deadline, TimeLimit};
use super::runner::Runner;
use super::thread_class::ThreadClass;
use super::verdict;
use crate::config::{Cap, KeepLogs, Limits, Manifest, RetryPolicy};
use crate::job::Job;
use crate::outcome::{Asked, Attempt, Outcome, Report};
use crate::sandbox::bindings::exports::kiln::job::handler::Job as GuestJob;
use crate::sandbox::load::Loaded;
use crate::sandbox::load::plugin::Plugin;
use crate::text;

/// What job names resolve to. Holding one keeps its version of the plugin, whatever is loaded after it.
pub struct Handler {
    runner: Arc<Runner>,
    plugin: Arc<Plugin>,
    loaded: Arc<Loaded>,
    /// What the manifest says about attempts at once.
    concurrency: Option<NonZeroU32>,
    /// As many permits as `concurrency`. None: no limit but the host's.
    permits: Option<Arc<Semaphore>>,
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
        self.plugin.retire();
        self.runner.kept.forget(&self.plugin);
    }
}

impl Handler {
    pub(in crate::sandbox) fn new(
        runner: Arc<Runner>,
        plugin: Plugin,
        loaded: Arc<Loaded>,
        manifest: &Manifest,
    ) -> Self {
        let concurrency = manifest.concurrency;
        let permits = |limit: NonZeroU32| Arc::new(Semaphore::new((limit.get() as usize).min(Semaphore::MAX_PERMITS)));
        Self {
            runner,
            plugin: Arc::new(plugin),
            loaded,
            concurrency,
            permits: concurrency.map(permits),
        }
    }

    pub(in crate::sandbox) fn loaded(&self) -> &Arc<Loaded> {
        &self.loaded
    }

    /// Shares the permits of an older version with the same `concurrency`: the limit is the plugin's, whichever version
    /// runs.
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

    /// Whether some of its requests carry the trace of their job.
    #[must_use]
    pub fn traces_requests(&self) -> bool {
        self.plugin.granted.http.trace_any()
    }

    /// How long after it became available a job may still be run, unless it says so itself; none: however old it is.
    #[must_use]
    pub fn expire(&self) -> Option<Duration> {
        self.plugin.expire
    }

    /// Of which of its attempts it is kept what the handler said; none: of those that its host says.
    #[must_use]
    pub fn logs(&self) -> Option<KeepLogs> {
        self.plugin.logs
    }

    /// The limits on its jobs over all hosts.
    #[must_use]
    pub fn caps(&self) -> &Arc<[Cap]> {
        &self.plugin.caps
    }

    /// Whether more of its memory stays resident between attempts than of others', since they touch much of it.
    #[must_use]
    pub fn keeps_memory_resident(&self) -> bool {
        !Engine::same(self.loaded.pre.load().engine(), &self.runner.pool.engine)
    }

    /// Connections that one of its attempts may have open at once: HTTP's and TCP's, as far as they are granted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.plugin.granted.connections(self.limits())
    }

    /// The threads on which its attempts run.
    #[must_use]
    pub fn guests(&self) -> &Handle {
        &self.runner.guests
    }

    /// The right to an attempt now. None where the plugin may not run once more.
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

    /// The right to an attempt once the plugin may run once more.
    pub async fn permit(&self) -> Option<PluginPermit> {
        let permit = OptionFuture::from(self.permits.as_ref().map(|permits| Arc::clone(permits).acquire_owned()));
        let permit = permit.await.transpose().ok()?;
        let spare = OptionFuture::from(self.spare().map(|(spare, slots)| spare.acquire_many_owned(slots)));
        Some(PluginPermit {
            _permit: permit,
            _spare: spare.await.transpose().ok()?,
        })
    }

    /// The semaphore for pool slots beyond the first, and how many of them an attempt takes. None where it takes only
    /// one slot.
    fn spare(&self) -> Option<(Arc<Semaphore>, u32)> {
        let more = self.loaded.slots.checked_sub(1).filter(|more| *more > 0)?;
        Some((Arc::clone(&self.runner.spare), more))
    }

    /// Runs one attempt at `job`, which was found on `queue`, as soon as the plugin may run once more. Called from
    /// anywhere; dropping the future ends the attempt.
    pub async fn run(&self, job: &Job, queue: &str, context: &AttemptContext) -> Attempt {
        let permit = tokio::select! {
            biased;
            () = context.draining.cancelled() => None,
            () = context.stop.stopped() => None,
            permit = self.permit() => permit,
        };
        let Some(permit) = permit else {
            return self.never_ran(job, context);
        };
        let Some((prepared, pool_slots)) = self.prepare(permit, job, queue, context).await else {
            return self.never_ran(job, context);
        };
        let deadline = prepared.deadline;
        let running = self.runner.guests.spawn(prepared.run_anywhere(pool_slots));
        match AbortOnDropHandle::new(running).await {
            Ok(attempt) => attempt,
            Err(err) => match err.try_into_panic() {
                Ok(panic) => self.panicked(&*panic, job, deadline, context),
                // The threads are shut down.
                Err(_) => self.never_ran(job, context),
            },
        }
    }

    /// Like [`Handler::run`], for a caller on a guest thread that has a permit already: runs there, without a task of
    /// its own.
    pub async fn attempt(&self, permit: PluginPermit, job: &Job, queue: &str, context: &AttemptContext) -> Attempt {
        let Some((prepared, pool_slots)) = self.prepare(permit, job, queue, context).await else {
            return self.never_ran(job, context);
        };
        let deadline = prepared.deadline;
        // A panic of the host fails this attempt only.
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
            runner: Arc::clone(&self.runner),
            loaded: Arc::clone(&self.loaded),
            plugin: Arc::clone(&self.plugin),
            job: guest_job(job, queue, &self.plugin.retry),
            deadline: Deadline::start(TimeLimit::of(job, &self.plugin.limits)),
            context: context.clone(),
            _permit: permit,
        };
        Some((prepared, pool_slots))
    }

    /// Pool slots to run in: those of an instance that waits, or free ones for a fresh instance. None if the host stops first.
    async fn pool_slots(&self, context: &AttemptContext) -> Option<PoolSlots> {
        let may_wait = self.plugin.reuse > NonZeroU32::MIN || self.loaded.ahead.pays();
        if may_wait && let Some((warm, slots)) = self.runner.kept.take(&self.plugin) {
            let thread_class = warm.store.data().thread_class.clone();
            let warm = Some(warm);
            return Some(PoolSlots {
                warm,
                thread_class,
                slots,
            });
        }
        let slots = &self.runner.slots;
        let slots = if let Ok(slots) = Arc::clone(slots).try_acquire_many_owned(self.loaded.slots) {
            slots
        } else {
            let mut acquiring = pin!(Arc::clone(slots).acquire_many_owned(self.loaded.slots));
            // Join the queue for slots before clearing: no instance is kept while an attempt waits, so none is left
            // after it.
            let acquired = futures::poll!(acquiring.as_mut());
            self.runner.kept.clear();
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
        let asked = Asked::default();
        Attempt { outcome, asked, report }
    }
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
