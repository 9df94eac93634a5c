//! Logs results that were not kept: once when that begins, once when it is over.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
/// How long results must have been kept without a loss before the log says so.
const QUIET: Duration = Duration::from_secs(10);

/// Results that were not kept lately; none if all were.
#[derive(Default)]
pub(super) struct Unkept(Mutex<Option<Losses>>);

struct Losses {
    results: u64,
    last: Instant,
}

impl Unkept {
    /// Records how many results of a batch were not kept, and why. Logs the first loss, and the number of losses once
    /// none has happened for [`QUIET`]: a Redis at the limit of its memory keeps some results and not others.
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
