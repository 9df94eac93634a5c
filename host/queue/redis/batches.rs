//! Batches. The keys of one share a slot, and each call is one script.

use std::collections::HashMap;

use ::redis::cmd;
use jiff::Timestamp;

use super::RedisStore;
use super::scripts::BATCH_MARK;
use crate::job::{MAX_MEMBERS, Sizes};
use crate::queue::batches::{BATCH_KEPT, BatchState, Mark, Marked};
use crate::queue::error::QueueError;
use crate::queue::moves::millis;

impl RedisStore {
    pub(super) async fn mark_batch(&self, id: &str, marks: &[Mark<'_>]) -> Result<Vec<Marked>, QueueError> {
        let mut call = BATCH_MARK.keys(&self.keys.batch(id));
        call.arg(MAX_MEMBERS).arg(millis(BATCH_KEPT));
        for Mark { mark, entry } in marks {
            call.arg(entry).arg(&mark.member);
            call.arg(if mark.failed { "failed" } else { "done" });
            call.arg(mark.of).arg(mark.adds.len()).arg(&mark.adds);
        }
        let marked: Vec<(u64, u64, u64, bool, bool, bool)> = self.pool.call(&call).await?;
        let marked = marked
            .into_iter()
            .map(|(total, done, failed, then, complete, late)| Marked {
                sizes: Sizes { total, done, failed },
                then,
                complete,
                late,
            });
        Ok(marked.collect())
    }

    pub(super) async fn batch(&self, id: &str) -> Result<Option<BatchState>, QueueError> {
        let [done, failed, added, meta] = self.keys.batch(id);
        let known: HashMap<String, String> = self.run(cmd("HGETALL").arg(meta)).await?;
        let number = |key| known.get(key).and_then(|text| text.parse().ok());
        let Some(began) = number("began").and_then(|ms| Timestamp::from_millisecond(ms).ok()) else {
            return Ok(None);
        };
        let announced = number("of").and_then(|of| u64::try_from(of).ok()).unwrap_or(0);
        let count = async |key: &str| self.run::<u64>(cmd("SCARD").arg(key)).await;
        let (done, failed, added) = (count(&done).await?, count(&failed).await?, count(&added).await?);
        let total = announced + added;
        Ok(Some(BatchState {
            sizes: Sizes { total, done, failed },
            announced,
            began,
            then: known.contains_key("then"),
            complete: known.contains_key("complete"),
        }))
    }
}
