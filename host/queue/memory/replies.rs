//! Answers to those who wait for jobs, in memory.

use super::MemoryStore;
use crate::job::Reply;
use crate::queue::backend::SILENCE;
use crate::queue::moves::Ended;

/// Most answers kept; the oldest is dropped first. Redis lets them expire instead.
pub(super) const MAX_REPLIES_KEPT: usize = 10_000;

impl MemoryStore {
    pub(super) fn reply(&self, replies: &[Reply]) {
        let mut state = self.state();
        for reply in replies {
            state.replies.push_back(reply.clone());
            if state.replies.len() > MAX_REPLIES_KEPT {
                state.replies.pop_front();
            }
        }
        drop(state);
        self.ended.notify_waiters();
    }

    pub(super) fn ended(&self, id: &str) -> Ended {
        let result = self.result(id);
        let state = self.state();
        let reply = state.replies.iter().rfind(|reply| reply.id == id);
        Ended {
            reply: reply.map(|reply| reply.json.clone()),
            result,
        }
    }

    pub(super) async fn wait_ended(&self, id: &str) -> Ended {
        let changed = self.ended.notified();
        let found = self.ended(id);
        if found.is_known() {
            return found;
        }
        let _ = tokio::time::timeout(SILENCE, changed).await;
        self.ended(id)
    }
}
