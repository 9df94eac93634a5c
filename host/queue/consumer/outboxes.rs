//! What a host knows of its outboxes: when to look into each, which entries could not be written, and how much of its own stands
//! there.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::queue::limits::{MAX_OUTBOX_BYTES, MAX_OUTBOX_ENTRIES};
use crate::queue::queue_name::QueueName;

/// Wait before an entry that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// Wait between two looks into an outbox that has such entries, however many jobs are acknowledged meanwhile: each look
/// reads those entries, too.
const LEFT_PAUSE: Duration = Duration::from_secs(1);

/// Entries of one outbox whose failures are remembered. Beyond these some are tried too often.
const MAX_FAILING: usize = 10_000;

/// Least time between two log lines that an outbox is full.
const TELL_AGAIN: Duration = Duration::from_mins(1);

/// What a host knows of its outboxes.
#[derive(Debug, Default)]
pub(super) struct Outboxes {
    /// Told when one of them is to be looked into sooner than before.
    sooner: Notify,
    /// How many are full, and told when one of them is no longer.
    full: AtomicUsize,
    room: Notify,
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
    /// The entries that this host has put there, by the tags of their deliveries, and the bytes of all.
    own: HashMap<u64, Own>,
    own_bytes: usize,
    /// Looks that were begun.
    looks: u64,
    is_full: bool,
    /// When it was last told that it is full.
    told: Option<Instant>,
}

/// An entry of this host.
#[derive(Debug, Clone, Copy)]
struct Own {
    bytes: usize,
    /// How many looks had been begun when it came.
    looks: u64,
}

impl Outbox {
    fn add(&mut self, tag: u64, bytes: usize) {
        let looks = self.looks;
        let before = self.own.insert(tag, Own { bytes, looks });
        self.own_bytes += bytes;
        self.own_bytes -= before.map_or(0, |before| before.bytes);
    }

    fn retain(&mut self, stays: impl Fn(u64, &Own) -> bool) {
        let bytes = &mut self.own_bytes;
        self.own.retain(|tag, own| {
            let stays = stays(*tag, own);
            *bytes -= if stays { 0 } else { own.bytes };
            stays
        });
    }

    fn has_enough(&self) -> bool {
        self.own.len() >= MAX_OUTBOX_ENTRIES || self.own_bytes >= MAX_OUTBOX_BYTES
    }

    /// Whether it is time to tell that it is full.
    fn is_news(&mut self) -> bool {
        let is_news = self.told.is_none_or(|told| told.elapsed() >= TELL_AGAIN);
        if is_news {
            self.told = Some(Instant::now());
        }
        is_news
    }
}

impl Outboxes {
    /// Something may stand in this queue's outbox.
    pub(super) fn filled(&self, queue: &QueueName) {
        self.filled_by(queue, std::iter::empty());
    }

    /// Entries of this host may stand there: the tags of their deliveries, and their bytes.
    pub(super) fn filled_by(&self, queue: &QueueName, entries: impl Iterator<Item = (u64, usize)>) {
        {
            let (mut outboxes, now) = (self.of.lock(), Instant::now());
            let outbox = outboxes.entry(queue.clone()).or_default();
            let at = outbox.rests_until.map_or(now, |until| until.max(now));
            outbox.due = Some(outbox.due.map_or(at, |due| due.min(at)));
            entries.for_each(|(tag, bytes)| outbox.add(tag, bytes));
            self.note_room(queue, outbox);
        }
        self.sooner.notify_one();
    }

    /// Entries of this host stand there no longer.
    pub(super) fn emptied(&self, queue: &QueueName, tags: impl Iterator<Item = u64>) {
        let mut outboxes = self.of.lock();
        let Some(outbox) = outboxes.get_mut(queue) else { return };
        for tag in tags {
            let own = outbox.own.remove(&tag);
            outbox.own_bytes -= own.map_or(0, |own| own.bytes);
        }
        self.note_room(queue, outbox);
    }

    fn note_room(&self, queue: &QueueName, outbox: &mut Outbox) {
        let before = outbox.is_full;
        outbox.is_full = outbox.has_enough();
        match (before, outbox.is_full) {
            (false, true) => {
                self.full.fetch_add(1, Ordering::Relaxed);
                if outbox.is_news() {
                    let (entries, bytes) = (outbox.own.len(), outbox.own_bytes);
                    tracing::warn!(%queue, entries, bytes, "the outbox is full; taking nothing more from the queue until some of it is written");
                }
            }
            (true, false) => {
                self.full.fetch_sub(1, Ordering::Relaxed);
                self.room.notify_one();
            }
            _ => {}
        }
    }

    /// Whether so much of this host stands in this queue's outbox that nothing should be added.
    pub(super) fn is_full(&self, queue: &QueueName) -> bool {
        self.full.load(Ordering::Relaxed) > 0 && self.of.lock().get(queue).is_some_and(|outbox| outbox.is_full)
    }

    /// Returns once one that was full is no longer.
    pub(super) async fn has_room(&self) {
        self.room.notified().await;
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
        outbox.looks += 1;
        Some(Look {
            outboxes: self,
            queue,
            number: outbox.looks,
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
    number: u64,
    has_ended: bool,
}

impl Look<'_> {
    /// Entries were left there, or none. If all pages were read: of this host those of these deliveries, and what came meanwhile.
    /// Whatever else it believes to be there is not.
    pub(super) fn end(mut self, any_left: bool, own_left: Option<&BTreeSet<u64>>) {
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
        if let Some(own_left) = own_left {
            let number = self.number;
            outbox.retain(|tag, own| own.looks >= number || own_left.contains(&tag));
            self.outboxes.note_room(self.queue, outbox);
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
