//! A batch's way through a store, with nothing run: fetched, settled, and heard to be settled.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use kiln::events::{Event, Events, Subscriber};
use kiln::job::Job;
use kiln::outcome::Settlement;
use kiln::queue::{Consumer, MAX_BATCH, Push, Store, StoreSettings};
use serde_json::value::RawValue;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::support::{default_queue, redis_settings};

pub(crate) fn queue(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    for (store, settings) in [("memory", StoreSettings::new("memory:")), ("redis", redis_settings())] {
        let consumer = runtime.block_on(open(&settings));
        let mut group = c.benchmark_group(format!("queue on {store}"));
        for jobs in [1, MAX_BATCH] {
            group.throughput(Throughput::Elements(jobs as u64));
            group.bench_function(format!("push/{jobs}"), |b| {
                b.iter_custom(|times| runtime.block_on(consumer.rounds(times, jobs)).push);
            });
            group.bench_function(format!("fetch/{jobs}"), |b| {
                b.iter_custom(|times| runtime.block_on(consumer.rounds(times, jobs)).fetch);
            });
            group.bench_function(format!("settle/{jobs}"), |b| {
                b.iter_custom(|times| runtime.block_on(consumer.rounds(times, jobs)).settle);
            });
        }
        if store == "redis" {
            group.throughput(Throughput::Elements(SMALL as u64));
            group.sample_size(10);
            group.bench_function("fetch/mixed", |b| {
                b.iter_custom(|times| runtime.block_on(consumer.mixed(times)));
            });
        }
        group.finish();
    }
}

/// Small jobs, with large ones behind them that do not fit into the message any more.
const SMALL: usize = 63;
const LARGE: usize = 32;

/// Bytes of a large one.
const LARGE_BYTES: usize = 4 * 1024 * 1024;

struct Host {
    store: Store,
    consumer: Consumer,
    job: String,
    unsettled: Arc<Unsettled>,
}

/// How many deliveries are still to be settled.
#[derive(Default)]
struct Unsettled {
    left: AtomicUsize,
    none: Notify,
}

impl Subscriber for Unsettled {
    fn on(&self, event: &Event<'_>) {
        if let Event::Settled { settled, .. } = event
            && self.left.fetch_sub(settled.len(), Ordering::AcqRel) == settled.len()
        {
            self.none.notify_one();
        }
    }
}

/// What the steps took.
#[derive(Default)]
struct Took {
    push: Duration,
    fetch: Duration,
    settle: Duration,
}

async fn open(settings: &StoreSettings) -> Host {
    let store = Store::open(settings).await.unwrap();
    let lease = Duration::from_mins(10);
    let (events, unsettled) = (Events::default(), Arc::new(Unsettled::default()));
    events.subscribe(&unsettled);
    let consumer = Consumer::join(store.clone(), vec![default_queue()], lease, events)
        .await
        .unwrap();
    let payload = RawValue::from_string(format!(r#"{{"to":"{}"}}"#, "x".repeat(391))).unwrap();
    let job = Job::new("hello", "default", payload).encode();
    Host {
        store,
        consumer,
        job,
        unsettled,
    }
}

impl Host {
    /// Has so many batches of so many jobs go through, one after the other.
    async fn rounds(&self, times: u64, jobs: usize) -> Took {
        let push = Push {
            queue: default_queue(),
            job: self.job.clone(),
            due_ms: None,
        };
        let (pushes, mut took) = (vec![push; jobs], Took::default());
        for _ in 0..times {
            let began = Instant::now();
            self.store.push(&pushes).await.unwrap();
            took.push += began.elapsed();

            let began = Instant::now();
            let deliveries = self.consumer.fetch(&default_queue(), jobs).await.unwrap();
            took.fetch += began.elapsed();
            assert_eq!(deliveries.len(), jobs);

            self.unsettled.left.store(jobs, Ordering::Release);
            let began = Instant::now();
            for delivery in deliveries {
                self.consumer.settle(delivery, Settlement::Ack { result: None }).await;
            }
            self.unsettled.none.notified().await;
            took.settle += began.elapsed();
        }
        took
    }

    /// Has the small jobs fetched so often that large ones follow. Redis does nothing else meanwhile.
    async fn mixed(&self, times: u64) -> Duration {
        let push = |job: String| Push {
            queue: default_queue(),
            job,
            due_ms: None,
        };
        let (small, large) = (push(self.job.clone()), push("x".repeat(LARGE_BYTES)));
        let mut took = Duration::ZERO;
        self.unsettled.left.store(usize::MAX, Ordering::Release);
        for _ in 0..times {
            self.store.push(&vec![small.clone(); SMALL]).await.unwrap();
            for _ in 0..LARGE {
                self.store.push(std::slice::from_ref(&large)).await.unwrap();
            }
            let began = Instant::now();
            let mut fetched = self.consumer.fetch(&default_queue(), MAX_BATCH).await.unwrap();
            took += began.elapsed();
            while !fetched.is_empty() {
                for delivery in fetched {
                    self.consumer.settle(delivery, Settlement::Ack { result: None }).await;
                }
                fetched = self.consumer.fetch(&default_queue(), MAX_BATCH).await.unwrap();
            }
        }
        took
    }
}
