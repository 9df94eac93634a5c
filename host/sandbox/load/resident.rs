//! The pool that keeps more of each memory resident. It is made once a component has use for it.

use std::sync::OnceLock;

use super::pool::Pool;
use crate::config::{KEEP_RESIDENT_BYTES, Limits, SandboxSettings};
use crate::sandbox::engine;
use crate::sandbox::engine::ticker::Ticker;

pub(in crate::sandbox) struct ResidentPool {
    /// Bytes of each memory that it keeps resident. None: there is to be no such pool.
    bytes: Option<usize>,
    slots: u32,
    limits: Limits,
    /// None once it could not be made.
    made: OnceLock<Option<Pool>>,
}

impl ResidentPool {
    /// Beside a first one with so many slots, if that is `pooled` itself.
    pub(in crate::sandbox) fn new(slots: u32, pooled: bool, settings: &SandboxSettings) -> Self {
        Self {
            bytes: engine::resident_bytes(slots, settings).filter(|_| pooled),
            slots,
            limits: settings.limits.clone(),
            made: OnceLock::new(),
        }
    }

    /// How many bytes more than the first pool it keeps resident of an instance's memory.
    pub(in crate::sandbox) fn more(&self, memory: usize) -> usize {
        let kept = memory.min(self.bytes.unwrap_or(0));
        kept.saturating_sub(KEEP_RESIDENT_BYTES)
    }

    /// Bytes that both pools together keep resident at most.
    pub(in crate::sandbox) fn bytes_in_both(&self) -> usize {
        let each = self.bytes.unwrap_or(0).saturating_add(KEEP_RESIDENT_BYTES);
        each.saturating_mul(self.slots as usize)
    }

    /// None where there is to be none, or where address space is short.
    pub(in crate::sandbox) fn pool(&self, ticker: &Ticker) -> Option<&Pool> {
        let made = self.made.get_or_init(|| {
            let pool = engine::build_resident(self.slots, &self.limits, self.bytes?).and_then(Pool::new);
            match pool {
                Ok(pool) => {
                    ticker.also(&pool.engine);
                    Some(pool)
                }
                Err(err) => {
                    let reason = format!("{err:#}");
                    tracing::warn!(reason, "no second pool of sandboxes, starts cost more where much memory is touched: address space is short (ulimit -v?)");
                    None
                }
            }
        });
        made.as_ref()
    }
}
