//! Jobs that are unique by a key.

use std::time::Duration;

use super::RedisStore;
use super::scripts::CONTEND;
use super::turns::PLACE_REMEMBERED;
use crate::job::UniqueRule;
use crate::queue::error::QueueError;
use crate::queue::moves::{Claim, millis};
use crate::queue::unique::{Comes, Contended, Contender};

impl RedisStore {
    pub(super) async fn contend(
        &self,
        claim: &Claim<'_>,
        tag: u64,
        contender: &Contender<'_>,
    ) -> Result<Contended, QueueError> {
        let queue = claim.queue.as_str();
        let (Some(stem), Some(caps)) = (contender.lane.limited(), contender.lane.caps()) else {
            return Ok(Contended::Goes);
        };
        let comes = match contender.comes {
            Comes::New => "new",
            Comes::Again => "again",
            Comes::Revived => "revived",
        };
        let (lasts, most) = match contender.rule {
            UniqueRule::Drop | UniqueRule::Latest => (Duration::ZERO, Duration::ZERO),
            UniqueRule::Debounce { wait, max } => (wait, max),
            UniqueRule::Throttle(lasts) => (lasts, Duration::ZERO),
        };
        let group = contender.lane.group();
        let mut call = CONTEND.keys(&[self.in_flight(claim), self.keys.lanes(queue), self.keys.outbox(queue)]);
        call.arg(tag)
            .arg(contender.rule.as_str())
            .arg(comes)
            .arg(contender.id)
            .arg(contender.stamp)
            .arg(contender.job)
            .arg(contender.note)
            .arg(self.keys.group(queue, stem))
            .arg(group.as_str())
            .arg(caps)
            .arg(contender.cap)
            .arg(millis(lasts))
            .arg(millis(most))
            .arg(millis(PLACE_REMEMBERED));
        let (what, id): (String, String) = self.pool.call_with(&call, contender.job.len()).await?;
        let id = (!id.is_empty()).then_some(id);
        Ok(match what.as_str() {
            "waits" => Contended::Waits(id),
            "goes" => Contended::Goes,
            "duplicate" => Contended::Duplicate(id),
            _ => Contended::Gone,
        })
    }
}
