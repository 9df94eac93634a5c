//! What the pages show, looked up once for all who look at them.
//!
//! One sampler asks the store, however many tabs are open, and only while somebody looks: a page, an answer of the API or a
//! stream of events within the last [`KEPT_AWAKE`]. All pages are made from its last sample.

mod fleet;
mod history;
mod rates;
mod reader;
mod sample;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(super) use self::fleet::{Few, Plugin, Summary, Version};
pub(super) use self::history::Point;
pub use self::sample::Local;
pub(super) use self::sample::Sample;
use self::sample::Sampling;
use crate::admin::bulk::Bulks;
use crate::admin::index::FailedIndex;
use crate::queue::Store;

/// Between two samples.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(2);

/// How long the sampler goes on after somebody has looked last.
pub const KEPT_AWAKE: Duration = Duration::from_secs(10);

/// How long a page waits for the first sample.
const FIRST_SAMPLE_TIME: Duration = Duration::from_secs(5);

/// The time that the failures of the overview are of.
pub(super) const HOUR: Duration = Duration::from_hours(1);

/// How long one look at the failed list goes on reading, before new entries are looked for again.
const READ_TIME: Duration = Duration::from_secs(1);

/// Samples the store for everybody.
#[derive(Debug)]
pub(super) struct Sampler {
    latest: watch::Sender<Option<Arc<Sample>>>,
    wanted: Notify,
    looked: Mutex<Option<Instant>>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            latest: watch::Sender::new(None),
            wanted: Notify::new(),
            looked: Mutex::default(),
        }
    }
}

impl Sampler {
    /// The latest sample, which is as old as [`SAMPLE_INTERVAL`] as a rule. None: the store has not answered yet.
    pub(super) async fn latest(&self) -> Option<Arc<Sample>> {
        let mut samples = self.watch();
        let fresh = |sample: &Option<Arc<Sample>>| sample.as_ref().is_some_and(|sample| sample.is_fresh());
        if let Ok(Ok(sample)) = timeout(FIRST_SAMPLE_TIME, samples.wait_for(fresh)).await {
            return sample.clone();
        }
        self.latest.borrow().clone()
    }

    /// Tells of every new sample. Samples are taken as long as this is kept.
    pub(super) fn watch(&self) -> watch::Receiver<Option<Arc<Sample>>> {
        *self.looked.lock() = Some(Instant::now());
        let samples = self.latest.subscribe();
        self.wanted.notify_waiters();
        samples
    }

    /// Whether nobody has looked for so long that the last sample says nothing about the store any more.
    pub(super) fn rests(&self) -> bool {
        let latest = self.latest.borrow();
        !latest.as_ref().is_some_and(|sample| sample.is_fresh())
    }

    fn is_wanted(&self) -> bool {
        self.latest.receiver_count() > 0 || self.looked.lock().is_some_and(|at| at.elapsed() < KEPT_AWAKE)
    }

    /// Returns once somebody looks.
    async fn until_wanted(&self) {
        loop {
            let wanted = self.wanted.notified();
            if self.is_wanted() {
                return;
            }
            wanted.await;
        }
    }

    /// Takes samples until `end`.
    pub(super) async fn run(self: Arc<Self>, store: Store, local: Option<Local>, end: CancellationToken) {
        let mut sampling = Sampling::new(store, local);
        let sampled = async {
            loop {
                self.until_wanted().await;
                let last = self.latest.borrow().clone();
                let sample = sampling.take(last.clone()).await;
                tell(last.as_deref(), &sample);
                self.latest.send_replace(Some(Arc::new(sample)));
                sleep(SAMPLE_INTERVAL).await;
            }
        };
        end.run_until_cancelled_owned(sampled).await;
    }

    /// Has the index follow the failed list until `end`, while somebody looks.
    pub(super) async fn follow(self: Arc<Self>, index: Arc<FailedIndex>, bulks: Arc<Bulks>, end: CancellationToken) {
        let following = async {
            loop {
                self.until_wanted().await;
                // Work on the list moves everything about, and tells the index itself what is gone.
                let followed = bulks.running().is_none() && index.follow(READ_TIME).await.is_ok();
                if followed && index.coverage().building {
                    continue;
                }
                // So that no page has to look at every entry.
                let known = Arc::clone(&index);
                tokio::task::spawn_blocking(move || drop(known.overall(HOUR, Duration::ZERO)))
                    .await
                    .ok();
                sleep(SAMPLE_INTERVAL).await;
            }
        };
        end.run_until_cancelled_owned(following).await;
    }
}

/// Logs that the store went away, or that it is back.
fn tell(last: Option<&Sample>, sample: &Sample) {
    let was_away = last.is_some_and(|last| last.error.is_some());
    match &sample.error {
        Some(err) if !was_away => tracing::warn!(err, "the store does not answer"),
        None if was_away => tracing::info!("the store answers again"),
        _ => {}
    }
}
