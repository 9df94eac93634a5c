//! What operators have ordered, in memory.

use std::collections::BTreeMap;

use super::MemoryStore;
use crate::queue::backend::SILENCE;
use crate::queue::error::QueueError;
use crate::queue::orders::{MAX_PAUSED_JOBS, Orders, Pausable, Pause};
use crate::queue::queue_name::QueueName;

impl MemoryStore {
    pub(super) fn pause(&self, what: &Pausable, pause: Option<&Pause>) -> Result<Option<Pause>, QueueError> {
        let mut state = self.state();
        let before = match (what, pause.cloned()) {
            (Pausable::Queue(queue), pause) => std::mem::replace(&mut state.queue(queue).paused, pause),
            (Pausable::Job(name), None) => state.paused_jobs.remove(name),
            (Pausable::Job(name), Some(pause)) => {
                if !state.paused_jobs.contains_key(name) && state.paused_jobs.len() >= MAX_PAUSED_JOBS {
                    return Err(QueueError::Full {
                        most: MAX_PAUSED_JOBS,
                        what: "paused job names",
                    });
                }
                state.paused_jobs.insert(name.clone(), pause)
            }
        };
        self.orders.notify_waiters();
        Ok(before)
    }

    pub(super) fn paused_jobs(&self) -> BTreeMap<String, Pause> {
        self.state().paused_jobs.clone()
    }

    pub(super) async fn wait_orders(&self, queues: &[QueueName], known: Option<&Orders>) -> Orders {
        let changed = self.orders.notified();
        let look = || {
            let mut state = self.state();
            Orders {
                queues: queues.iter().map(|queue| state.queue(queue).paused.clone()).collect(),
                jobs: state.paused_jobs.clone(),
                cancels: queues
                    .iter()
                    .map(|queue| state.queue(queue).cancels.version().unwrap_or(0))
                    .collect(),
            }
        };
        let found = look();
        if known != Some(&found) {
            return found;
        }
        let _ = tokio::time::timeout(SILENCE, changed).await;
        look()
    }
}
