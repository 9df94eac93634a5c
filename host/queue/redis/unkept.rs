//! Telling of results that are not kept: once when it begins, once when it is over.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
/// How long no result must have been lost before the log says that they are kept again.
const QUIET: Duration = Duration::from_secs(10);

/// Results that were not kept, of late; none if all were.
#[derive(Default)]
pub(super) struct Unkept(Mutex<Option<Losses>>);

struct Losses {
    results: u64,
    last: Instant,
}

impl Unkept {
    /// Takes note of a batch with results: how many of them were not kept, and why. Says so when that begins, and how many
    /// they were when it has been over for a while: at the edge of its memory, Redis keeps some and not others.
    pub(super) fn note(&self, lost: u64, why: &str) {
        let mut losses = self.0.lock();
        match &mut *losses {
            None if lost == 0 => return,
            None => tracing::warn!(why, "results are not kept"),
            Some(losses) if lost == 0 && losses.last.elapsed() < QUIET => return,
            Some(losses) if lost == 0 => tracing::warn!(lost = losses.results, "results are kept again"),
            Some(_) => {}
        }
        let results = losses.take().map_or(0, |losses| losses.results) + lost;
        *losses = (lost > 0).then(|| Losses {
            results,
            last: Instant::now(),
        });
    }
}
