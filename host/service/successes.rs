//! Notes when jobs of schedules succeed whose manifests expect that within some time. Without such schedules nothing is noted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::events::{Event, Subscriber};
use crate::outcome::Outcome;
use crate::plugins::Plugins;
use crate::queue::{Occurrence, QueueName, Store};

/// How long successes are gathered before they are noted.
const GATHERED: Duration = Duration::from_millis(200);

/// Time that one message may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Hears of attempts that complete.
#[derive(Debug, Default)]
struct Successes {
    /// The queue of each schedule that is expected to succeed, by its name.
    expected: ArcSwap<BTreeMap<String, QueueName>>,
    came: Mutex<BTreeMap<QueueName, BTreeSet<String>>>,
    bell: Notify,
}

impl Successes {
    fn plan(&self, plugins: &Plugins) {
        let schedules = plugins.schedules().into_iter();
        let expected = schedules.filter(|scheduled| scheduled.schedule.expect().is_some());
        let of_queue = expected.filter_map(|scheduled| {
            let queue = QueueName::new(scheduled.schedule.queue()).ok()?;
            Some((scheduled.name.to_string(), queue))
        });
        self.expected.store(Arc::new(of_queue.collect()));
    }
}

impl Subscriber for Successes {
    fn on(&self, event: &Event<'_>) {
        let Event::Ended { run, attempt } = event else { return };
        // Nearly no job is of a schedule, and its id tells at once.
        let Some(of) = Occurrence::of(&run.job.id) else { return };
        if !matches!(attempt.outcome, Outcome::Completed { .. }) {
            return;
        }
        if let Some(queue) = self.expected.load().get(of.schedule) {
            let mut came = self.came.lock();
            came.entry(queue.clone()).or_default().insert(of.schedule.to_owned());
            drop(came);
            self.bell.notify_one();
        }
    }
}

/// Notes successes until it is stopped, and then what is left. What the store does not take is noted with the next.
pub(super) async fn note(store: Store, plugins: Arc<Plugins>, stop: CancellationToken) {
    let successes = Arc::new(Successes::default());
    let mut changes = plugins.changes();
    successes.plan(&plugins);
    plugins.events().subscribe(&successes);
    loop {
        let news = async {
            tokio::select! {
                _ = changes.changed() => successes.plan(&plugins),
                () = successes.bell.notified() => sleep(GATHERED).await,
            }
        };
        let stopped = stop.run_until_cancelled(news).await.is_none();
        let came = std::mem::take(&mut *successes.came.lock());
        for (queue, schedules) in came {
            let names: Vec<_> = schedules.iter().cloned().collect();
            if !matches!(timeout(TIMEOUT, store.note_successes(&queue, &names)).await, Ok(Ok(()))) {
                tracing::debug!(%queue, "the store does not take note of successes for now");
                successes.came.lock().entry(queue).or_default().extend(schedules);
            }
        }
        if stopped {
            return;
        }
    }
}
