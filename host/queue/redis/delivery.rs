//! Deliveries: ready → in flight, what is read of them, and whether they have started.

use ::redis::{FromRedisValue, ParsingError, Value, cmd};

use super::LAST_TAG_MS;
use super::RedisStore;
use super::scripts::{FETCH, PARK, PIECE, UNPARK};
use crate::queue::error::QueueError;
use crate::queue::limits::MAX_TAKEN_BYTES;
use crate::queue::moves::{Arrived, Claim, Taken, Wish};
use crate::queue::queue_name::QueueName;

impl RedisStore {
    pub(super) async fn wait_ready(&self, queues: &[QueueName]) -> Result<(), QueueError> {
        let lists: Vec<_> = queues.iter().map(|queue| self.keys.ready(queue.as_str())).collect();
        self.key_watch.ready(&lists).await
    }

    pub(super) async fn fetch(&self, claim: &Claim<'_>, tag: u64, wish: Wish) -> Result<Option<Taken>, QueueError> {
        let last_tag = self.last_tag(claim);
        let mut call = FETCH.keys(&[self.ready(claim), self.in_flight(claim), self.leases(claim), last_tag]);
        call.arg(claim.host)
            .arg(claim.lease_ms())
            .arg(tag)
            .arg(wish.jobs)
            .arg(wish.bytes)
            .arg(LAST_TAG_MS)
            .arg(wish.largest)
            .arg(MAX_TAKEN_BYTES);
        let jobs: Option<Vec<Arrived>> = self.pool.call(&call).await?;
        Ok(jobs.map(|jobs| Taken { jobs, went_back: 0 }))
    }

    pub(super) async fn piece(
        &self,
        claim: &Claim<'_>,
        tag: u64,
        skip: usize,
        bytes: usize,
    ) -> Result<Option<Vec<u8>>, QueueError> {
        let mut call = PIECE.keys(&[self.in_flight(claim)]);
        self.pool.call(call.arg(tag).arg(skip).arg(bytes)).await
    }

    pub(super) async fn park(&self, claim: &Claim<'_>, tag: u64) -> Result<(), QueueError> {
        let mut call = PARK.keys(&[self.in_flight(claim), self.parked(claim)]);
        self.pool.call(call.arg(tag)).await
    }

    pub(super) async fn unpark(&self, claim: &Claim<'_>, tag: u64) -> Result<bool, QueueError> {
        let mut call = UNPARK.keys(&[self.in_flight(claim), self.parked(claim)]);
        self.pool.call(call.arg(tag)).await
    }

    pub(super) async fn held(&self, claim: &Claim<'_>) -> Result<Vec<u64>, QueueError> {
        self.run(cmd("HKEYS").arg(self.in_flight(claim))).await
    }
}

/// Its bytes, or the first of them, how many there are, and perhaps their digest.
impl FromRedisValue for Arrived {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        if let Value::BulkString(bytes) = value {
            return Ok(bytes.into());
        }
        let mut parts = Vec::<Value>::from_redis_value(value)?.into_iter();
        let mut part = || parts.next().unwrap_or(Value::Nil);
        Ok(Self {
            bytes: FromRedisValue::from_redis_value(part())?,
            len: FromRedisValue::from_redis_value(part())?,
            sha1: FromRedisValue::from_redis_value(part())?,
        })
    }
}
