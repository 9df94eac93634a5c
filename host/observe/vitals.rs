//! How a worker is doing: whether its loops go round, and whether it can take jobs.
//!
//! The service says it here; probes and the service manager read it. Nothing here asks the store, so an outage of the
//! store never makes a worker look dead.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::plugins::Plugins;
use crate::queue::Consumer;

/// How long a loop may stand still at least, whatever the lease: a busy machine can delay one for a second.
const STANDSTILL_MIN: Duration = Duration::from_secs(5);

/// How a worker is doing.
#[derive(Default)]
pub struct Vitals {
    loops: Mutex<BTreeMap<&'static str, Round>>,
    epochs: Mutex<Option<Epochs>>,
    serving: SetOnce<Serving>,
}

/// What a worker serves with, once it has joined the hosts that serve its queues.
#[derive(Debug)]
pub struct Serving {
    /// Its side of the queues.
    pub consumer: Arc<Consumer>,
    /// Its plugins.
    pub plugins: Arc<Plugins>,
    /// Cancelled once it takes nothing new.
    pub stop: CancellationToken,
    /// Attempts at once, at most.
    pub slots: NonZeroU32,
    /// The jobs in its hands, each of which takes a slot.
    pub jobs: TaskTracker,
}

/// One thing that is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// What is wrong with it; none: nothing.
    pub fault: Option<String>,
}

impl Check {
    fn new(name: &'static str, fault: Option<String>) -> Self {
        Self { name, fault }
    }
}

/// The last round of a loop.
#[derive(Debug)]
struct Round {
    /// When it began. None for a loop that may wait for as long as the store lets it.
    at: Option<Instant>,
    panicked: bool,
}

/// The turns of the thread that interrupts guests, as last seen.
#[derive(Debug)]
struct Epochs {
    turns: u64,
    since: Instant,
}

impl fmt::Debug for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vitals")
            .field("loops", &self.loops)
            .finish_non_exhaustive()
    }
}

impl Vitals {
    /// Follows a loop that goes round within the lease by itself, and says so each time.
    #[must_use]
    pub fn pulse(self: &Arc<Self>, of: &'static str) -> Pulse {
        self.begin(of, Some(Instant::now()))
    }

    /// Runs a loop that may wait for the store, and notes whether it panics.
    pub fn watch<F: Future>(self: &Arc<Self>, of: &'static str, work: F) -> impl Future<Output = F::Output> + use<F> {
        let pulse = self.begin(of, None);
        async move {
            let ended = work.await;
            drop(pulse);
            ended
        }
    }

    fn begin(self: &Arc<Self>, of: &'static str, at: Option<Instant>) -> Pulse {
        self.loops.lock().insert(of, Round { at, panicked: false });
        let vitals = Arc::clone(self);
        Pulse { vitals, of }
    }

    /// The worker has joined, and takes jobs from now on.
    pub fn serves(&self, serving: Serving) {
        // `set` fails only for a worker that serves already.
        let _ = self.serving.set(serving);
    }

    /// What the worker serves with; none before it has joined.
    #[must_use]
    pub fn serving(&self) -> Option<&Serving> {
        self.serving.get()
    }

    /// Returns once the worker has joined.
    pub async fn joined(&self) {
        self.serving.wait().await;
    }

    /// Whether the worker goes on by itself: its loops go round, and its guests can be interrupted.
    #[must_use]
    pub fn liveness(&self) -> Vec<Check> {
        let Some(serving) = self.serving.get() else {
            return vec![Check::new("starting", None)];
        };
        let lease = serving.consumer.lease();
        let loops = self.loops.lock();
        let mut checks: Vec<_> = loops
            .iter()
            .map(|(name, round)| {
                let panicked = round.panicked.then(|| "panicked".to_owned());
                Check::new(name, panicked.or_else(|| standstill(round.at?.elapsed(), lease)))
            })
            .collect();
        checks.push(Check::new(
            "epochs",
            standstill(self.epochs_since(serving).elapsed(), lease),
        ));
        checks
    }

    /// Whether the worker can take jobs: it has joined, the store answers, every plugin was loaded or refused, and it is
    /// not told to stop.
    #[must_use]
    pub fn readiness(&self) -> Vec<Check> {
        let serving = self.serving.get();
        let fault = |fault: fn(&Serving) -> Option<String>| match serving {
            Some(serving) => fault(serving),
            None => Some("not joined yet".to_owned()),
        };
        vec![
            Check::new("joined", fault(|_| None)),
            Check::new(
                "store",
                fault(|serving| (!serving.consumer.store_answers()).then(|| "cannot be used".to_owned())),
            ),
            Check::new(
                "plugins",
                fault(|serving| {
                    let loading = serving.plugins.loading_first();
                    (loading > 0).then(|| format!("{loading} still to be compiled"))
                }),
            ),
            Check::new(
                "running",
                fault(|serving| serving.stop.is_cancelled().then(|| "draining".to_owned())),
            ),
        ]
    }

    /// Whether the worker has started: it has joined, and takes jobs.
    #[must_use]
    pub fn startup(&self) -> Vec<Check> {
        let fault = self.serving.get().is_none().then(|| "not joined yet".to_owned());
        vec![Check::new("joined", fault)]
    }

    /// Whether no check of [`Self::liveness`] fails.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.liveness().iter().all(|check| check.fault.is_none())
    }

    /// Since when the thread that interrupts guests has been seen to make no turn.
    fn epochs_since(&self, serving: &Serving) -> Instant {
        let (turns, since) = (serving.plugins.epoch_turns(), Instant::now());
        let mut seen = self.epochs.lock();
        let seen = seen.get_or_insert(Epochs { turns, since });
        if seen.turns != turns {
            *seen = Epochs { turns, since };
        }
        seen.since
    }
}

/// What is wrong with a loop that has stood still for so long, under a lease of that length.
fn standstill(still: Duration, lease: Duration) -> Option<String> {
    (still > lease.max(STANDSTILL_MIN)).then(|| format!("stands still for {:.1}s", still.as_secs_f64()))
}

/// Follows one loop, until dropped.
#[derive(Debug)]
pub struct Pulse {
    vitals: Arc<Vitals>,
    of: &'static str,
}

impl Pulse {
    /// The loop begins another round.
    pub fn beat(&self) {
        if let Some(round) = self.vitals.loops.lock().get_mut(self.of) {
            round.at = Some(Instant::now());
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        let mut loops = self.vitals.loops.lock();
        if !std::thread::panicking() {
            loops.remove(self.of);
        } else if let Some(round) = loops.get_mut(self.of) {
            round.panicked = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_may_stand_still_for_a_lease_and_on_a_busy_machine_for_a_while() {
        let seconds = Duration::from_secs;
        assert_eq!(standstill(seconds(29), seconds(30)), None);
        assert_eq!(standstill(seconds(4), seconds(1)), None);
        let fault = standstill(seconds(31), seconds(30));
        assert_eq!(fault.as_deref(), Some("stands still for 31.0s"));
    }

    #[tokio::test]
    async fn a_loop_that_ends_is_forgotten_and_one_that_panics_is_not() {
        let vitals = Arc::new(Vitals::default());
        let pulse = vitals.pulse("heartbeat");
        pulse.beat();
        drop(pulse);
        assert!(vitals.loops.lock().is_empty());
        let promoting = tokio::spawn(vitals.watch("promote", async { panic!("as a test has it") }));
        assert!(promoting.await.is_err());
        assert!(vitals.loops.lock()["promote"].panicked);
    }
}
