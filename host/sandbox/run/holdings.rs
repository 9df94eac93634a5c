//! What one attempt holds: bytes of linear memory and of what the host keeps for its handles and connections, table elements,
//! instances.
//!
//! The engine bounds each memory and each table; Kiln bounds their sums, which are kept here. Growing beyond one ends the
//! attempt with an error of our own. The engine would return `-1`, and the guest would then abort in a way that nobody can
//! tell from a bug.

use std::sync::Arc;

use wasmtime::ResourceLimiterAsync;
use wasmtime_wasi::async_trait;

use super::memory::{Account, Exceeded, MemoryBudget};
use super::thread_class::ThreadClass;
use crate::config::{Limit, Limits};

/// Bytes of memory from which on a guest runs on the threads for heavy attempts: one instruction may write all of it, which
/// cannot be interrupted and takes a third of a millisecond for each megabyte that is written for the first time.
const LARGE_MEMORY_BYTES: usize = 16 * 1024 * 1024;

/// Follows what one attempt holds.
pub(in crate::sandbox) struct Holdings {
    account: Account,
    thread_class: ThreadClass,
    max_elements: usize,
    instances: usize,
    memories: usize,
    tables: usize,
    elements: usize,
    /// Bytes kept for handles at which all handles are weighed anew.
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
            account: Account::new(memory_budget, limits.size(Limit::MaxMemory)),
            thread_class,
            max_elements: limits.size(Limit::TableElements),
            instances: limits.size(Limit::CoreInstances),
            memories: limits.size(Limit::Memories),
            tables: limits.size(Limit::Tables),
            elements: 0,
            weighed_from: 0,
            at_start: 0,
            adding: 0,
        }
    }

    /// The bytes it holds, for what grows where nobody has the attempt's store.
    pub(in crate::sandbox) fn account(&self) -> &Account {
        &self.account
    }

    /// Bytes of linear memory.
    pub(in crate::sandbox) fn memory(&self) -> usize {
        self.account.memory()
    }

    /// Notes that the instance is complete: its memory has the size it starts with.
    pub(in crate::sandbox) fn started(&mut self) {
        self.at_start = self.memory();
    }

    /// Whether the instance's memory has grown too much since then for the instance to be kept for another attempt.
    pub(in crate::sandbox) fn has_grown_large(&self) -> bool {
        self.memory().saturating_sub(self.at_start) > LARGE_MEMORY_BYTES
    }

    /// Whether it has so much memory that one instruction may take long.
    pub(in crate::sandbox) fn is_large(&self) -> bool {
        self.memory() > LARGE_MEMORY_BYTES
    }

    /// Counts more bytes that the host keeps for handles. False: they do not fit, or all handles are to be weighed
    /// first.
    pub(in crate::sandbox) fn keep_more(&mut self, bytes: usize) -> bool {
        let kept = self.account.kept().saturating_add(bytes);
        kept <= self.weighed_from && self.account.hold_kept(kept).is_ok()
    }

    /// Sets the bytes that the host keeps for all handles. At `weighed_from` bytes the handles are weighed anew.
    pub(in crate::sandbox) fn keep(&mut self, kept: usize, weighed_from: usize) -> Result<(), Exceeded> {
        self.weighed_from = weighed_from;
        self.account.hold_kept(kept)
    }

    /// Sets the bytes that the host keeps for all TCP connections.
    pub(in crate::sandbox) fn connect(&mut self, connected: usize) -> Result<(), Exceeded> {
        self.account.hold_connected(connected)
    }

    /// The most memory held at once, in bytes.
    pub(in crate::sandbox) fn peak(&self) -> usize {
        self.account.peak()
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
        self.account.hold_memory(self.memory().saturating_add(adding))?;
        self.adding = adding;
        if self.is_large() {
            self.thread_class.left().await;
        }
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.account.give_back_memory(std::mem::take(&mut self.adding));
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
