//! A host and the groups of lanes whose jobs wait for limits across hosts.

use std::sync::atomic::Ordering;

use super::Consumer;
use super::delivery::Delivery;
use crate::config::Cap;
use crate::outcome::Lane;
use crate::queue::error::QueueError;
use crate::queue::limits::MAX_BATCH;
use crate::queue::moves::{Sweep, Turn};
use crate::queue::queue_name::QueueName;
use crate::stop::Moment;

impl Consumer {
    /// Takes up to `count` jobs, at most [`MAX_BATCH`], from a group of lanes, as many as its limits let start now. With
    /// `longest`, lanes whose next job has more bytes are passed over. Otherwise as [`Self::fetch`].
    ///
    /// # Errors
    /// When the store fails. Jobs that may have been taken all the same go back before the next fetch.
    pub async fn serve(
        &self,
        queue: &QueueName,
        count: usize,
        group: &Lane,
        caps: &[Cap],
        longest: Option<usize>,
    ) -> Result<Vec<Delivery>, QueueError> {
        let Some((place, table)) = self.table(queue).filter(|_| !self.is_outbox_full(queue)) else {
            return Ok(Vec::new());
        };
        if table.is_behind() {
            let queue = queue.clone();
            return Err(QueueError::Behind { queue });
        }
        let taking = self.shared.take(table).await?;
        let jobs = count.min(MAX_BATCH);
        let tag = self.next_tag.fetch_add(jobs as u64, Ordering::Relaxed);
        let (asked, stop, lessons) = (Moment::now(), table.lease.running(), self.shared.lanes.lessons());
        let looks = self.shared.orders.looks();
        let turn = Turn {
            group,
            caps,
            jobs,
            longest,
            bytes: taking.bytes(),
        };
        let answer = self.shared.backend().serve(&self.shared.claim(queue), tag, turn).await;
        let Some((served, taking)) = self.answered(table, taking, answer).await? else {
            return Ok(Vec::new());
        };
        if served.paused {
            taking.nothing();
            self.shared.orders.is_told(queue, looks);
            return Ok(Vec::new());
        }
        if !served.jobs.is_empty() {
            table.lease.renewed(asked);
            self.hear_of_cancels(place, served.cancels.unwrap_or(0)).await?;
        }
        self.stop_in_time();
        let (jobs, lanes): (Vec<_>, Vec<_>) = served.jobs.into_iter().unzip();
        let mut deliveries = taking.heard(tag, jobs, &stop);
        for (delivery, lane) in deliveries.iter_mut().zip(lanes) {
            delivery.lane = lane;
        }
        if served.left == 0 {
            self.shared.lanes.forget(queue, group, lessons);
        }
        self.tell_fetched(queue, tag, &deliveries);
        Ok(deliveries)
    }

    /// Returns once a lane's turn may have come in one of these groups, at the latest after a few seconds. False: it has not.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wait_turns(&self, groups: &[(QueueName, Lane)]) -> Result<bool, QueueError> {
        self.shared.backend().wait_turns(groups).await
    }

    /// The groups of lanes that hold jobs, each with its queue.
    #[must_use]
    pub fn groups(&self) -> Vec<(QueueName, Lane)> {
        let of_queue = |queue: &QueueName| {
            let lanes = self.shared.lanes.of(queue).into_iter();
            let groups = lanes.filter(|lane| lane.limited().is_some());
            groups.map(|group| (queue.clone(), group)).collect::<Vec<_>>()
        };
        self.queues.iter().flat_map(of_queue).collect()
    }

    /// Takes back the places of a group's limits that no delivery occupies any more, and looks how full the group is. `caps`
    /// are the limits as they are now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep(
        &self,
        queue: &QueueName,
        group: &Lane,
        caps: &[Cap],
        when: Sweep<'_>,
    ) -> Result<(), QueueError> {
        let swept = self.shared.backend().sweep(queue, group, caps, when).await?;
        self.shared.lanes.set_full(queue, group, swept.is_full());
        Ok(())
    }

    /// Whether any group of a queue does.
    #[must_use]
    pub fn is_any_full(&self, queue: &QueueName) -> bool {
        let lanes = self.shared.lanes.of(queue);
        lanes.iter().any(|lane| self.shared.lanes.is_full(queue, lane))
    }

    /// Whether a group holds as many jobs or lanes as it may, so that no more should be added.
    #[must_use]
    pub fn is_full(&self, queue: &QueueName, group: &Lane) -> bool {
        self.shared.lanes.is_full(queue, group)
    }
}
