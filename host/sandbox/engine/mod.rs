//! The engine: how guests are compiled, and where their memories come from.
//!
//! Memories, tables and stacks come from a pool that is set up once, which makes a fresh sandbox cost microseconds. The
//! pool reserves 4 GiB of addresses for every slot; where the system does not give so many, memories are made one by one.
//!
//! A second engine keeps more of each memory resident, for components that touch much of it. It runs the same code.
//!
//! Absent on purpose: threads and shared memories (a guest's time could not be bounded), pagemap scan (on 48.0.8 it
//! misses swapped pages: one job could see another's memory), precompiled files (native code from outside), the engine's own
//! cache (where it finds nothing, it compiles at once, in this process and without bounds).

pub(super) mod ticker;

use std::num::NonZeroUsize;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails, WasmFeatures,
};

use crate::config::{KEEP_RESIDENT_BYTES, Limit, Limits, MAX_BACKTRACE_FRAMES, SandboxSettings};

/// Tables every slot of the pool brings along; a component links one or two.
const TABLES_PER_SLOT: u32 = 4;

/// Used memories that a thread collects before it gives them back to the system, which costs less together.
const RESET_BATCH: u32 = 16;

/// Memories beyond those of the slots. When the last of a component goes, each memory that holds its image is taken for a moment
/// to be cleared of it, by the thread that drops the component: without more memories, an attempt that starts then would find
/// its slot without one. As many threads as this may drop components at once.
const CLEARING: u32 = 8;

/// Bytes of the host's own records of one component's instances. Python's libraries link thousands of globals.
const MAX_INSTANCE_BYTES: usize = 10 * 1024 * 1024;

/// Bytes of stack beyond the guest's own frames, for the host functions that it calls. What the engine's makers chose.
const HOST_STACK_BYTES: usize = 1536 * 1024;

/// Without the pool: bytes reserved for a memory at first, and by how much it is moved to grow.
const SMALL_RESERVATION_BYTES: u64 = 4 * 1024 * 1024;

/// The slots of the pool that a component with so many memories and tables takes.
pub(in crate::sandbox) fn slots(memories: u32, tables: u32) -> u32 {
    memories.max(tables.div_ceil(TABLES_PER_SLOT)).max(1)
}

/// An engine, and why it has no pool if it has none.
pub(in crate::sandbox) struct Built {
    pub(in crate::sandbox) engine: Engine,
    pub(in crate::sandbox) unpooled: Option<String>,
}

/// How many slots a pool has to have.
#[derive(Debug, Clone, Copy)]
pub(in crate::sandbox) struct PoolSize {
    /// Slots that can be in use at any time.
    pub(in crate::sandbox) in_use: u32,
    /// Threads that give slots back in batches. None: each slot is given back by itself.
    pub(in crate::sandbox) threads: u32,
}

impl PoolSize {
    /// Used memories that a thread gives back at once. A small pool has no batches.
    fn batch(self) -> u32 {
        if self.threads > 0 && self.in_use > RESET_BATCH {
            RESET_BATCH
        } else {
            1
        }
    }

    /// A batch that one thread is just giving back is neither in use nor free for another.
    fn slots(self) -> u32 {
        self.in_use
            .saturating_add(self.threads.saturating_mul(self.batch() - 1))
    }
}

/// Bytes of each memory that the second engine keeps resident: no more in all of its slots than an eighth of what attempts
/// may have together. None where that is no more than the first engine keeps.
pub(in crate::sandbox) fn resident_bytes(in_use: u32, settings: &SandboxSettings) -> Option<usize> {
    let eighth = settings.limits.size(Limit::GuestMemory) / 8;
    let bytes = (eighth / in_use.max(1) as usize).min(settings.resident_bytes);
    (bytes > KEEP_RESIDENT_BYTES).then_some(bytes)
}

/// Builds the second engine, which keeps so many bytes of each memory resident.
pub(in crate::sandbox) fn build_resident(in_use: u32, limits: &Limits, bytes: usize) -> wasmtime::Result<Engine> {
    let mut config = config(limits);
    // Without batches: there is hardly anything to give back, and each slot that waits in one holds all its bytes.
    let size = PoolSize { in_use, threads: 0 };
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(size, limits, bytes)));
    Engine::new(&config)
}

/// Builds the engine with a pool, or without one where address space is short.
pub(in crate::sandbox) fn build(size: PoolSize, limits: &Limits) -> wasmtime::Result<Built> {
    let mut config = config(limits);
    let pool = pool(size, limits, KEEP_RESIDENT_BYTES);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let reason = match Engine::new(&config) {
        Ok(engine) => return Ok(Built { engine, unpooled: None }),
        Err(err) => format!("{err:#}"),
    };
    tracing::warn!(
        slots = size.slots(),
        reason,
        "no pool of sandboxes, each job makes its own and costs more: address space is short (ulimit -v?)"
    );
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    save_addresses(&mut config);
    Ok(Built {
        engine: Engine::new(&config)?,
        unpooled: Some(reason),
    })
}

/// Builds an engine that compiles as that of [`build`] does, with or without a pool, and runs nothing.
pub(in crate::sandbox) fn compiling(pooled: bool) -> wasmtime::Result<Engine> {
    // Limits do not change the code that is compiled.
    let mut config = config(&Limits::default());
    if !pooled {
        save_addresses(&mut config);
    }
    Engine::new(&config)
}

/// Makes code check the bounds of its memory itself, so that no unused addresses have to be reserved to catch accesses.
fn save_addresses(config: &mut Config) {
    config
        .memory_reservation(SMALL_RESERVATION_BYTES)
        .memory_reservation_for_growth(SMALL_RESERVATION_BYTES)
        .memory_guard_size(64 * 1024);
}

fn config(limits: &Limits) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(limits.size(Limit::Stack))
        .async_stack_size(limits.size(Limit::Stack).saturating_add(HOST_STACK_BYTES))
        // Handlers are sync exports; what async exports need would be set up anew for each store.
        .concurrency_support(false)
        .wasm_features(WasmFeatures::THREADS | WasmFeatures::SHARED_EVERYTHING_THREADS, false)
        .shared_memory(false)
        // Names of functions, from the name section. DWARF would have the host parse whatever a guest claims to be it.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(NonZeroUsize::new(MAX_BACKTRACE_FRAMES));
    config
}

fn pool(size: PoolSize, limits: &Limits, resident_bytes: usize) -> PoolingAllocationConfig {
    let slots = size.slots();
    let (instances, memories, tables) = (
        limits.count(Limit::CoreInstances),
        limits.count(Limit::Memories),
        limits.count(Limit::Tables),
    );
    let table_elements = limits.bound(Limit::TableElements).ceiling;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_stacks(slots)
        .total_memories(slots.saturating_add(CLEARING))
        .total_tables(slots.saturating_mul(TABLES_PER_SLOT))
        .total_core_instances(slots.saturating_mul(instances))
        .max_core_instance_size(MAX_INSTANCE_BYTES)
        .max_component_instance_size(MAX_INSTANCE_BYTES)
        .max_core_instances_per_component(instances)
        .max_memories_per_component(memories)
        .max_memories_per_module(memories)
        .max_tables_per_component(tables)
        .max_tables_per_module(tables)
        .table_elements(table_elements.try_into().unwrap_or(usize::MAX))
        .linear_memory_keep_resident(resident_bytes)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .decommit_batch_size(size.batch() as usize)
        .pagemap_scan(Enabled::No);
    pool
}
