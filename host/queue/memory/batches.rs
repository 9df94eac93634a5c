//! Batches. The oldest is forgotten when there are too many.

use std::collections::{BTreeSet, HashMap, VecDeque};

use jiff::Timestamp;

use crate::job::{MAX_MEMBERS, Sizes};
use crate::outcome::BatchMark;
use crate::queue::batches::{BatchState, Marked};

/// Most batches that are remembered.
const MAX_KEPT: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Batches {
    known: HashMap<String, Batch>,
    /// In the order in which they began.
    order: VecDeque<String>,
}

#[derive(Debug)]
struct Batch {
    announced: u64,
    done: BTreeSet<String>,
    failed: BTreeSet<String>,
    added: BTreeSet<String>,
    began: Timestamp,
    then: bool,
    complete: bool,
}

impl Batches {
    /// Notes that a job has ended. Here that is one step with pushing what comes of it.
    pub(super) fn mark(&mut self, mark: &BatchMark) -> Marked {
        let late = !self.known.contains_key(&mark.id);
        if late {
            if self.order.len() >= MAX_KEPT
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.order.push_back(mark.id.clone());
        }
        let batch = self.known.entry(mark.id.clone()).or_insert_with(Batch::new);
        batch.announced = batch.announced.max(mark.of);
        for id in &mark.adds {
            if (batch.added.len() as u64) < MAX_MEMBERS {
                batch.added.insert(id.clone());
            }
        }
        if !mark.failed {
            batch.done.insert(mark.member.clone());
            batch.failed.remove(&mark.member);
        } else if !batch.done.contains(&mark.member) {
            batch.failed.insert(mark.member.clone());
        }
        let sizes = batch.sizes();
        let is_known = batch.announced > 0;
        let then = is_known && sizes.done >= sizes.total && sizes.failed == 0;
        let complete = is_known && sizes.done + sizes.failed >= sizes.total;
        let marked = Marked {
            sizes,
            then: then && !batch.then,
            complete: complete && !batch.complete,
            late,
        };
        batch.then |= then;
        batch.complete |= complete;
        marked
    }

    pub(super) fn get(&self, id: &str) -> Option<BatchState> {
        self.known.get(id).map(|batch| BatchState {
            sizes: batch.sizes(),
            announced: batch.announced,
            began: batch.began,
            then: batch.then,
            complete: batch.complete,
        })
    }
}

impl Batch {
    fn new() -> Self {
        Self {
            announced: 0,
            done: BTreeSet::new(),
            failed: BTreeSet::new(),
            added: BTreeSet::new(),
            began: Timestamp::now(),
            then: false,
            complete: false,
        }
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            total: self.announced + self.added.len() as u64,
            done: self.done.len() as u64,
            failed: self.failed.len() as u64,
        }
    }
}
