//! The memory that all attempts of a host share, and what of it one attempt holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::config::Limit;

/// Why an attempt may not grow. The guest's fault: kind `memory`.
#[derive(Debug, thiserror::Error)]
pub(in crate::sandbox) enum Exceeded {
    #[error("wanted {} {}; the limit {limit} is {}", .limit.show(*.wanted as u64), what(*.limit), .limit.show(*.bound as u64))]
    Own { limit: Limit, wanted: usize, bound: usize },
    #[error(
        "wanted {} of memory while other attempts hold the rest of the host's; the limit {} is {}",
        Limit::GuestMemory.show(*.wanted as u64), Limit::GuestMemory, Limit::GuestMemory.show(*.bound as u64)
    )]
    Shared { wanted: usize, bound: usize },
    #[error(
        "wanted {} of memory; of the limit {}, which is {}, one attempt has {} at most",
        Limit::GuestMemory.show(*.wanted as u64), Limit::GuestMemory, Limit::GuestMemory.show(*.bound as u64),
        Limit::GuestMemory.show(*.most as u64)
    )]
    Whole { wanted: usize, bound: usize, most: usize },
}

fn what(limit: Limit) -> &'static str {
    if limit == Limit::TableElements {
        "table elements"
    } else {
        "of memory"
    }
}

/// The memory that all attempts of a host share. Half of it is divided into equal shares, so that no attempt can starve
/// another. Attempts that need more than their share take from the other half, first come, first served.
pub(in crate::sandbox) struct MemoryBudget {
    total: usize,
    share: usize,
    taken: AtomicUsize,
}

impl MemoryBudget {
    /// For at most so many attempts at once.
    pub(in crate::sandbox) fn new(total: usize, attempts: usize) -> Self {
        Self {
            total,
            share: total / 2 / attempts.max(1),
            taken: AtomicUsize::new(0),
        }
    }

    /// The most that one attempt can have.
    fn most(&self) -> usize {
        self.share + self.total / 2
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= self.total / 2);
        bytes == 0
            || self
                .taken
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
                .is_ok()
    }

    /// Whether at least half of what is not divided into shares is free. Instances that are kept for another attempt may use
    /// no more than the rest.
    pub(in crate::sandbox) fn has_half(&self) -> bool {
        self.taken.load(Ordering::Relaxed) <= self.total / 4
    }

    fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            self.taken.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// The bytes that one attempt holds. Clones are the same attempt's: what the host does for a guest may grow where nobody has
/// the attempt's store at hand.
#[derive(Clone)]
pub(in crate::sandbox) struct Account(Arc<Mutex<Held>>);

/// What is held, in bytes.
struct Held {
    budget: Arc<MemoryBudget>,
    max_memory: usize,
    /// Linear memory.
    memory: usize,
    /// What the host keeps for handles.
    kept: usize,
    /// What the host keeps as files.
    files: usize,
    /// What the host keeps for TCP connections.
    connected: usize,
    /// Of all that, the bytes beyond the attempt's equal share of the budget. What was taken is given back at its end.
    common: usize,
    peak: usize,
}

impl Account {
    pub(in crate::sandbox) fn new(budget: Arc<MemoryBudget>, max_memory: usize) -> Self {
        Self(Arc::new(Mutex::new(Held {
            budget,
            max_memory,
            memory: 0,
            kept: 0,
            files: 0,
            connected: 0,
            common: 0,
            peak: 0,
        })))
    }

    /// Bytes of linear memory.
    pub(in crate::sandbox) fn memory(&self) -> usize {
        self.0.lock().memory
    }

    /// Bytes that the host keeps for handles.
    pub(in crate::sandbox) fn kept(&self) -> usize {
        self.0.lock().kept
    }

    /// The most bytes held at once.
    pub(in crate::sandbox) fn peak(&self) -> usize {
        self.0.lock().peak
    }

    /// Sets the bytes of linear memory, if the limits allow it.
    pub(in crate::sandbox) fn hold_memory(&self, memory: usize) -> Result<(), Exceeded> {
        self.0.lock().hold(|held| &mut held.memory, memory)
    }

    /// Sets the bytes that the host keeps for handles, if the limits allow it.
    pub(in crate::sandbox) fn hold_kept(&self, kept: usize) -> Result<(), Exceeded> {
        self.0.lock().hold(|held| &mut held.kept, kept)
    }

    /// Sets the bytes that the host keeps for TCP connections, if the limits allow it.
    pub(in crate::sandbox) fn hold_connected(&self, connected: usize) -> Result<(), Exceeded> {
        self.0.lock().hold(|held| &mut held.connected, connected)
    }

    /// Sets the bytes that the host keeps as files, if the limits allow it.
    pub(in crate::sandbox) fn hold_files(&self, files: usize) -> Result<(), Exceeded> {
        self.0.lock().hold(|held| &mut held.files, files)
    }

    /// Gives back linear memory by which it did not grow after all. Its part of the budget stays taken until the attempt ends.
    pub(in crate::sandbox) fn give_back_memory(&self, bytes: usize) {
        let mut held = self.0.lock();
        held.memory = held.memory.saturating_sub(bytes);
    }
}

impl Held {
    /// Sets one part of what is held, if the sum stays within the limits.
    fn hold(&mut self, part: fn(&mut Self) -> &mut usize, bytes: usize) -> Result<(), Exceeded> {
        let before = std::mem::replace(part(self), bytes);
        let held = self.take();
        if held.is_err() {
            *part(self) = before;
        }
        held
    }

    /// Takes from the budget what all parts together need.
    fn take(&mut self) -> Result<(), Exceeded> {
        let parts = [self.memory, self.kept, self.files, self.connected];
        let wanted = parts.into_iter().fold(0, usize::saturating_add);
        if wanted > self.max_memory {
            let (limit, bound) = (Limit::MaxMemory, self.max_memory);
            return Err(Exceeded::Own { limit, wanted, bound });
        }
        let common = wanted.saturating_sub(self.budget.share).max(self.common);
        if !self.budget.take(common - self.common) {
            let (bound, most) = (self.budget.total, self.budget.most());
            return Err(if wanted > most {
                Exceeded::Whole { wanted, bound, most }
            } else {
                Exceeded::Shared { wanted, bound }
            });
        }
        self.common = common;
        self.peak = self.peak.max(wanted);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.common);
    }
}
