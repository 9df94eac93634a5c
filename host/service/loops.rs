//! The loops that a host runs beside its jobs. Each ends with the service.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::faults::{Faults, Resting};
use super::sweep::sweep_at_once;
use crate::events::{Event, Events};
use crate::observe::Pulse;
use crate::outcome::Lane;
use crate::plugins::{HostReport, MAX_RUNNING_TOLD, Plugins, RunningJob};
use crate::queue::{Consumer, Counts, QueueError, QueueName, Retention, Store};
use crate::worker::Worker;

/// Least time between two looks at the delayed sets, which change all the time under load. A due job may be late by
/// 100 ms.
const PROMOTE_PAUSE: Duration = Duration::from_millis(20);

/// Least time between two looks at what operators have ordered. An order may take 100 ms to be heard of.
const ORDERS_PAUSE: Duration = Duration::from_millis(10);

/// Time between two reports to operators.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// An attempt that has run for less is not told of by name: most end before anybody reads of them.
const LONG_RUN: Duration = Duration::from_secs(1);

/// Longest time between two looks for hosts that died. A look tells when the next lease ends: the look after it is then.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// Hosts that look as soon as a lease has ended are spread over so many milliseconds.
const REAP_SPREAD_MS: u64 = 50;

/// Time between two looks at how long the failed list and its entries are.
const RETAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Time between two checks whether all work is done, in burst mode.
const BURST_INTERVAL: Duration = Duration::from_millis(50);

/// Moves due jobs to ready, each as its time comes. Stops only between two promotions: an interrupted one may leave its
/// jobs in both places.
pub(super) async fn promote(store: Store, consumer: Arc<Consumer>, events: Events, stop: CancellationToken) {
    let mut faults = Faults::new(&consumer, "promote");
    let mut resting = Resting::new(&consumer, "promote");
    loop {
        let awake = resting.awake();
        let due = timeout_at(resting.next(), consumer.wait_due_on(&awake));
        let Some(due) = stop.run_until_cancelled(due).await else {
            return;
        };
        let promoted = match due {
            Ok(Ok(due)) => promote_due(&store, &due, &events, &mut resting).await,
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

async fn promote_due(
    store: &Store,
    due: &[QueueName],
    events: &Events,
    resting: &mut Resting<'_>,
) -> Result<(), QueueError> {
    let mut done = Ok(());
    for queue in due {
        // A queue that fails must not keep the others from being promoted.
        let promoted = promote_all(store, queue, events).await;
        done = resting.note(queue, promoted).map(drop).and(done);
    }
    done
}

async fn promote_all(store: &Store, queue: &QueueName, events: &Events) -> Result<(), QueueError> {
    loop {
        let jobs = store.promote(queue).await?;
        if jobs == 0 {
            return Ok(());
        }
        let queue = queue.as_str();
        events.tell(Event::Promoted { queue, jobs });
    }
}

/// Waits until this host knows what operators have ordered. Before, it must not start anything.
pub(super) async fn hear_orders(consumer: &Consumer) {
    let mut faults = Faults::new(consumer, "orders");
    while let Err(err) = consumer.look_at_orders().await {
        faults.wait(&err).await;
    }
    faults.over();
}

/// Keeps what is known of operators' orders up to date.
pub(super) async fn look_at_orders(consumer: Arc<Consumer>) {
    loop {
        hear_orders(&consumer).await;
        sleep(ORDERS_PAUSE).await;
    }
}

/// Renews the leases. Stops only between two heartbeats: one under way could bring back a lease that was just given up.
pub(super) async fn heartbeat(consumer: Arc<Consumer>, stop: CancellationToken, pulse: Pulse) {
    let mut faults = Faults::new(&consumer, "heartbeat");
    let mut resting = Resting::new(&consumer, "heartbeat");
    while !stop.is_cancelled() {
        pulse.beat();
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
pub(super) async fn guard(consumer: Arc<Consumer>, pulse: Pulse) {
    loop {
        pulse.beat();
        sleep(consumer.stop_in_time()).await;
    }
}

/// Writes what acknowledged jobs left in the outboxes. When it is stopped, it looks once more, and returns whether nothing
/// is left there.
pub(super) async fn write_outboxes(consumer: Arc<Consumer>, stop: CancellationToken) -> bool {
    let mut faults = Faults::new(&consumer, "outbox");
    loop {
        let is_last = stop.run_until_cancelled(consumer.outbox_filled()).await.is_none();
        match consumer.empty_outboxes().await {
            Ok(any_left) if is_last => return !any_left,
            Ok(_) => faults.over(),
            Err(err) if is_last => {
                faults.tell(&err);
                return false;
            }
            Err(err) => faults.wait(&err).await,
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

/// Takes over the jobs of dead hosts, and has the places looked at that they held. Stops only between two rounds: a job that
/// was taken over but not settled would go back as if it had never started.
pub(super) async fn reap(
    consumer: Arc<Consumer>,
    worker: Arc<Worker>,
    plugins: Arc<Plugins>,
    queue: QueueName,
    stop: CancellationToken,
) {
    let mut faults = Faults::new(&consumer, "reap");
    let mut resting = Resting::new(&consumer, "reap");
    while !stop.is_cancelled() {
        match resting.note(&queue, consumer.adopt(&queue).await) {
            Ok(deliveries) => {
                faults.over();
                let deliveries = deliveries.unwrap_or_default();
                if deliveries.is_empty() {
                    let next = consumer.next_lease_end(&queue).unwrap_or(REAP_INTERVAL);
                    let spread = Duration::from_millis(fastrand::u64(1..=REAP_SPREAD_MS));
                    let wait = sleep(REAP_INTERVAL.min(next + spread));
                    stop.run_until_cancelled(wait).await;
                    continue;
                }
                // First, since others wait for these places.
                let counted: Vec<_> = deliveries.iter().filter_map(|it| worker.counts_against(it)).collect();
                if let Err(err) = sweep_at_once(&consumer, &plugins, &queue, counted.into_iter()).await {
                    faults.tell(&err);
                }
                for delivery in deliveries {
                    worker.recover(delivery).await;
                }
            }
            Err(err) => _ = stop.run_until_cancelled(faults.wait(&err)).await,
        }
    }
}

/// Stops the service once its queues hold nothing: no job that is ready, waiting, delayed or in flight, except those
/// that are set aside or paused.
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
                    idle &= has_nothing_to_do(&counts, &consumer);
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
            None if idle && !waits_only => {
                tell_what_is_left(&store, &consumer).await;
                stop.cancel();
            }
            None => _ = stop.run_until_cancelled(sleep(BURST_INTERVAL)).await,
        }
    }
    Ok(())
}

/// Whether a queue holds no job that may run: what is paused may not.
fn has_nothing_to_do(counts: &Counts, consumer: &Consumer) -> bool {
    if counts.in_flight > 0 || counts.paused.is_some() {
        return counts.in_flight == 0;
    }
    let lanes = counts.lanes.iter().filter(|(lane, _)| {
        let lane = Lane::from(String::clone(lane));
        lane.job().is_some_and(|name| consumer.is_job_paused(name))
    });
    let paused: u64 = lanes.map(|(_, jobs)| jobs).sum();
    counts.ready == 0 && counts.delayed == 0 && counts.waiting <= paused
}

/// Logs how many jobs stay because they are paused.
async fn tell_what_is_left(store: &Store, consumer: &Consumer) {
    for queue in consumer.queues() {
        let Ok(counts) = store.counts(queue).await else {
            continue;
        };
        let Counts {
            ready,
            waiting,
            delayed,
            ..
        } = counts;
        if ready + waiting + delayed > 0 {
            tracing::warn!(%queue, ready, waiting, delayed, "leaving jobs that are paused");
        }
    }
}

/// The attempts that have run longest.
fn running(consumer: &Consumer) -> Vec<RunningJob> {
    let (mut running, now) = (consumer.running(LONG_RUN), consumer.now());
    running.sort_by_key(|(.., runs_for)| std::cmp::Reverse(*runs_for));
    running.truncate(MAX_RUNNING_TOLD);
    let told = running.into_iter().map(|(queue, id, runs_for)| RunningJob {
        id,
        queue: queue.to_string(),
        since_ms: now.checked_sub(runs_for).unwrap_or(now).as_millisecond(),
    });
    told.collect()
}

/// Publishes for operators which plugins this host serves with and how they do, and carries out what operators ask. No
/// job depends on this, so a store that fails is not waited for.
pub(super) async fn report(store: Store, consumer: Arc<Consumer>, plugins: Arc<Plugins>, stop: CancellationToken) {
    let since = Timestamp::now();
    let mut heard = HashMap::<Arc<str>, Option<String>>::new();
    loop {
        let mut report = plugins.report(since);
        report.running = running(&consumer);
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
        match report.texts() {
            Ok(texts) => {
                // First: whoever reads the report finds it.
                store.keep_catalogue(&texts.catalogue_name, &texts.catalogue).await.ok();
                let before = store.publish(consumer.host(), &texts.report).await.ok().flatten();
                // An operator has written it into the report before.
                if let Some(by) = before.as_deref().and_then(HostReport::drain_asked) {
                    tracing::info!(by, "draining, as an operator asks");
                    stop.cancel();
                }
            }
            Err(err) => tracing::error!(%err, "cannot publish the report on plugins"),
        }
        if stop.run_until_cancelled(sleep(REPORT_INTERVAL)).await.is_none() {
            // It expires by itself, too.
            store.withdraw(consumer.host()).await.ok();
            return;
        }
    }
}
