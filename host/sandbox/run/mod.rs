//! From a loaded plugin to what an attempt came to.
//!
//! `handler` is the line of one attempt: a permit, a place in the pool, a store with its bounds, the call, the verdict.

mod ahead;
pub(super) mod attempt;
mod backtrace;
pub(super) mod context;
mod cpu;
pub(super) mod deadline;
pub(super) mod handler;
pub(super) mod holdings;
mod interrupt;
mod last_words;
pub(super) mod memory;
pub(super) mod runner;
pub(super) mod state;
mod store;
mod thread_class;
mod verdict;
mod warm;
