//! The operator, who cancels some of the jobs that were pushed lately.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::keys::{Keys, QUEUES};
use crate::ledger::{Ledger, id, now};
use crate::support::kiln;

/// Time between two calls of `kiln cancel`.
const INTERVAL: Duration = Duration::from_millis(700);

/// Jobs cancelled at once by default, and among how many of the latest they are chosen.
pub(crate) const AT_ONCE: usize = 8;
const LATEST: usize = 400;

/// Cancels through the command line, and notes what it acknowledged.
pub(crate) struct Canceller {
    /// Where Redis is, past the network.
    pub(crate) url: String,
    pub(crate) keys: Keys,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) rng: Rng,
    /// How many jobs each call is about; the same one may be chosen twice.
    pub(crate) at_once: usize,
}

impl Canceller {
    /// Cancels until it is told to stop.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            ticks.tick().await;
            let jobs = self.ledger.entries().len();
            let numbers = (0..self.at_once.min(jobs)).map(|_| jobs - 1 - self.rng.usize(..LATEST.min(jobs)));
            let numbers: Vec<usize> = numbers.collect();
            if numbers.is_empty() {
                continue;
            }
            self.ledger.is_cancelled(&numbers, f64::INFINITY);
            let mut command = kiln();
            command
                .args(["cancel", "--store", &self.url, "--prefix", &self.keys.prefix])
                .args(QUEUES.map(|(queue, _)| format!("--queue={queue}")))
                .args(numbers.iter().map(|number| id(*number)));
            let ended = spawn_blocking(move || command.output()).await;
            // One that failed, as it does while Redis is away, may have written its marks all the same.
            if matches!(ended, Ok(Ok(output)) if output.status.success()) {
                self.ledger.is_cancelled(&numbers, now());
            }
        }
    }
}
