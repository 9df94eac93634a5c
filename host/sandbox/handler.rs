//! A loaded plugin: makes a fresh sandbox for every attempt and runs the handler in it.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::block_in_place;
use tokio_util::task::AbortOnDropHandle;

use super::Inner;
use super::attempt::{Attempt, Cancel, Report};
use super::bindings::exports::kiln::job::handler::Job as GuestJob;
use super::deadline::{Deadline, Interrupt};
use super::egress;
use super::load::Loaded;
use super::plugin::Plugin;
use super::state::State;
use super::verdict::{self, Facts, Returned};
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

    /// Runs one attempt in a fresh sandbox on the guest threads. Dropping the future ends it.
    pub async fn attempt(&self, turn: Turn, job: &Job, queue: &str, cancel: &Cancel) -> Attempt {
        let slots = Arc::clone(&self.sandbox.slots).acquire_many_owned(self.loaded.slots);
        let slots = tokio::select! {
            biased;
            () = cancel.stop.cancelled() => None,
            slots = slots => slots.ok(),
        };
        let Some(slots) = slots else {
            return Attempt::cancelled();
        };
        let limit = job.timeout().min(self.plugin.limits.time(Limit::Timeout));
        let deadline = Deadline::start(limit);
        let shared = &self.sandbox.shared;
        let state = State::new(Arc::clone(&self.plugin), job, deadline, cancel.clone(), shared);
        let (sandbox, loaded) = (Arc::clone(&self.sandbox), Arc::clone(&self.loaded));
        let (guest_job, attempt) = (guest_job(job, queue), job.next_attempt());
        let (place, large) = (state.place.clone(), self.sandbox.large.clone());
        let running = self.sandbox.guests.spawn(async move {
            let attempt = async move {
                let attempt = run(sandbox, loaded, state, guest_job).await;
                // Only now: wherever it ran, its sandbox was its own until here.
                drop((turn, slots));
                attempt
            };
            place.run(Box::pin(attempt), large).await
        });
        match AbortOnDropHandle::new(running).await {
            Ok(done) => done,
            Err(err) => self.lost(err, attempt, deadline, cancel),
        }
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

/// Runs one attempt, on a guest thread.
async fn run(sandbox: Arc<Inner>, loaded: Arc<Loaded>, state: State, job: GuestJob) -> Attempt {
    let (plugin, deadline, cancel) = (Arc::clone(&state.plugin), state.deadline, state.cancel.clone());
    let (attempt, refused) = (job.attempt, state.egress.refused());
    let _running = sandbox.ticker.running();
    let cpu = state.cpu.clone();
    let mut store = state.into_store(&sandbox.engine);
    let call = Box::pin(async {
        let instance = loaded.pre.instantiate_async(&mut store).await?;
        store.data_mut().instantiate = Some(deadline.elapsed());
        instance.kiln_job_handler().call_handle(&mut store, &job).await
    });
    // A guest that computes is interrupted by the epoch; one that waits in the host, here.
    let returned: Returned = tokio::select! {
        biased;
        returned = cpu.measure(call) => returned,
        denied = egress::refused(refused) => Err(denied.into()),
        () = cancel.stop.cancelled() => Err(Interrupt::Stopped.into()),
        () = tokio::time::sleep(deadline.remaining()) => Err(Interrupt::TimedOut.into()),
    };
    let report = store.into_data().report();
    let long = matches!(&returned, Ok(Ok(Some(result))) if result.len() > LONG_RESULT_BYTES);
    let judge = || verdict::judge(returned, &facts(&plugin, attempt, deadline.limit(), &cancel, &report));
    let outcome = if long { block_in_place(judge) } else { judge() };
    Attempt { outcome, report }
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
