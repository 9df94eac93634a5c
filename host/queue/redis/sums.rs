//! Sums over time: two hashes for each span, of waits and of all others.

use std::collections::BTreeMap;

use ::redis::cmd;
use futures::future::try_join_all;
use jiff::Timestamp;

use super::RedisStore;
use super::scripts::ADD_UP;
use crate::queue::error::QueueError;
use crate::queue::moves::millis;
use crate::queue::sums::{MAX_SUMS, Of, Span, Sum, Sums};

/// Spans read at once.
const READ: usize = 64;

impl RedisStore {
    pub(super) async fn add_up(&self, at: Timestamp, sums: &Sums) -> Result<(), QueueError> {
        let (waits, others): (Vec<_>, Vec<_>) = sums.iter().partition(|(sum, _)| sum.of == Of::Wait);
        let of_span = |span: Span| {
            let number = span.number(at);
            [
                (span, self.keys.sums(span, number), &others),
                (span, self.keys.waits(span, number), &waits),
            ]
        };
        // Each in a slot of its own. Sent together, over one connection.
        let adds = Span::ALL.into_iter().flat_map(of_span);
        let adds = adds.filter(|(.., sums)| !sums.is_empty());
        try_join_all(adds.map(async |(span, key, sums)| self.add_to(span, key, sums).await))
            .await
            .map(drop)
    }

    async fn add_to(&self, span: Span, key: String, sums: &[(&Sum, &u64)]) -> Result<(), QueueError> {
        let fields: Vec<_> = sums
            .iter()
            .map(|(sum, more)| (sum.field(), sum.other().field(), **more))
            .collect();
        let keys = [key];
        let mut call = ADD_UP.keys(&keys);
        call.arg(millis(span.kept())).arg(MAX_SUMS);
        for (name, other, more) in &fields {
            call.arg(name).arg(other).arg(more);
        }
        self.pool.call::<()>(&call).await
    }

    pub(super) async fn sums(&self, span: Span, first: i64, count: usize) -> Result<Vec<Sums>, QueueError> {
        let numbers = (0..count).zip(first..);
        self.read_all(numbers.map(|(_, number)| self.keys.sums(span, number)).collect())
            .await
    }

    pub(super) async fn wait_sums(&self, span: Span, first: i64, count: usize) -> Result<Vec<Sums>, QueueError> {
        let numbers = (0..count).zip(first..);
        self.read_all(numbers.map(|(_, number)| self.keys.waits(span, number)).collect())
            .await
    }

    async fn read_all(&self, keys: Vec<String>) -> Result<Vec<Sums>, QueueError> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(READ) {
            let reads = keys.iter().map(async |key| self.read(key.clone()).await);
            found.extend(try_join_all(reads).await?);
        }
        Ok(found)
    }

    async fn read(&self, key: String) -> Result<Sums, QueueError> {
        let fields: BTreeMap<String, u64> = self.run(cmd("HGETALL").arg(key)).await?;
        let sums = fields
            .into_iter()
            .filter_map(|(name, sum)| Some((Sum::read(&name)?, sum)));
        Ok(sums.collect())
    }
}
