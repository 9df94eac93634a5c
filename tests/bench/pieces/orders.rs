//! How long an operator's order takes: from `kiln pause` until the last of four hosts has heard of it, and back.

use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use kiln::events::Events;
use kiln::queue::{Consumer, Pausable, Pause, Store};
use tokio::runtime::Runtime;

use crate::support::{default_queue, redis_settings};
use crate::timed;

const HOSTS: usize = 4;

pub(crate) fn orders(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let store = runtime.block_on(Store::open(&redis_settings())).unwrap();
    let hosts: Vec<_> = (0..HOSTS).map(|_| runtime.block_on(host(&store))).collect();
    let queue = Pausable::Queue(default_queue());
    c.bench_function("orders/pause and resume", |b| {
        b.iter_custom(|times| {
            timed(&runtime, times, async || {
                store.pause(&queue, &Pause::default()).await.unwrap();
                until_heard(&hosts, true).await;
                store.resume(&queue).await.unwrap();
                until_heard(&hosts, false).await;
            })
        });
    });
}

/// A host that listens, as a worker does, and takes nothing.
async fn host(store: &Store) -> Arc<Consumer> {
    let joined = Consumer::join(
        store.clone(),
        vec![default_queue()],
        Duration::from_mins(10),
        Events::default(),
    );
    let consumer = Arc::new(joined.await.unwrap());
    let listening = Arc::clone(&consumer);
    tokio::spawn(async move { while listening.look_at_orders().await.is_ok() {} });
    consumer
}

async fn until_heard(hosts: &[Arc<Consumer>], paused: bool) {
    for host in hosts {
        while host.is_paused(&default_queue()) != paused {
            host.orders_changed().await;
        }
    }
}
