//! How long the jobs of all workers waited lately before their attempts began.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::AdminError;
use crate::queue::{Span, Store, Waits};

/// Waits, in all and by queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllWaits {
    /// Those of all queues.
    pub all: Waits,
    /// Of each queue in which an attempt began.
    pub queues: BTreeMap<String, Waits>,
}

/// Waits as figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WaitFigures {
    /// Attempts that began.
    pub attempts: u64,
    /// The wait that half of them did not exceed, in milliseconds.
    pub p50_ms: u64,
    /// The wait that nineteen of twenty did not exceed.
    pub p95_ms: u64,
    /// How long they were ready, in the mean.
    pub ready_ms: u64,
    /// How long they were in lanes.
    pub lane_ms: u64,
    /// How long a host held them before the attempt began.
    pub host_ms: u64,
}

impl WaitFigures {
    /// The figures; none: no attempt began.
    #[must_use]
    pub fn of(waits: &Waits) -> Option<Self> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let [ready, lane, host] = waits.stages().map(ms);
        Some(Self {
            attempts: waits.count(),
            p50_ms: ms(waits.percentile(0.5)?),
            p95_ms: ms(waits.percentile(0.95)?),
            ready_ms: ready,
            lane_ms: lane,
            host_ms: host,
        })
    }
}

/// Waits before the attempts of the last so much time, by whole minutes.
///
/// # Errors
/// When the store fails.
pub async fn waits(store: &Store, since: Duration) -> Result<AllWaits, AdminError> {
    let now = store.now().await?;
    let since = SignedDuration::try_from(since).unwrap_or(SignedDuration::MAX);
    let first = Span::Minute.number(now.saturating_sub(since).unwrap_or(Timestamp::MIN));
    let count = usize::try_from(Span::Minute.number(now) - first + 1).unwrap_or(0);
    let mut found = AllWaits::default();
    for (sum, more) in store.wait_sums(Span::Minute, first, count).await?.into_iter().flatten() {
        found.all.add(&sum.what, more);
        found.queues.entry(sum.name).or_default().add(&sum.what, more);
    }
    Ok(found)
}
