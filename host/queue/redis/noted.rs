//! Which queues this process has recorded lately, so that not every push records its queue again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::queue::queue_name::QueueName;

/// How long this process relies on its own record.
const GRANTED: Duration = Duration::from_mins(10);

/// Most queues remembered. A process that pushes to more records some of them too often, which is harmless.
const MAX_GRANTED: usize = 1_000;

/// When this process recorded which queue.
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
