//! A loaded plugin: makes a fresh sandbox for every attempt and runs the handler in it.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::block_in_place;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::Store;

use super::Inner;

use super::attempt::{Attempt, Cancel, Report};
use super::bindings::JobHandler;
use super::bindings::exports::kiln::job::handler::Job as GuestJob;
use super::deadline::{Deadline, Interrupt};
use super::egress;
use super::load::Loaded;
use super::place::Place;
use super::plugin::Plugin;
use super::state::{self, State};
use super::verdict::{self, Facts, Returned};
use super::warm::Warm;
use crate::config::{Limit, Limits, Manifest};
use crate::job::Job;
use crate::outcome::Outcome;

/// Bytes of a result from which on it is checked while other guests go on. A megabyte takes up to ten milliseconds.
const LONG_RESULT_BYTES: usize = 256 * 1024;

/// What job names resolve to. Holding one keeps its version of the plugin, whatever is loaded after it.
pub struct Handler {
    sandbox: Arc<Inner>,
    plugin: Arc<Plugin>,
    loaded: Arc<Loaded>,
    /// What the manifest says about attempts at once.
    concurrency: Option<NonZeroU32>,
    /// As many permits as that; none: no limit but the host's.
    permits: Option<Arc<Semaphore>>,
}

/// The right to one attempt, as far as the plugin's own limit goes.
#[derive(Debug)]
pub struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
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
    pub(super) fn new(sandbox: Arc<Inner>, plugin: Plugin, loaded: Arc<Loaded>, manifest: &Manifest) -> Self {
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

    pub(super) fn loaded(&self) -> &Arc<Loaded> {
        &self.loaded
    }

    /// Counts its attempts together with those of an older version that may be run as often at once: what a plugin's
    /// limit is for does not care which version runs.
    pub fn share_turns(&mut self, old: &Self) {
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

    /// Whether it is granted HTTP requests at all.
    #[must_use]
    pub fn reaches_network(&self) -> bool {
        !self.plugin.grants.http.is_empty()
    }

    /// The right to an attempt now, if the plugin may run once more.
    #[must_use]
    pub fn try_turn(&self) -> Option<Turn> {
        match &self.permits {
            Some(permits) => Some(Turn {
                _permit: Some(Arc::clone(permits).try_acquire_owned().ok()?),
            }),
            None => Some(Turn { _permit: None }),
        }
    }

    /// The right to an attempt once the plugin may run once more; none if the host is told to stop first.
    pub async fn turn(&self, cancel: &Cancel) -> Option<Turn> {
        let turn = async {
            let Some(permits) = &self.permits else {
                return Some(Turn { _permit: None });
            };
            let permit = Arc::clone(permits).acquire_owned().await.ok()?;
            Some(Turn { _permit: Some(permit) })
        };
        tokio::select! {
            biased;
            () = cancel.draining.cancelled() => None,
            () = cancel.stop.cancelled() => None,
            turn = turn => turn,
        }
    }

    /// Runs one attempt at `job`, which was found on `queue`, as soon as the plugin may run once more.
    pub async fn run(&self, job: &Job, queue: &str, cancel: &Cancel) -> Attempt {
        match self.turn(cancel).await {
            Some(turn) => self.attempt(turn, job, queue, cancel).await,
            None => Attempt::cancelled(),
        }
    }

    /// Runs one attempt on the guest threads, in a fresh sandbox unless the manifest says `reuse`. Dropping the future ends it.
    pub async fn attempt(&self, turn: Turn, job: &Job, queue: &str, cancel: &Cancel) -> Attempt {
        let Some(seat) = self.seat(cancel).await else {
            return Attempt::cancelled();
        };
        let limit = job.timeout().min(self.plugin.limits.time(Limit::Timeout));
        let deadline = Deadline::start(limit);
        let errand = Errand {
            sandbox: Arc::clone(&self.sandbox),
            loaded: Arc::clone(&self.loaded),
            plugin: Arc::clone(&self.plugin),
            job: guest_job(job, queue),
            deadline,
            cancel: cancel.clone(),
        };
        let (place, large, attempt) = (seat.place.clone(), self.sandbox.large.clone(), job.next_attempt());
        let running = self.sandbox.guests.spawn(async move {
            let attempt = async move {
                let attempt = errand.run(seat).await;
                // Only now: wherever it ran, its sandbox was its own until here.
                drop(turn);
                attempt
            };
            place.run(Box::pin(attempt), large).await
        });
        match AbortOnDropHandle::new(running).await {
            Ok(done) => done,
            Err(err) => self.lost(err, attempt, deadline, cancel),
        }
    }

    /// Somewhere to run: what an attempt before has left, or a place for a fresh instance. None if the host stops first.
    async fn seat(&self, cancel: &Cancel) -> Option<Seat> {
        if self.plugin.reuse > NonZeroU32::MIN
            && let Some((warm, slots)) = self.sandbox.kept.take(&self.plugin)
        {
            let place = warm.store.data().place.clone();
            let warm = Some(warm);
            return Some(Seat { warm, place, slots });
        }
        let slots = &self.sandbox.slots;
        let slots = if let Ok(slots) = Arc::clone(slots).try_acquire_many_owned(self.loaded.slots) {
            slots
        } else {
            // Nobody waits for those that wait for work.
            self.sandbox.kept.clear();
            let slots = Arc::clone(slots).acquire_many_owned(self.loaded.slots);
            cancel.stop.run_until_cancelled(slots).await?.ok()?
        };
        let (place, warm) = (Place::default(), None);
        Some(Seat { warm, place, slots })
    }

    /// What became of an attempt whose task did not end by itself: a panic in the host, or the sandbox shut down.
    fn lost(&self, err: tokio::task::JoinError, attempt: u32, deadline: Deadline, cancel: &Cancel) -> Attempt {
        let report = Report {
            duration: deadline.elapsed(),
            ..Report::default()
        };
        let outcome = match err.try_into_panic() {
            Ok(panic) => {
                let facts = facts(&self.plugin, attempt, deadline.limit(), cancel, &report);
                verdict::host_panic(&*panic, &facts)
            }
            Err(_) => Outcome::Cancelled,
        };
        Attempt { outcome, report }
    }
}

/// What an attempt runs in: slots of the pool, and what is in them already.
struct Seat {
    warm: Option<Warm>,
    place: Place,
    /// Last, here and wherever the two go together: they are free only once what was in them is gone.
    slots: OwnedSemaphorePermit,
}

/// One attempt, on its way to a guest thread.
struct Errand {
    sandbox: Arc<Inner>,
    loaded: Arc<Loaded>,
    plugin: Arc<Plugin>,
    job: GuestJob,
    deadline: Deadline,
    cancel: Cancel,
}

impl Errand {
    async fn run(self, seat: Seat) -> Attempt {
        let (deadline, cancel) = (self.deadline, &self.cancel);
        let _running = self.sandbox.ticker.running();
        let (mut store, known, served) = self.store(seat.place, seat.warm);
        let (cpu, refused) = (store.data().cpu.clone(), store.data().egress.refused());
        let call = Box::pin(async {
            let handler = match known {
                Some(handler) => handler,
                None => self.loaded.pre.instantiate_async(&mut store).await?,
            };
            store.data_mut().instantiate = Some(deadline.elapsed());
            let answer = handler.kiln_job_handler().call_handle(&mut store, &self.job).await?;
            Ok((answer, handler))
        });
        // A guest that computes is interrupted by the epoch; one that waits in the host, here.
        let called: wasmtime::Result<_> = tokio::select! {
            biased;
            called = cpu.measure(call) => called,
            denied = egress::refused(refused) => Err(denied.into()),
            () = cancel.stop.cancelled() => Err(Interrupt::Stopped.into()),
            () = tokio::time::sleep(deadline.remaining()) => Err(Interrupt::TimedOut.into()),
        };
        let report = store.data().report();
        let returned: Returned = match called {
            Ok((answer, handler)) => {
                self.keep((Warm { store, handler, served }, seat.slots));
                Ok(answer)
            }
            Err(err) => Err(err),
        };
        let long = matches!(&returned, Ok(Ok(Some(result))) if result.len() > LONG_RESULT_BYTES);
        let facts = facts(&self.plugin, self.job.attempt, deadline.limit(), cancel, &report);
        let judge = || verdict::judge(returned, &facts);
        let outcome = if long { block_in_place(judge) } else { judge() };
        Attempt { outcome, report }
    }

    /// A store for this attempt; the instance in it, if there is one already; and how many attempts it will have served.
    fn store(&self, place: Place, warm: Option<Warm>) -> (Store<State>, Option<JobHandler>, u32) {
        let (sandbox, plugin) = (&self.sandbox, &self.plugin);
        let (deadline, cancel) = (self.deadline, self.cancel.clone());
        let Some(mut warm) = warm else {
            let state = State::new(Arc::clone(plugin), &self.job, deadline, cancel, place, &sandbox.shared);
            return (state.into_store(&sandbox.engine), None, 1);
        };
        warm.store
            .data_mut()
            .renew(&self.job, deadline, cancel, &sandbox.shared);
        state::rearm(&mut warm.store);
        (warm.store, Some(warm.handler), warm.served + 1)
    }

    /// Keeps an instance for another attempt, or takes it apart.
    fn keep(&self, used: (Warm, OwnedSemaphorePermit)) {
        let warm = &used.0;
        if warm.served < self.plugin.reuse.get() && !warm.store.data().place.is_large() {
            self.sandbox.kept.put(used, &self.sandbox.slots);
        }
    }
}

fn facts<'a>(plugin: &'a Plugin, attempt: u32, limit: Duration, cancel: &Cancel, report: &'a Report) -> Facts<'a> {
    let draining = cancel.draining.is_cancelled();
    Facts {
        plugin,
        attempt,
        limit,
        draining,
        report,
    }
}

/// The job as the guest sees it.
fn guest_job(job: &Job, queue: &str) -> GuestJob {
    GuestJob {
        id: job.id.clone(),
        name: job.name.clone(),
        queue: queue.to_owned(),
        payload: job.payload.get().to_owned(),
        attempt: job.next_attempt(),
        max_attempts: job.max_attempts,
        created_at_ms: job.created_at_ms(),
        metadata: job
            .metadata
            .as_deref()
            .map_or_else(|| "{}".to_owned(), |metadata| metadata.get().to_owned()),
    }
}
