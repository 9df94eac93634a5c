//! Fires what is due by the schedules of this host's plugins, until the service is stopped.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::faults::Faults;
use crate::config::MAX_SCHEDULES;
use crate::events::{Event, Events};
use crate::plugins::Plugins;
use crate::queue::{Consumer, Fired, Firing, MAX_BATCH, MAX_REMEMBERED_SCHEDULES, QueueError, QueueName, Store};
use crate::schedule::Agenda;

/// Longest sleep until the clock is looked at again, which may have been set meanwhile, or stood while the machine slept.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Until schedules of a queue are offered again that the store refuses.
const REFUSED_WAIT: SignedDuration = SignedDuration::from_secs(1);

/// Fires schedules. May be stopped at any time: asking the store again is safe.
pub(super) async fn fire(store: Store, consumer: Arc<Consumer>, plugins: Arc<Plugins>, stop: CancellationToken) {
    let mut changes = plugins.changes();
    let mut schedules = Schedules {
        store,
        consumer: &consumer,
        events: plugins.events().clone(),
        agenda: Agenda::default(),
        refused: Vec::new(),
        not_served: BTreeSet::new(),
    };
    schedules.plan(&plugins);
    let firing = async {
        let mut faults = Faults::new(&consumer, "schedules");
        loop {
            match schedules.fire().await {
                Ok(()) => faults.over(),
                Err(err) => faults.wait(&err).await,
            }
            tokio::select! {
                _ = changes.changed() => schedules.plan(&plugins),
                () = schedules.due() => {}
            }
        }
    };
    stop.run_until_cancelled(firing).await;
}

struct Schedules<'a> {
    store: Store,
    consumer: &'a Consumer,
    events: Events,
    agenda: Agenda,
    /// The queues whose schedules the store refuses.
    refused: Vec<QueueName>,
    /// Queues that this worker does not serve, and that schedules push to.
    not_served: BTreeSet<QueueName>,
}

impl Schedules<'_> {
    fn plan(&mut self, plugins: &Plugins) {
        let left_out = self.agenda.plan(plugins.schedules());
        if let Some(first) = left_out.first() {
            let schedules = left_out.len();
            tracing::error!(%first, schedules, "more than {MAX_SCHEDULES} schedules on this host: some do not fire");
        }
        let served = self.consumer.queues();
        for queue in self.agenda.queues().filter(|queue| !served.contains(queue)) {
            if self.not_served.insert(queue.clone()) {
                tracing::warn!(%queue, "schedules push to a queue that this worker does not serve");
            }
        }
    }

    /// Returns when something may be due; never, if there are no schedules.
    async fn due(&self) {
        let Some(due) = self.agenda.next() else {
            return std::future::pending().await;
        };
        let wait = Duration::try_from(due.duration_since(self.consumer.now())).unwrap_or_default();
        sleep(wait.min(LOOK_INTERVAL)).await;
    }

    async fn fire(&mut self) -> Result<(), QueueError> {
        let mut done = Ok(());
        for (queue, firings) in self.agenda.due(self.consumer.now()) {
            for firings in batches(&firings) {
                let fired = self.store.fire(&queue, firings).await;
                match fired {
                    Ok((at, fired)) => self.heard(&queue, firings, &fired, at),
                    // The other queues may be in other places.
                    Err(err) if err.is_outage() => done = Err(err),
                    Err(err) => self.refused(&queue, &err),
                }
            }
        }
        done
    }

    fn heard(&mut self, queue: &QueueName, firings: &[Firing], fired: &[Fired], at: Timestamp) {
        if self.refused.contains(queue) {
            tracing::info!(%queue, "the schedules of the queue can be fired again");
            self.refused.retain(|refused| refused != queue);
        }
        let now = self.consumer.now();
        for (firing, fired) in firings.iter().zip(fired) {
            if !self.agenda.heard(firing, *fired, at, now) {
                let schedule = &*firing.schedule;
                tracing::error!(schedule, %queue, "the queue remembers {MAX_REMEMBERED_SCHEDULES} schedules already: this one does not fire");
            }
            let Some(instant) = fired.last.filter(|_| fired.jobs + fired.skipped > 0) else {
                continue;
            };
            let late = at.duration_since(instant) - firing.shift;
            self.events.tell(Event::Fired {
                schedule: &firing.schedule,
                queue: queue.as_str(),
                jobs: fired.jobs,
                instant,
                late: Duration::try_from(late).unwrap_or_default(),
                skipped: fired.skipped,
            });
        }
    }

    /// A queue that the store refuses must not keep the others from being served.
    fn refused(&mut self, queue: &QueueName, err: &QueueError) {
        let until = self.consumer.now().saturating_add(REFUSED_WAIT);
        self.agenda.put_off(queue, until.unwrap_or(Timestamp::MAX));
        if !self.refused.contains(queue) {
            tracing::error!(%queue, %err, "the schedules of the queue cannot be fired; trying again");
            self.refused.push(queue.clone());
        }
    }
}

/// Cuts firings so that one message has no more than [`MAX_BATCH`] schedules and jobs, unless one schedule alone has more.
fn batches(mut firings: &[Firing]) -> impl Iterator<Item = &[Firing]> {
    std::iter::from_fn(move || {
        let mut size = 0;
        let fits = firings.iter().take_while(|firing| {
            size += 1 + firing.instants.len();
            size <= MAX_BATCH
        });
        let (batch, rest) = firings.split_at(fits.count().max(1).min(firings.len()));
        firings = rest;
        (!batch.is_empty()).then_some(batch)
    })
}
