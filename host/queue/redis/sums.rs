//! Sums over time: a hash for each span.

use std::collections::BTreeMap;

use ::redis::cmd;
use futures::future::try_join_all;
use jiff::Timestamp;

use super::RedisStore;
use super::scripts::ADD_UP;
use crate::queue::error::QueueError;
use crate::queue::moves::millis;
use crate::queue::sums::{MAX_SUMS, Span, Sum, Sums};

/// Spans read at once.
const READ: usize = 64;

impl RedisStore {
    pub(super) async fn add_up(&self, at: Timestamp, sums: &Sums) -> Result<(), QueueError> {
        let fields: Vec<_> = sums
            .iter()
            .map(|(sum, more)| (sum.field(), sum.other().field(), more))
            .collect();
        // Each in a slot of its own. Sent together, over one connection.
        let adds = Span::ALL.map(async |span| {
            let mut call = ADD_UP.keys(&[self.keys.sums(span, span.number(at))]);
            call.arg(millis(span.kept())).arg(MAX_SUMS);
            for (name, other, more) in &fields {
                call.arg(name).arg(other).arg(more);
            }
            self.pool.call::<()>(&call).await
        });
        try_join_all(adds).await.map(drop)
    }

    pub(super) async fn sums(&self, span: Span, first: i64, count: usize) -> Result<Vec<Sums>, QueueError> {
        let numbers: Vec<_> = (0..count).zip(first..).map(|(_, number)| number).collect();
        let mut found = Vec::with_capacity(count);
        for numbers in numbers.chunks(READ) {
            let reads = numbers.iter().map(async |number| {
                let key = self.keys.sums(span, *number);
                let fields: BTreeMap<String, u64> = self.run(cmd("HGETALL").arg(key)).await?;
                let sums = fields
                    .into_iter()
                    .filter_map(|(name, sum)| Some((Sum::read(&name)?, sum)));
                Ok::<_, QueueError>(sums.collect::<Sums>())
            });
            found.extend(try_join_all(reads).await?);
        }
        Ok(found)
    }
}
