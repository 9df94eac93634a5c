//! What attempts run on: threads, places in the pool, memory.

use std::io;
use std::sync::Arc;
use std::thread;

use rustix::process::nice;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;

use super::memory::MemoryBudget;
use super::state::Shared;
use super::warm::Kept;
use crate::config::{Limit, SandboxSettings};
use crate::sandbox::engine::ticker::Ticker;
use crate::sandbox::load::Loaded;
use crate::sandbox::load::pool::Pool;
use crate::sandbox::load::resident::ResidentPool;

/// After how many turns of guests a thread looks for timers and for work from other threads. A turn may last a tick.
const TURNS_BETWEEN_LOOKS: u32 = 4;

/// Niceness of the threads for heavy guests. Beside threads that never rest they still get a third of the processor's time.
const HEAVY_NICENESS: i32 = 5;

/// What running attempts share. Handlers keep it alive.
pub(in crate::sandbox) struct Runner {
    pub(in crate::sandbox) pool: Pool,
    /// The pool that keeps more memory resident.
    pub(in crate::sandbox) resident: ResidentPool,
    pub(in crate::sandbox) ticker: Ticker,
    /// One permit for every slot of the pool that can be in use, so that the pool never runs out.
    pub(in crate::sandbox) slots: Arc<Semaphore>,
    /// How many permits that are.
    total_slots: u32,
    /// Permits for the slots beyond an attempt's first. Attempts that take several share these, so that an attempt that
    /// takes one slot always finds it.
    pub(in crate::sandbox) spare: Arc<Semaphore>,
    /// Instances that wait for an attempt.
    pub(in crate::sandbox) kept: Kept,
    pub(in crate::sandbox) shared: Shared,
    /// Where guests run.
    pub(in crate::sandbox) guests: Handle,
    /// Where heavy guests run.
    pub(in crate::sandbox) heavy: Handle,
    /// The threads of `guests` and `heavy`, and those of guests' I/O. Each is there until this is dropped.
    threads: [Option<Runtime>; 3],
}

impl Runner {
    /// Starts the threads.
    pub(in crate::sandbox) fn start(pool: Pool, pooled: bool, settings: &SandboxSettings) -> io::Result<Self> {
        let slots = settings.concurrency.get().saturating_add(settings.spare_slots);
        let resident = ResidentPool::new(slots, pooled, settings);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (guests, heavy) = (
            threads("kiln-guest", cores, 0)?,
            threads("kiln-heavy", cores, HEAVY_NICENESS)?,
        );
        let io = Builder::new_multi_thread()
            .worker_threads(cores)
            .thread_name("kiln-io")
            .enable_all()
            .build()?;
        let guest_memory = settings.limits.size(Limit::GuestMemory);
        Ok(Self {
            ticker: Ticker::start(&pool.engine)?,
            pool,
            resident,
            slots: permits(slots),
            total_slots: slots,
            spare: permits(settings.spare_slots),
            kept: Kept::new(settings.concurrency.get() as usize),
            shared: Shared {
                io: io.handle().clone(),
                memory_budget: Arc::new(MemoryBudget::new(guest_memory, slots as usize)),
            },
            guests: guests.handle().clone(),
            heavy: heavy.handle().clone(),
            threads: [Some(guests), Some(heavy), Some(io)],
        })
    }

    /// Whether no more than half of the slots are taken.
    pub(super) fn has_half_its_slots(&self) -> bool {
        self.slots.available_permits() >= self.total_slots as usize / 2
    }

    /// Notes the page faults of an attempt at a component, in a fresh instance with so many bytes of memory. Once enough
    /// attempts were seen, the component moves to the pool that keeps more memory resident, if that pays.
    pub(super) fn note_faults(self: &Arc<Self>, loaded: &Arc<Loaded>, faults: u64, memory: usize) {
        if !loaded.faults.note(faults, self.resident.more(memory)) {
            return;
        }
        let (runner, loaded) = (Arc::clone(self), Arc::clone(loaded));
        self.guests.spawn_blocking(move || {
            let Some(pool) = runner.resident.pool(&runner.ticker) else {
                return;
            };
            match pool.adopt(&loaded.pre.load()) {
                Ok(pre) => loaded.pre.store(Arc::new(pre)),
                Err(err) => tracing::warn!(err = format!("{err:#}"), "a plugin stays where its starts cost more"),
            }
        });
    }
}

impl Drop for Runner {
    /// Shuts the threads down without waiting for them: this may run on one of them, or on one of the host's.
    fn drop(&mut self) {
        for threads in self.threads.iter_mut().filter_map(Option::take) {
            threads.shutdown_background();
        }
    }
}

fn permits(count: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new((count as usize).min(Semaphore::MAX_PERMITS)))
}

/// Threads that guests share in turns.
fn threads(name: &str, count: usize, niceness: i32) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(count)
        .thread_name(name)
        // On Linux, niceness belongs to the thread.
        .on_thread_start(move || {
            nice(niceness).ok();
        })
        .enable_time()
        .event_interval(TURNS_BETWEEN_LOOKS)
        .global_queue_interval(TURNS_BETWEEN_LOOKS)
        .build()
}
