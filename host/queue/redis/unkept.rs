//! Logs what was not kept, though no job depends on it: once when that begins, once when it is over.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
/// How long all must have been kept without a loss before the log says so.
const QUIET: Duration = Duration::from_secs(10);

/// What was not kept lately.
pub(super) struct Unkept {
    what: &'static str,
    /// None if all was kept.
    losses: Mutex<Option<Losses>>,
}

struct Losses {
    count: u64,
    last: Instant,
}

impl Unkept {
    /// Of things that are called so.
    pub(super) fn of(what: &'static str) -> Self {
        Self {
            what,
            losses: Mutex::default(),
        }
    }

    /// Records how many of a batch were not kept, and why. Logs the first loss, and the number of losses once
    /// none has happened for [`QUIET`]: a Redis at the limit of its memory keeps some and not others.
    pub(super) fn note(&self, lost: u64, why: &str) {
        let (what, mut losses) = (self.what, self.losses.lock());
        match &mut *losses {
            None if lost == 0 => return,
            None => tracing::warn!(why, "{what} are not kept"),
            Some(losses) if lost == 0 && losses.last.elapsed() < QUIET => return,
            Some(losses) if lost == 0 => tracing::warn!(lost = losses.count, "{what} are kept again"),
            Some(_) => {}
        }
        let count = losses.take().map_or(0, |losses| losses.count) + lost;
        *losses = (lost > 0).then(|| Losses {
            count,
            last: Instant::now(),
        });
    }
}
