//! Adds what this host counts to the sums in the store.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::events::Events;
use crate::observe::Tally;
use crate::queue::{Consumer, Store, Sums};

/// Time between two additions. They come at its multiples by the store's clock, so that none goes beyond a minute.
const INTERVAL: Duration = Duration::from_secs(10);

/// Time that an addition may take. The last one holds up the end of the worker.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What a host has counted, and where it adds that.
pub(super) struct Stats {
    store: Store,
    consumer: Arc<Consumer>,
    tally: Arc<Tally>,
    /// What the store has not taken yet.
    pending: Sums,
}

impl Stats {
    /// Begins to count.
    pub(super) fn begin(store: Store, consumer: &Arc<Consumer>, events: &Events) -> Self {
        let tally = Arc::new(Tally::new(consumer.queues()));
        events.subscribe(&tally);
        Self {
            store,
            consumer: Arc::clone(consumer),
            tally,
            pending: Sums::new(),
        }
    }

    /// Adds up until it is stopped, and then once more. No job depends on it, so a store that fails is not waited for.
    pub(super) async fn add_up(mut self, stop: CancellationToken) {
        loop {
            let now_ms = self.consumer.now().as_millisecond();
            let interval_ms = i64::try_from(INTERVAL.as_millis()).unwrap_or(i64::MAX);
            let left_ms = u64::try_from(interval_ms - now_ms.rem_euclid(interval_ms)).unwrap_or(0);
            let stopped = stop
                .run_until_cancelled(sleep(Duration::from_millis(left_ms)))
                .await
                .is_none();
            if timeout(TIMEOUT, self.add()).await.is_err() {
                tracing::debug!("the store takes no sums for now");
            }
            if stopped {
                return;
            }
        }
    }

    async fn add(&mut self) {
        for (sum, more) in self.tally.take() {
            *self.pending.entry(sum).or_default() += more;
        }
        if self.pending.is_empty() {
            return;
        }
        // What came since the last time mostly came before the minute that may just have begun.
        let at = self.consumer.now().saturating_sub(SignedDuration::from_secs(5));
        if let Ok(at) = at
            && self.store.add_up(at, &self.pending).await.is_ok()
        {
            self.pending.clear();
        }
    }
}
