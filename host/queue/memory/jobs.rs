//! Jobs, read where they lie, in memory.

use std::collections::VecDeque;

use super::MemoryStore;
use super::state::told;
use crate::queue::limits::LOOKED_AT;
use crate::queue::moves::{JobsPage, Part, Seen};
use crate::queue::queue_name::QueueName;

impl MemoryStore {
    pub(super) fn jobs(&self, queue: &QueueName, part: &Part, from: Option<&str>) -> JobsPage {
        let mut state = self.state();
        let queue = state.queue(queue);
        match part {
            Part::Ready => of_list(&queue.ready, from),
            Part::Lane(lane) => queue.lane(lane).map(|list| of_list(list, from)).unwrap_or_default(),
            Part::Delayed => {
                let before = from
                    .and_then(|from| from.split_once('/'))
                    .and_then(|(due_ms, order)| Some((due_ms.parse().ok()?, order.parse().ok()?)))
                    .unwrap_or((i64::MAX, u64::MAX));
                let jobs = queue.delayed.range(..before).rev();
                page(jobs.map(|(&(due_ms, order), job)| (format!("{due_ms}/{order}"), seen(job, Some(due_ms)))))
            }
            Part::InFlight(host) => {
                let after = from.and_then(|from| from.parse().ok()).unwrap_or(0);
                let jobs = queue.in_flight.get(host).into_iter();
                let jobs = jobs.flat_map(|held| held.range(after + 1..));
                page(jobs.map(|(tag, job)| (tag.to_string(), seen(job, None))))
            }
        }
    }
}

fn of_list(list: &VecDeque<Vec<u8>>, from: Option<&str>) -> JobsPage {
    let end = from
        .and_then(|from| from.parse().ok())
        .unwrap_or(usize::MAX)
        .min(list.len());
    let jobs = (0..end).rev().zip(list.range(..end).rev());
    page(jobs.map(|(place, job)| (place.to_string(), seen(job, None))))
}

/// The first of these jobs, each of which says where a page would end with it.
fn page(jobs: impl Iterator<Item = (String, Seen)>) -> JobsPage {
    let (mut read, mut jobs) = (JobsPage::default(), jobs.peekable());
    for (ends, job) in jobs.by_ref().take(LOOKED_AT) {
        read.jobs.push(job);
        read.next = Some(ends);
    }
    read.next = read.next.filter(|_| jobs.peek().is_some());
    read
}

fn seen(job: &[u8], due_ms: Option<i64>) -> Seen {
    Seen { job: told(job), due_ms }
}
