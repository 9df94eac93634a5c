//! Deliveries: ready and waiting → in flight, and what is read of them.

use std::collections::BTreeSet;

use ::redis::{FromRedisValue, ParsingError, Value, cmd};

use super::LAST_TAG_MS;
use super::RedisStore;
use super::scripts::{FETCH, PIECE};
use crate::outcome::Lane;
use crate::queue::error::QueueError;
use crate::queue::limits::MAX_TAKEN_BYTES;
use crate::queue::moves::{Arrived, Claim, LaneTaken, LaneWish, Taken, Wish};
use crate::queue::queue_name::QueueName;

impl RedisStore {
    pub(super) async fn wait_ready(&self, queues: &[QueueName]) -> Result<(), QueueError> {
        let lists: Vec<_> = queues.iter().map(|queue| self.keys.ready(queue.as_str())).collect();
        self.key_watch.ready(&lists).await
    }

    pub(super) async fn wait_lanes(
        &self,
        queues: &[QueueName],
        known: &[BTreeSet<Lane>],
    ) -> Result<Vec<BTreeSet<Lane>>, QueueError> {
        let sets: Vec<_> = queues.iter().map(|queue| self.keys.lanes(queue.as_str())).collect();
        self.key_watch.lanes(&sets, known).await
    }

    pub(super) async fn fetch(&self, claim: &Claim<'_>, tag: u64, wish: Wish<'_>) -> Result<Option<Taken>, QueueError> {
        let queue = claim.queue.as_str();
        let last_tag = self.last_tag(claim);
        let orders = self.keys.orders(queue);
        let mut keys = vec![
            self.ready(claim),
            self.in_flight(claim),
            self.leases(claim),
            last_tag,
            orders,
        ];
        let large = wish.longest.map(|_| Lane::of_large());
        if large.is_some() || !wish.lanes.is_empty() {
            let waiting = |lane: &Lane| self.keys.waiting(queue, lane.as_str());
            keys.push(self.keys.lanes(queue));
            keys.extend(large.as_ref().map(waiting));
            keys.extend(wish.lanes.iter().map(|wish| waiting(&wish.lane)));
        }
        let mut call = FETCH.keys(&keys);
        call.arg(claim.host)
            .arg(claim.lease_ms())
            .arg(tag)
            .arg(wish.jobs)
            .arg(wish.bytes)
            .arg(LAST_TAG_MS)
            .arg(wish.largest)
            .arg(MAX_TAKEN_BYTES)
            .arg(wish.longest.unwrap_or(0))
            .arg(large.as_ref().map(Lane::as_str));
        for LaneWish { lane, jobs } in wish.lanes {
            call.arg(lane.as_str()).arg(jobs);
        }
        self.pool.call(&call).await
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

    pub(super) async fn held(&self, claim: &Claim<'_>) -> Result<Vec<u64>, QueueError> {
        self.run(cmd("HKEYS").arg(self.in_flight(claim))).await
    }
}

/// Three or five values: the jobs, two numbers for each lane, whether the queue is paused, the version of the marks of
/// cancelled jobs, the time in microseconds.
impl FromRedisValue for Taken {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let mut parts = Vec::<Value>::from_redis_value(value)?.into_iter();
        let mut part = || parts.next().unwrap_or(Value::Nil);
        let (jobs, lanes) = (part(), Vec::<usize>::from_redis_value(part())?);
        let of_lane = |numbers: &[usize; 2]| LaneTaken {
            taken: numbers[0],
            left: numbers[1],
        };
        Ok(Self {
            jobs: FromRedisValue::from_redis_value(jobs)?,
            lanes: lanes.as_chunks().0.iter().map(of_lane).collect(),
            paused: Option::<u8>::from_redis_value(part())?.is_some(),
            cancels: FromRedisValue::from_redis_value(part())?,
            at_us: Option::from_redis_value(part())?.unwrap_or(0),
        })
    }
}

/// Three values: the job's bytes or the beginning of them, its length, and its digest if there is one.
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
