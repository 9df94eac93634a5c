//! What the parts of a consumer share.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::cancels::KnownCancels;
use super::clock::Clock;
use super::in_flight::{InFlight, Taking};
use super::lanes::KnownLanes;
use super::lease::Lease;
use super::orders::KnownOrders;
use super::outage::Outage;
use super::outboxes::Outboxes;
use crate::events::{Event, Events, LeaseLoss};
use crate::queue::backend::Backend;
use crate::queue::error::QueueError;
use crate::queue::moves::{Claim, Renewed};
use crate::queue::queue_name::QueueName;
use crate::queue::store::Store;
use crate::stop::Moment;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) host: String,
    /// One table for each queue.
    pub(super) tables: Vec<InFlight>,
    pub(super) length: Duration,
    /// Room for settlements that each queue has, in KiB.
    pub(super) room_kib: u32,
    pub(super) outage: Outage,
    pub(super) lanes: Arc<KnownLanes>,
    pub(super) orders: KnownOrders,
    pub(super) cancels: KnownCancels,
    pub(super) outboxes: Outboxes,
    pub(super) events: Events,
    pub(super) clock: Clock,
}

impl Shared {
    pub(super) fn backend(&self) -> &dyn Backend {
        self.store.backend()
    }

    /// Renews one lease. False: it had run out.
    pub(super) async fn renew(&self, lease: &Lease) -> Result<bool, QueueError> {
        let patience = self.length.max(Duration::from_secs(1)) / 4;
        let (asked, asked_at, claim) = (Moment::now(), Timestamp::now(), self.claim(&lease.queue));
        let renewed = tokio::time::timeout(patience, self.backend().renew(&claim)).await;
        let Renewed { kept, at } = renewed.unwrap_or_else(|_| {
            // The store, of which the request was dropped, cannot tell of it.
            self.events.tell(Event::StoreAsked {
                operation: "renew",
                took: Some(patience),
                failed: true,
            });
            Err(QueueError::Slow { patience })
        })?;
        self.clock.heard(at, asked_at, Timestamp::now());
        if !kept && lease.ran_out() {
            self.lost(lease, LeaseLoss::RanOut);
        }
        self.renewed(lease, asked);
        if !kept {
            // Without it this host can do as well, except in a slot that is moving away.
            _ = tokio::time::timeout(patience, self.backend().prepare(&lease.queue)).await;
        }
        Ok(kept)
    }

    /// Takes note that one lease was renewed by what the store was asked at `asked`.
    pub(super) fn renewed(&self, lease: &Lease, asked: Moment) {
        if lease.renewed(asked) {
            self.lost(lease, LeaseLoss::NotRenewed);
        }
    }

    fn lost(&self, lease: &Lease, loss: LeaseLoss) {
        let queues = &[lease.queue.as_str()];
        self.events.tell(Event::LeaseLost { queues, loss });
    }

    /// Waits for the right to move jobs into a table.
    pub(super) async fn take<'a>(&'a self, table: &'a InFlight) -> Result<Taking<'a>, QueueError> {
        table.take(self.backend(), &self.claim(table.queue())).await
    }

    pub(super) fn claim<'a>(&'a self, queue: &'a QueueName) -> Claim<'a> {
        Claim {
            host: &self.host,
            queue,
            lease: self.length,
        }
    }
}
