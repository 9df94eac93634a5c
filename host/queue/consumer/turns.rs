//! A host and the groups of lanes whose jobs wait for limits across hosts: when there is something to take, and what is taken back.

use std::sync::Arc;

use super::Consumer;
use super::delivery::{Delivery, End};
use crate::config::Cap;
use crate::outcome::Lane;
use crate::queue::error::QueueError;
use crate::queue::moves::{Admitted, Sweep};
use crate::queue::queue_name::QueueName;

impl Consumer {
    /// Has the store decide whether a job that was ready starts now, or waits in this lane of a group for its turn under these
    /// limits. If it waits, or is no longer in this host's table, the delivery is settled. None: the store was asked in vain, and the
    /// job is to be settled as one that waits. It may have got its places all the same; its settlement gives them back.
    pub async fn admit(&self, delivery: &mut Delivery, lane: &Lane, caps: &Arc<[Cap]>) -> Option<Admitted> {
        let (place, _) = self.table(&delivery.queue)?;
        delivery.admitted = Some(lane.clone());
        let admitted = self.admissions[place].ask(delivery.tag, lane, caps).await?;
        match admitted {
            Admitted::Starts => {}
            Admitted::Waits => delivery.end = End::Settled,
            Admitted::Gone => delivery.end = End::Refused,
        }
        Some(admitted)
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
