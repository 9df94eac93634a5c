//! Leases: renewing them, giving them up, and taking over the jobs of one that has run out.

use std::time::Duration;

use ::redis::cmd;
use jiff::Timestamp;

use super::scripts::{ADOPT, DEAD, LEAVE, RENEW};
use super::{LAST_TAG_MS, RedisStore};
use crate::queue::error::QueueError;
use crate::queue::limits::{MAX_BATCH_BYTES, MAX_TAKEN_BYTES};
use crate::queue::moves::{Arrived, Claim, Dead, Renewed, Taken, millis};
use crate::queue::queue_name::QueueName;

impl RedisStore {
    pub(super) async fn renew(&self, claim: &Claim<'_>) -> Result<Renewed, QueueError> {
        self.pool.trim();
        let mut call = RENEW.keys(&[self.leases(claim)]);
        call.arg(claim.host).arg(claim.lease_ms());
        let (kept, now_ms): (bool, i64) = self.pool.call_promptly(&call).await?;
        let at = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::MAX);
        Ok(Renewed { kept, at })
    }

    pub(super) async fn leave(&self, claim: &Claim<'_>) -> Result<(), QueueError> {
        let mut call = LEAVE.keys(&[self.leases(claim), self.in_flight(claim), self.last_tag(claim)]);
        self.pool.call(call.arg(claim.host)).await
    }

    pub(super) async fn dead(&self, queue: &QueueName) -> Result<Dead, QueueError> {
        let leases = self.keys.leases(queue.as_str());
        let (hosts, next_ms): (_, i64) = self.pool.call(&DEAD.keys(&[leases])).await?;
        let next = u64::try_from(next_ms).ok().map(Duration::from_millis);
        Ok(Dead { hosts, next })
    }

    pub(super) async fn adopt(
        &self,
        claim: &Claim<'_>,
        dead: &str,
        tag: u64,
        count: usize,
        patience: Duration,
    ) -> Result<Option<Taken>, QueueError> {
        let queue = claim.queue.as_str();
        let mut call = ADOPT.keys(&[
            self.leases(claim),
            self.keys.in_flight(queue, dead),
            self.in_flight(claim),
            self.last_tag(claim),
            self.keys.found_dead(queue, dead),
        ]);
        call.arg(dead)
            .arg(claim.host)
            .arg(claim.lease_ms())
            .arg(tag)
            .arg(count)
            .arg(MAX_BATCH_BYTES)
            .arg(LAST_TAG_MS)
            .arg(millis(patience))
            .arg(MAX_TAKEN_BYTES);
        let jobs: Option<Vec<Arrived>> = self.pool.call(&call).await?;
        Ok(jobs.map(|jobs| Taken {
            jobs,
            ..Taken::default()
        }))
    }

    /// The time by Redis' own clock; in a Cluster, by the clock of one of its servers.
    pub(super) async fn now(&self) -> Result<Timestamp, QueueError> {
        let (s, us): (i64, i64) = self.run(&cmd("TIME")).await?;
        Ok(Timestamp::from_microsecond(s.saturating_mul(1_000_000).saturating_add(us)).unwrap_or(Timestamp::MAX))
    }
}
