//! What one attempt may hold: bytes of linear memory, table elements, instances.
//!
//! The engine knows memories one by one; the bound is on their sum, so it is kept here. Growing beyond it ends the
//! attempt with an error of our own, not with the `-1` that a guest would turn into an abort nobody can tell from a bug.

use bytesize::ByteSize;
use wasmtime::ResourceLimiter;

use crate::config::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};

/// Why an attempt may not grow. The guest's fault: kind `memory`.
#[derive(Debug, thiserror::Error)]
pub(super) enum Exceeded {
    #[error("wanted {} of memory; the limit is {}", size(*.wanted), size(*.limit))]
    Memory { wanted: usize, limit: usize },
    #[error("wanted a table of {wanted} elements; the limit is {MAX_TABLE_ELEMENTS}")]
    Table { wanted: usize },
}

/// Follows what one attempt holds.
pub(super) struct Limits {
    limit: usize,
    used: usize,
    peak: usize,
    /// What the growth under way adds, to take back should it fail.
    adding: usize,
}

impl Limits {
    pub(super) fn new(max_memory: ByteSize) -> Self {
        Self {
            limit: usize::try_from(max_memory.as_u64()).unwrap_or(usize::MAX),
            used: 0,
            peak: 0,
            adding: 0,
        }
    }

    /// The most memory held at once, in bytes.
    pub(super) fn peak(&self) -> usize {
        self.peak
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.adding = 0;
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.adding = desired.saturating_sub(current);
        let wanted = self.used.saturating_add(self.adding);
        if wanted > self.limit {
            return Err(Exceeded::Memory {
                wanted,
                limit: self.limit,
            }
            .into());
        }
        self.used = wanted;
        self.peak = self.peak.max(wanted);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.used = self.used.saturating_sub(std::mem::take(&mut self.adding));
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > MAX_TABLE_ELEMENTS {
            return Err(Exceeded::Table { wanted: desired }.into());
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }
}

/// A number of bytes as people read it.
fn size(bytes: usize) -> ByteSize {
    ByteSize::b(bytes as u64)
}
