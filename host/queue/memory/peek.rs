//! A look at the jobs that a queue holds, in memory.

use super::MemoryStore;
use crate::queue::moves::{Arrived, PEEK_BYTES, Peeked, Place};
use crate::queue::queue_name::QueueName;

impl MemoryStore {
    pub(super) fn peek(&self, queue: &QueueName, place: Place, start: u64, count: usize) -> Vec<Peeked> {
        let mut state = self.state();
        let queue = state.queue(queue);
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let seen = |job: &Vec<u8>, due_ms, host| Peeked {
            job: Arrived {
                bytes: job[..job.len().min(PEEK_BYTES)].to_vec(),
                len: job.len(),
                sha1: None,
            },
            due_ms,
            host,
        };
        match place {
            Place::Ready => {
                let jobs = queue.ready.iter().skip(start).take(count);
                jobs.map(|job| seen(job, None, None)).collect()
            }
            Place::Delayed => {
                let jobs = queue.delayed.iter().skip(start).take(count);
                jobs.map(|((due_ms, _), job)| seen(job, Some(*due_ms), None)).collect()
            }
            Place::InFlight => {
                let held = queue.in_flight.iter();
                let jobs = held.flat_map(|(host, held)| held.values().map(move |job| (host, job)));
                let jobs = jobs.skip(start).take(count);
                jobs.map(|(host, job)| seen(job, None, Some(host.clone()))).collect()
            }
        }
    }
}
