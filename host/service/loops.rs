//! The loops that a host runs beside its jobs. Each ends with the service.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::faults::{Faults, Resting};
use crate::plugins::Plugins;
use crate::queue::{Consumer, QueueError, QueueName, Retention, Store};
use crate::worker::Worker;

/// Least time between two looks at the delayed sets, which change all the time under load. A due job may be late by
/// 100 ms.
const PROMOTE_PAUSE: Duration = Duration::from_millis(20);

/// Time between two reports to operators.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Time between two looks for hosts that died.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two looks at how long the failed list and its entries are.
const RETAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Time between two checks whether all work is done, in burst mode.
const BURST_INTERVAL: Duration = Duration::from_millis(50);

/// Moves due jobs to ready, each as its time comes. Stops only between two promotions: an interrupted one may leave its
/// jobs in both places.
pub(super) async fn promote(store: Store, consumer: Arc<Consumer>, stop: CancellationToken) {
    let mut faults = Faults::new(&consumer, "promote");
    let mut resting = Resting::new(&consumer, "promote");
    loop {
        let awake = resting.awake();
        let due = timeout_at(resting.next(), consumer.wait_due_on(&awake));
        let Some(due) = stop.run_until_cancelled(due).await else {
            return;
        };
        let promoted = match due {
            Ok(Ok(due)) => promote_due(&store, &due, &mut resting).await,
            Ok(Err(err)) => Err(err),
            // A queue that rested may be due for another try.
            Err(_) => continue,
        };
        match promoted {
            Ok(()) => faults.over(),
            Err(err) => _ = stop.run_until_cancelled(faults.wait(&err)).await,
        }
        sleep(PROMOTE_PAUSE).await;
    }
}

async fn promote_due(store: &Store, due: &[QueueName], resting: &mut Resting<'_>) -> Result<(), QueueError> {
    let mut done = Ok(());
    for queue in due {
        // A queue that fails must not keep the others from being promoted.
        done = resting.note(queue, promote_all(store, queue).await).map(drop).and(done);
    }
    done
}

async fn promote_all(store: &Store, queue: &QueueName) -> Result<(), QueueError> {
    while store.promote(queue).await? > 0 {}
    Ok(())
}

/// Renews the leases. Stops only between two heartbeats: one under way could bring back a lease that was just given up.
pub(super) async fn heartbeat(consumer: Arc<Consumer>, stop: CancellationToken) {
    let mut faults = Faults::new(&consumer, "heartbeat");
    let mut resting = Resting::new(&consumer, "heartbeat");
    while !stop.is_cancelled() {
        let mut done = Ok(());
        for (queue, beat) in consumer.queues().iter().zip(consumer.heartbeats().await) {
            done = done.and(resting.note(queue, beat).map(drop));
        }
        match done {
            Ok(()) => {
                faults.over();
                let next = timeout_at(resting.next(), sleep(consumer.heartbeat_interval()));
                _ = stop.run_until_cancelled(next).await;
            }
            Err(err) => _ = stop.run_until_cancelled(faults.wait(&err)).await,
        }
    }
}

/// Stops the attempts under a lease that could not be renewed.
pub(super) async fn guard(consumer: Arc<Consumer>) {
    loop {
        sleep(consumer.stop_in_time()).await;
    }
}

/// Writes what acknowledged jobs left in the outboxes.
pub(super) async fn write_outboxes(consumer: Arc<Consumer>) {
    let mut faults = Faults::new(&consumer, "outbox");
    let mut left = false;
    loop {
        consumer.outbox_filled(left).await;
        match consumer.empty_outboxes().await {
            Ok(some) => {
                left = some;
                faults.over();
            }
            Err(err) => {
                left = true;
                faults.wait(&err).await;
            }
        }
    }
}

/// Drops entries of the failed list that the operator does not want kept.
pub(super) async fn retain(store: Store, consumer: Arc<Consumer>, retention: Retention) {
    let mut faults = Faults::new(&consumer, "retain");
    loop {
        match store.retain_failed(&retention, Timestamp::now()).await {
            Ok(0) => {
                faults.over();
                sleep(RETAIN_INTERVAL).await;
            }
            Ok(entries) => tracing::warn!(entries, "dropped the oldest entries of the failed list, as configured"),
            Err(err) => faults.wait(&err).await,
        }
    }
}

/// Takes over the jobs of dead hosts. Stops only between two rounds: a job that was taken over but not settled would go
/// back as if it had never started.
pub(super) async fn reap(consumer: Arc<Consumer>, worker: Arc<Worker>, queue: QueueName, stop: CancellationToken) {
    let mut faults = Faults::new(&consumer, "reap");
    let mut resting = Resting::new(&consumer, "reap");
    while !stop.is_cancelled() {
        match resting.note(&queue, consumer.adopt(&queue).await) {
            Ok(deliveries) => {
                faults.over();
                let deliveries = deliveries.unwrap_or_default();
                let none = deliveries.is_empty();
                for delivery in deliveries {
                    worker.recover(delivery).await;
                }
                if none {
                    stop.run_until_cancelled(sleep(REAP_INTERVAL)).await;
                }
            }
            Err(err) => _ = stop.run_until_cancelled(faults.wait(&err)).await,
        }
    }
}

/// Stops the service once its queues hold nothing: no job that is ready, waiting, delayed or in flight, except those
/// set aside.
///
/// # Errors
/// When one queue could not be counted for `patience`, while the others held nothing. The service is stopped then as
/// well.
pub(super) async fn stop_when_idle(
    store: Store,
    consumer: Arc<Consumer>,
    patience: Duration,
    stop: CancellationToken,
) -> Result<(), QueueError> {
    let mut given_up_at = None;
    while !stop.is_cancelled() {
        let (mut idle, mut uncounted) = (true, None);
        for queue in consumer.queues() {
            match store.counts(queue).await {
                Ok(mut counts) => {
                    counts.in_flight = counts.in_flight.saturating_sub(consumer.aside(queue) as u64);
                    idle &= counts.is_empty();
                }
                Err(err) if err.is_outage() => idle = false,
                Err(err) => uncounted = Some((queue, err)),
            }
        }
        let waits_only = idle && uncounted.is_some();
        given_up_at = given_up_at.or(Some(Instant::now() + patience)).filter(|_| waits_only);
        match uncounted.filter(|_| given_up_at.is_some_and(|at| Instant::now() >= at)) {
            Some((queue, source)) => {
                tracing::error!(%queue, err = %source, "the queue cannot be counted; stopping all the same");
                stop.cancel();
                let (queue, source) = (queue.clone(), Box::new(source));
                return Err(QueueError::Queue { queue, source });
            }
            None if idle && !waits_only => stop.cancel(),
            None => _ = stop.run_until_cancelled(sleep(BURST_INTERVAL)).await,
        }
    }
    Ok(())
}

/// Publishes for operators which plugins this host serves with and how they do, and carries out what operators ask. No
/// job depends on this, so a store that fails is not waited for.
pub(super) async fn report(store: Store, consumer: Arc<Consumer>, plugins: Arc<Plugins>, stop: CancellationToken) {
    let since = Timestamp::now();
    let mut heard = HashMap::<String, Option<String>>::new();
    loop {
        let report = plugins.report(since);
        for plugin in report.plugins.iter().filter(|plugin| plugin.is_aside()) {
            let Ok(asked) = store.release_asked(&plugin.name).await else {
                continue;
            };
            // A request from before the version was set aside was not about this version.
            let known = heard.insert(plugin.name.clone(), asked.clone());
            if asked.is_some() && known.is_some_and(|known| known != asked) {
                plugins.release(&plugin.name);
                heard.remove(&plugin.name);
            }
        }
        store.note_queues(consumer.queues()).await.ok();
        match serde_json::to_string(&report) {
            Ok(report) => _ = store.publish(consumer.host(), &report).await,
            Err(err) => tracing::error!(%err, "cannot publish the report on plugins"),
        }
        if stop.run_until_cancelled(sleep(REPORT_INTERVAL)).await.is_none() {
            // It expires by itself, too.
            store.withdraw(consumer.host()).await.ok();
            return;
        }
    }
}
