//! What one attempt holds: bytes of linear memory and of what the host keeps for its handles, table elements, instances.
//!
//! The engine bounds each memory and each table; Kiln bounds their sums, which are kept here. Growing beyond one ends the
//! attempt with an error of our own. The engine would return `-1`, and the guest would then abort in a way that nobody can
//! tell from a bug.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::ResourceLimiterAsync;
use wasmtime_wasi::async_trait;

use super::thread_class::ThreadClass;
use crate::config::{Limit, Limits};

/// Bytes of memory from which on a guest runs on the threads for heavy attempts: one instruction may write all of it, which
/// cannot be interrupted and takes a third of a millisecond for each megabyte that is written for the first time.
const LARGE_MEMORY_BYTES: usize = 16 * 1024 * 1024;

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

/// Follows what one attempt holds.
pub(in crate::sandbox) struct Holdings {
    memory_budget: Arc<MemoryBudget>,
    thread_class: ThreadClass,
    max_memory: usize,
    max_elements: usize,
    instances: usize,
    memories: usize,
    tables: usize,
    /// Linear memory, in bytes.
    memory: usize,
    /// Of all that it holds, the bytes beyond its equal share of the memory budget.
    common: usize,
    elements: usize,
    peak: usize,
    /// What the host keeps for its handles, in bytes.
    kept: usize,
    /// Bytes in `kept` at which all handles are weighed anew.
    weighed_from: usize,
    /// Linear memory once it was instantiated, in bytes.
    at_start: usize,
    /// Bytes that the growth under way adds: taken back if it fails.
    adding: usize,
}

impl Holdings {
    pub(in crate::sandbox) fn new(
        limits: &Limits,
        memory_budget: Arc<MemoryBudget>,
        thread_class: ThreadClass,
    ) -> Self {
        Self {
            memory_budget,
            thread_class,
            max_memory: limits.size(Limit::MaxMemory),
            max_elements: limits.size(Limit::TableElements),
            instances: limits.size(Limit::CoreInstances),
            memories: limits.size(Limit::Memories),
            tables: limits.size(Limit::Tables),
            memory: 0,
            common: 0,
            elements: 0,
            peak: 0,
            kept: 0,
            weighed_from: 0,
            at_start: 0,
            adding: 0,
        }
    }

    /// Notes that the instance is complete: its memory has the size it starts with.
    pub(in crate::sandbox) fn started(&mut self) {
        self.at_start = self.memory;
    }

    /// Whether the instance's memory has grown too much since then for the instance to be kept for another attempt.
    pub(in crate::sandbox) fn has_grown_large(&self) -> bool {
        self.memory - self.at_start.min(self.memory) > LARGE_MEMORY_BYTES
    }

    /// Whether it has so much memory that one instruction may take long.
    pub(in crate::sandbox) fn is_large(&self) -> bool {
        self.memory > LARGE_MEMORY_BYTES
    }

    /// Counts more bytes that the host keeps for handles. False: they do not fit, or all handles are to be weighed
    /// first.
    pub(in crate::sandbox) fn keep_more(&mut self, bytes: usize) -> bool {
        let kept = self.kept.saturating_add(bytes);
        kept <= self.weighed_from && self.hold(self.memory, kept).is_ok()
    }

    /// Sets the bytes that the host keeps for all handles. At `weighed_from` bytes the handles are weighed anew.
    pub(in crate::sandbox) fn keep(&mut self, kept: usize, weighed_from: usize) -> Result<(), Exceeded> {
        self.weighed_from = weighed_from;
        self.hold(self.memory, kept)
    }

    /// The most memory held at once, in bytes.
    pub(in crate::sandbox) fn peak(&self) -> usize {
        self.peak
    }

    /// Sets how much linear memory, and how much for handles, the attempt holds, if the limits allow it.
    fn hold(&mut self, memory: usize, kept: usize) -> Result<(), Exceeded> {
        let wanted = memory.saturating_add(kept);
        if wanted > self.max_memory {
            let (limit, bound) = (Limit::MaxMemory, self.max_memory);
            return Err(Exceeded::Own { limit, wanted, bound });
        }
        let common = wanted.saturating_sub(self.memory_budget.share).max(self.common);
        if !self.memory_budget.take(common - self.common) {
            let (bound, most) = (self.memory_budget.total, self.memory_budget.most());
            return Err(if wanted > most {
                Exceeded::Whole { wanted, bound, most }
            } else {
                Exceeded::Shared { wanted, bound }
            });
        }
        self.common = common;
        (self.memory, self.kept) = (memory, kept);
        self.peak = self.peak.max(wanted);
        Ok(())
    }
}

impl Drop for Holdings {
    fn drop(&mut self) {
        self.memory_budget.give_back(self.common);
    }
}

#[async_trait]
impl ResourceLimiterAsync for Holdings {
    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.adding = 0;
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let adding = desired.saturating_sub(current);
        self.hold(self.memory.saturating_add(adding), self.kept)?;
        self.adding = adding;
        if self.is_large() {
            self.thread_class.left().await;
        }
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // The failed growth keeps its part of the memory budget until the attempt ends.
        self.memory = self.memory.saturating_sub(std::mem::take(&mut self.adding));
        Ok(())
    }

    async fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // The `maximum` of a table that declares none is the pool's, which is larger than the limit.
        if maximum.is_some_and(|maximum| desired > maximum && maximum < self.max_elements) {
            return Ok(false);
        }
        let wanted = self.elements.saturating_add(desired.saturating_sub(current));
        if wanted > self.max_elements {
            let (limit, bound) = (Limit::TableElements, self.max_elements);
            return Err(Exceeded::Own { limit, wanted, bound }.into());
        }
        self.elements = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.memories
    }

    fn tables(&self) -> usize {
        self.tables
    }
}
