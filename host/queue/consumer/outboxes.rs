//! What a host knows of its outboxes: when to look into each, and which entries could not be written.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::queue::queue_name::QueueName;

/// Wait before an entry that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// Wait between two looks into an outbox that has such entries, however many jobs are acknowledged meanwhile: each look
/// reads those entries, too.
const LEFT_PAUSE: Duration = Duration::from_secs(1);

/// Entries of one outbox whose failures are remembered. Beyond these some are tried too often.
const MAX_FAILING: usize = 10_000;

/// What a host knows of its outboxes.
#[derive(Debug, Default)]
pub(super) struct Outboxes {
    /// Told when one of them is to be looked into sooner than before.
    sooner: Notify,
    of: Mutex<HashMap<QueueName, Outbox>>,
}

#[derive(Debug, Default)]
struct Outbox {
    /// When to look into it; none: nothing is known to be there.
    due: Option<Instant>,
    /// It is not looked into before.
    rests_until: Option<Instant>,
    /// The entries that could not be written, by name, and when that was.
    failing: HashMap<Vec<u8>, Instant>,
}

impl Outboxes {
    /// Something may stand in this queue's outbox.
    pub(super) fn filled(&self, queue: &QueueName) {
        {
            let (mut outboxes, now) = (self.of.lock(), Instant::now());
            let outbox = outboxes.entry(queue.clone()).or_default();
            let at = outbox.rests_until.map_or(now, |until| until.max(now));
            outbox.due = Some(outbox.due.map_or(at, |due| due.min(at)));
        }
        self.sooner.notify_one();
    }

    /// Returns once an outbox is to be looked into.
    pub(super) async fn due(&self) {
        loop {
            let first = self.of.lock().values().filter_map(|outbox| outbox.due).min();
            match first {
                Some(at) if at <= Instant::now() => return,
                Some(at) => _ = timeout_at(at, self.sooner.notified()).await,
                None => self.sooner.notified().await,
            }
        }
    }

    /// Begins a look into this queue's outbox, if it is due.
    pub(super) fn look<'a>(&'a self, queue: &'a QueueName) -> Option<Look<'a>> {
        let mut outboxes = self.of.lock();
        let outbox = outboxes.get_mut(queue)?;
        outbox.due.take_if(|due| *due <= Instant::now())?;
        Some(Look {
            outboxes: self,
            queue,
            has_ended: false,
        })
    }

    /// Whether something may stand in one of them.
    pub(super) fn may_hold_any(&self) -> bool {
        self.of.lock().values().any(|outbox| outbox.due.is_some())
    }

    pub(super) fn is_failing(&self, queue: &QueueName, name: &[u8]) -> bool {
        let outboxes = self.of.lock();
        let at = outboxes.get(queue).and_then(|outbox| outbox.failing.get(name));
        at.is_some_and(|at| at.elapsed() < AGAIN)
    }

    pub(super) fn has_failed(&self, queue: &QueueName, name: &[u8]) {
        let mut outboxes = self.of.lock();
        let failing = &mut outboxes.entry(queue.clone()).or_default().failing;
        if failing.len() >= MAX_FAILING {
            failing.clear();
        }
        failing.insert(name.to_vec(), Instant::now());
    }
}

/// A look into the outbox of one queue. One that does not end is due again at once.
#[derive(Debug)]
pub(super) struct Look<'a> {
    outboxes: &'a Outboxes,
    pub(super) queue: &'a QueueName,
    has_ended: bool,
}

impl Look<'_> {
    /// All pages were read; entries were left there, or none.
    pub(super) fn end(mut self, any_left: bool) {
        self.has_ended = true;
        let (mut outboxes, now) = (self.outboxes.of.lock(), Instant::now());
        let Some(outbox) = outboxes.get_mut(self.queue) else {
            return;
        };
        if any_left {
            let rested = now + LEFT_PAUSE;
            outbox.failing.retain(|_, at| at.elapsed() < AGAIN);
            outbox.rests_until = Some(rested);
            outbox.due = Some(outbox.due.map_or(now + AGAIN, |due| due.max(rested)));
        } else {
            outbox.failing = HashMap::new();
            outbox.rests_until = None;
        }
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.outboxes.filled(self.queue);
        }
    }
}
