//! Answers to those who wait for jobs: a list for each job that asks for one, in a slot of its own.

use ::redis::cmd;
use futures::future::try_join_all;

use super::RedisStore;
use super::scripts::REPLY;
use crate::job::Reply;
use crate::queue::error::QueueError;
use crate::queue::limits::MAX_REPLIES;
use crate::queue::moves::{Ended, millis};
use crate::queue::settings::RESULT_TTL_DEFAULT;

impl RedisStore {
    pub(super) async fn reply(&self, replies: &[Reply]) -> Result<(), QueueError> {
        let kept = if self.keeps_results() {
            self.result_ttl
        } else {
            RESULT_TTL_DEFAULT
        };
        let replies = replies.iter().map(async |reply| {
            let mut call = REPLY.keys(&[self.keys.replies(&reply.id)]);
            call.arg(&reply.json).arg(MAX_REPLIES).arg(millis(kept));
            self.pool.call_with::<()>(&call, reply.json.len()).await
        });
        try_join_all(replies).await?;
        Ok(())
    }

    pub(super) async fn ended(&self, id: &str) -> Result<Ended, QueueError> {
        let reply = self.run(cmd("LINDEX").arg(self.keys.replies(id)).arg(-1)).await?;
        let result = self.result(id).await?;
        Ok(Ended { reply, result })
    }

    pub(super) async fn wait_ended(&self, id: &str) -> Result<Ended, QueueError> {
        let keys = [self.keys.replies(id), self.keys.result(id)];
        self.key_watch.any(&keys).await?;
        self.ended(id).await
    }
}
