//! A host's questions about what operators have ordered.

use std::collections::BTreeSet;

use super::Consumer;
use crate::events::{Event, Events, Pausable};
use crate::queue::error::QueueError;
use crate::queue::orders::{Orders, Pause};
use crate::queue::queue_name::QueueName;

impl Consumer {
    /// Whether a queue is paused: nothing may be fetched from it.
    #[must_use]
    pub fn is_paused(&self, queue: &QueueName) -> bool {
        let place = self.queues.iter().position(|served| served == queue);
        place.is_some_and(|place| self.shared.orders.is_paused(place, queue))
    }

    /// Whether the jobs of this name are paused: none of them may start.
    #[must_use]
    pub fn is_job_paused(&self, name: &str) -> bool {
        self.shared.orders.is_job_paused(name)
    }

    /// Returns once what operators have ordered has changed. Wakes one waiter only.
    pub async fn orders_changed(&self) {
        self.shared.orders.changed.notified().await;
    }

    /// Asks the store what operators have ordered. Returns once that may have changed, at the latest after a few
    /// seconds.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn look_at_orders(&self) -> Result<(), QueueError> {
        let orders = &self.shared.orders;
        let found = loop {
            let known = orders.believed(&self.queues);
            let looking = self.shared.backend().wait_orders(&self.queues, known.as_ref());
            tokio::select! {
                found = looking => break found?,
                // It may be over already: this look would wait for another change.
                () = orders.told.notified() => {}
            }
        };
        for (place, version) in found.cancels.iter().enumerate() {
            match self.hear_of_cancels(place, *version).await {
                Err(err) if err.is_outage() => return Err(err),
                // Nothing more is started of this queue: each fetch asks again. The other queues go on.
                Err(err) => tracing::error!(queue = %self.queues[place], %err, "cannot read which jobs are cancelled"),
                Ok(()) => {}
            }
        }
        let before = orders.learn(found.clone());
        tell(&self.shared.events, &self.queues, &before, &found);
        Ok(())
    }
}

/// Tells what is paused and was not, and the other way round.
fn tell(events: &Events, queues: &[QueueName], before: &Orders, now: &Orders) {
    let tell = |what: Pausable<'_>, before: Option<&Pause>, now: Option<&Pause>| match (before, now) {
        (_, Some(Pause { by, reason, .. })) if before != now => events.tell(Event::Paused { what, by, reason }),
        (Some(_), None) => events.tell(Event::Resumed { what }),
        _ => {}
    };
    for (place, queue) in queues.iter().enumerate() {
        let [before, now] = [before, now].map(|orders| orders.queues.get(place).and_then(Option::as_ref));
        tell(Pausable::Queue(queue.as_str()), before, now);
    }
    let names: BTreeSet<_> = before.jobs.keys().chain(now.jobs.keys()).collect();
    for name in names {
        tell(Pausable::Job(name), before.jobs.get(name), now.jobs.get(name));
    }
}
