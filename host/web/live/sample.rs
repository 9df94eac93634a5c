//! One look at everything.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::SAMPLE_INTERVAL;
use super::fleet::Fleet;
use super::history::{History, Point};
use super::reader::Reader;
use crate::admin::plugins::Hosts;
use crate::admin::queues::{Figure, Figures, figures_of};
use crate::admin::waits::{AllWaits, waits};
use crate::admin::{AdminError, jobs};
use crate::observe::Vitals;
use crate::queue::{Counts, Found, QueueError, QueueName, Search, Store};

/// Between two searches for queues that nobody recorded.
const SEARCH_INTERVAL: Duration = Duration::from_secs(30);

/// Between two looks at the oldest ready job of every queue.
const OLDEST_INTERVAL: Duration = Duration::from_secs(4);

/// Between two looks at how long jobs waited: hosts add to that as often.
const WAITS_INTERVAL: Duration = Duration::from_secs(10);

/// Queues asked at once, over connections that other commands share.
const AT_ONCE: usize = 8;

/// The time that waits are of.
pub(in crate::web) const WAITS_OF: Duration = Duration::from_mins(5);

/// Most connections to the store that may have broken since somebody last looked.
const MAX_STALE: usize = 16;

/// Whether the store as a whole cannot be used, as opposed to one key of it.
fn is_outage(err: &AdminError) -> bool {
    matches!(err, AdminError::Unusable(_)) || matches!(err, AdminError::Store(err) if err.is_outage())
}

/// Whether a connection broke that was open before, as opposed to none that can be made.
fn is_lost_connection(err: &AdminError) -> bool {
    matches!(err, AdminError::Store(err @ QueueError::Redis(_)) if err.is_outage())
}

/// The worker in this process, whose plugins are known without asking the store.
#[derive(Clone)]
pub struct Local {
    vitals: Arc<Vitals>,
    since: Timestamp,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local")
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

impl Local {
    /// A worker that starts now.
    #[must_use]
    pub fn new(vitals: Arc<Vitals>) -> Self {
        let since = Timestamp::now();
        Self { vitals, since }
    }

    /// Has a plugin that is set aside serve again. False: it is not set aside.
    pub(in crate::web) fn release(&self, plugin: &str) -> bool {
        self.vitals
            .serving()
            .is_some_and(|serving| serving.plugins.release(plugin))
    }

    pub(super) fn add_to(&self, hosts: &mut Hosts) {
        if let Some(serving) = self.vitals.serving() {
            let report = serving.plugins.report(self.since);
            hosts.insert(serving.consumer.host().to_owned(), Arc::new(report));
        }
    }
}

/// What the store and the hosts said at one moment.
#[derive(Debug, Clone)]
pub(in crate::web) struct Sample {
    /// When it was taken.
    pub(in crate::web) at: Instant,
    pub(in crate::web) time: Timestamp,
    /// How long the store took to answer.
    pub(in crate::web) took: Duration,
    /// Why the store does not answer. Everything else is then from the last time it did.
    pub(in crate::web) error: Option<String>,
    pub(in crate::web) figures: Figures,
    /// What of the store cannot be read, while the store answers.
    pub(in crate::web) faults: Vec<String>,
    /// When the oldest ready job of a queue became due, in milliseconds since the Unix epoch.
    pub(in crate::web) oldest_ms: BTreeMap<String, i64>,
    /// How long jobs waited in the last [`WAITS_OF`].
    pub(in crate::web) waits: Arc<AllWaits>,
    /// What hosts report.
    pub(in crate::web) fleet: Arc<Fleet>,
    /// Samples of the last minutes, the oldest first.
    pub(in crate::web) history: Arc<Vec<Point>>,
}

/// All queues together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(in crate::web) struct Totals {
    pub(in crate::web) ready: u64,
    pub(in crate::web) waiting: u64,
    pub(in crate::web) delayed: u64,
    pub(in crate::web) in_flight: u64,
}

impl Sample {
    /// Whether it is one of those that are taken regularly while somebody looks.
    pub(super) fn is_fresh(&self) -> bool {
        self.at.elapsed() < 2 * SAMPLE_INTERVAL + self.took
    }

    /// How long ago the store answered last; none: it never did.
    pub(in crate::web) fn age(&self) -> Option<Duration> {
        let since = Timestamp::now().duration_since(self.time);
        (!self.history.is_empty()).then(|| since.try_into().unwrap_or_default())
    }

    pub(in crate::web) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (_, counts) in self.queues() {
            totals.ready += counts.ready;
            totals.waiting += counts.waiting;
            totals.delayed += counts.delayed;
            totals.in_flight += counts.in_flight;
        }
        totals
    }

    /// The queues that could be counted.
    pub(in crate::web) fn queues(&self) -> impl Iterator<Item = (&str, &Counts)> {
        self.figures.queues.iter().filter_map(|(name, figure)| match figure {
            Figure::Counted(counts) => Some((name.as_str(), counts)),
            Figure::Fault { .. } => None,
        })
    }

    /// How long the oldest ready job of a queue has been due.
    pub(in crate::web) fn oldest(&self, queue: &str) -> Option<Duration> {
        let since = self.time.as_millisecond().checked_sub(*self.oldest_ms.get(queue)?)?;
        Some(Duration::from_millis(u64::try_from(since).unwrap_or(0)))
    }

    /// The queue whose oldest ready job has been due for longest.
    pub(in crate::web) fn oldest_of_all(&self) -> Option<(&str, Duration)> {
        let all = self
            .oldest_ms
            .keys()
            .filter_map(|queue| Some((queue.as_str(), self.oldest(queue)?)));
        all.max_by_key(|(_, age)| *age)
    }
}

/// What is kept between samples.
#[derive(Debug)]
pub(super) struct Sampling {
    store: Store,
    reader: Reader,
    found: Option<(Instant, Found)>,
    oldest: Option<(Instant, BTreeMap<String, i64>)>,
    waits: Option<(Instant, Arc<AllWaits>)>,
    history: History,
}

impl Sampling {
    pub(super) fn new(store: Store, local: Option<Local>) -> Self {
        Self {
            reader: Reader::new(store.clone(), local),
            store,
            found: None,
            oldest: None,
            waits: None,
            history: History::default(),
        }
    }

    pub(super) async fn take(&mut self, last: Option<Arc<Sample>>) -> Sample {
        let (at, time) = (Instant::now(), Timestamp::now());
        let rested = last.as_ref().is_none_or(|last| !last.is_fresh());
        let mut asked = self.ask(at, time).await;
        // While nobody looked, the store may have been away. Each connection that was open before then fails once.
        for _ in 0..MAX_STALE {
            match &asked {
                Err(err) if rested && is_lost_connection(err) => asked = self.ask(at, time).await,
                _ => break,
            }
        }
        match asked {
            Ok(sample) => sample,
            Err(err) => {
                // What was found may be outdated when the store is back.
                (self.found, self.oldest, self.waits) = (None, None, None);
                let last = last.map_or_else(|| blank(at, time), |last| Sample::clone(&last));
                Sample {
                    at,
                    took: at.elapsed(),
                    error: Some(err.to_string()),
                    ..last
                }
            }
        }
    }

    async fn ask(&mut self, at: Instant, time: Timestamp) -> Result<Sample, AdminError> {
        let mut faults = Vec::new();
        let found = match self.found.take().filter(|(at, _)| at.elapsed() < SEARCH_INTERVAL) {
            Some(found) => found,
            None => (at, self.search(&mut faults).await?),
        };
        let figures = figures_of(&self.store, &found.1).await?;
        faults.extend(figures.faults.iter().cloned());
        let oldest_ms = self.oldest(at, &figures).await?;
        let waits = self.waits(at, &mut faults).await?;
        let fleet = match self.reader.latest().await {
            Err(err) if !is_outage(&err) => {
                faults.push(format!("what hosts report cannot be read: {err}"));
                Arc::default()
            }
            fleet => fleet?,
        };
        if faults.is_empty() {
            self.found = Some(found);
        }
        let mut sample = Sample {
            at,
            time,
            took: at.elapsed(),
            error: None,
            figures,
            faults,
            oldest_ms,
            waits,
            fleet,
            history: Arc::default(),
        };
        self.history.add(&sample);
        sample.history = Arc::new(self.history.points());
        Ok(sample)
    }

    async fn waits(&mut self, at: Instant, faults: &mut Vec<String>) -> Result<Arc<AllWaits>, AdminError> {
        if let Some((_, known)) = self.waits.as_ref().filter(|(at, _)| at.elapsed() < WAITS_INTERVAL) {
            return Ok(Arc::clone(known));
        }
        let found = match waits(&self.store, WAITS_OF).await {
            Err(err) if !is_outage(&err) => {
                faults.push(format!("how long jobs waited cannot be read: {err}"));
                return Ok(Arc::default());
            }
            found => Arc::new(found?),
        };
        self.waits = Some((at, Arc::clone(&found)));
        Ok(found)
    }

    async fn search(&self, faults: &mut Vec<String>) -> Result<Found, QueueError> {
        match self.store.queues(Search::Brief).await {
            Err(err) if !err.is_outage() => {
                faults.push(format!("queues cannot be looked for: {err}"));
                Ok(Found {
                    queues: Vec::new(),
                    all: false,
                })
            }
            found => found,
        }
    }

    /// Asks for the oldest job of every queue that has a ready one.
    async fn oldest(&mut self, at: Instant, figures: &Figures) -> Result<BTreeMap<String, i64>, AdminError> {
        let has_ready =
            |queue: &str| matches!(figures.queues.get(queue), Some(Figure::Counted(counts)) if counts.ready > 0);
        let known = self.oldest.take().filter(|(at, _)| at.elapsed() < OLDEST_INTERVAL);
        let mut known = if let Some(known) = known {
            known
        } else {
            let queues = figures.queues.keys().filter(|queue| has_ready(queue));
            let asked = queues.filter_map(|queue| QueueName::new(queue).ok());
            let asked = asked.map(|queue| oldest_of(&self.store, queue).boxed());
            let asked: Vec<BoxFuture<'_, _>> = asked.collect();
            let oldest = stream::iter(asked).buffered(AT_ONCE);
            let oldest: Vec<_> = oldest.try_collect().await?;
            let oldest = oldest.into_iter().flatten().collect();
            (at, oldest)
        };
        known.1.retain(|queue, _| has_ready(queue));
        let oldest = known.1.clone();
        self.oldest = Some(known);
        Ok(oldest)
    }
}

/// When the oldest ready job of a queue became due.
async fn oldest_of(store: &Store, queue: QueueName) -> Result<Option<(String, i64)>, AdminError> {
    match jobs::oldest_ms(store, &queue).await {
        // What is wrong with one queue is told where it is counted.
        Err(err) if !is_outage(&err) => Ok(None),
        due => Ok(due?.map(|due| (queue.to_string(), due))),
    }
}

fn blank(at: Instant, time: Timestamp) -> Sample {
    Sample {
        at,
        time,
        took: Duration::ZERO,
        error: None,
        figures: Figures {
            queues: BTreeMap::new(),
            all_queues: true,
            paused_jobs: BTreeMap::new(),
            failed: 0,
            failed_dropped: 0,
            trouble: None,
            faults: Vec::new(),
        },
        faults: Vec::new(),
        oldest_ms: BTreeMap::new(),
        waits: Arc::default(),
        fleet: Arc::default(),
        history: Arc::default(),
    }
}
