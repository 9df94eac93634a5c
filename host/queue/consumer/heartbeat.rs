//! How a host keeps its leases, and stops in time what runs under one that it could not keep.

use std::time::Duration;

use futures::future::join_all;

use super::Consumer;
use crate::events::{Event, LeaseLoss};
use crate::queue::error::QueueError;

/// Longest time between two looks at the clock by which leases end: timers stop while the machine sleeps, that clock
/// does not.
const GUARD_INTERVAL: Duration = Duration::from_millis(500);

/// Leases that end within this time of each other are lost together.
const TOGETHER: Duration = Duration::from_millis(50);

/// What a heartbeat found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeat {
    /// The lease was good and has been renewed.
    Kept,
    /// The lease had run out: other hosts may have taken over its jobs. The attempts under it were stopped, and there
    /// is a new lease.
    Lapsed,
}

impl Consumer {
    /// Time between heartbeats: two may fail before the lease ends.
    #[must_use]
    pub fn heartbeat_interval(&self) -> Duration {
        self.shared.length * 3 / 10
    }

    /// Renews the leases.
    ///
    /// # Errors
    /// When the store cannot be used, or refuses all of them.
    pub async fn heartbeat(&self) -> Result<Heartbeat, QueueError> {
        let (mut all, mut failed) = (None, None);
        for (queue, beat) in self.queues.iter().zip(self.heartbeats().await) {
            match beat {
                Ok(beat) => all = all.filter(|all| *all == Heartbeat::Lapsed).or(Some(beat)),
                Err(err) if err.is_outage() => return Err(err),
                Err(err) => failed = failed.or(Some((queue, err))),
            }
        }
        match (all, failed) {
            (None, Some((queue, err))) => Err(QueueError::Queue {
                queue: queue.clone(),
                source: Box::new(err),
            }),
            (all, _) => Ok(all.unwrap_or(Heartbeat::Kept)),
        }
    }

    /// Renews the leases, and returns the result of each, in the order of the queues. One that the store refuses, or
    /// that gets no answer in time, does not delay the others.
    pub async fn heartbeats(&self) -> Vec<Result<Heartbeat, QueueError>> {
        let beats = self.shared.tables.iter().map(|table| async move {
            let kept = self.shared.renew(&table.lease).await?;
            Ok(if kept { Heartbeat::Kept } else { Heartbeat::Lapsed })
        });
        let beats = join_all(beats).await;
        let is_outage = |beat: &Result<_, QueueError>| beat.as_ref().is_err_and(QueueError::is_outage);
        if !beats.iter().any(is_outage) {
            self.shared.outage.beat();
        }
        beats
    }

    /// Stops the attempts under any lease that is about to end unrenewed, and returns when to look again. So no two
    /// hosts run one job at once, as long as this host's clock runs.
    pub fn stop_in_time(&self) -> Duration {
        let (mut next, mut stopped, mut soon) = (GUARD_INTERVAL, Vec::new(), Vec::new());
        for table in &self.shared.tables {
            match table.lease.stop_in_time() {
                Ok(left) if left < TOGETHER => soon.push((table, left)),
                Ok(left) => next = next.min(left),
                Err(_stopped) => stopped.push(table.queue().as_str()),
            }
        }
        if stopped.is_empty() {
            return soon.iter().fold(next, |next, (_, left)| next.min(*left));
        }
        // One outage ends the leases on all queues within moments: that is reported as one loss.
        for (table, _) in soon {
            if table.lease.ran_out() {
                stopped.push(table.queue().as_str());
            }
        }
        self.shared.events.tell(Event::LeaseLost {
            queues: &stopped,
            loss: LeaseLoss::NotRenewed,
        });
        next
    }
}
