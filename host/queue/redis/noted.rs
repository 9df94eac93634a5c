//! Which queues this process has taken note of lately, so that it does not do so with every push.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::queue::queue_name::QueueName;

/// How long a note of one's own is taken for granted.
const GRANTED: Duration = Duration::from_mins(10);

/// Queues whose notes are remembered: who pushes to more takes note of some too often.
const MAX_GRANTED: usize = 1_000;

/// When this process took note of which queue.
#[derive(Debug, Default)]
pub(super) struct Noted(Mutex<HashMap<QueueName, Instant>>);

impl Noted {
    pub(super) fn is_granted(&self, queue: &QueueName) -> bool {
        self.0.lock().get(queue).is_some_and(|at| at.elapsed() < GRANTED)
    }

    pub(super) fn grant<'q>(&self, queues: impl IntoIterator<Item = &'q QueueName>) {
        let mut noted = self.0.lock();
        for queue in queues {
            if noted.len() >= MAX_GRANTED {
                noted.clear();
            }
            noted.insert(queue.clone(), Instant::now());
        }
    }
}
