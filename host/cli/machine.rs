//! What the machine gives this process.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use sysinfo::System;
use tokio::time::sleep;

/// Memory that this process can have, in bytes: its container's, or the machine's. None where that cannot be told.
pub(super) fn memory() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory();
    let all = system.total_memory();
    Some(system.cgroup_limits().map_or(all, |group| group.total_memory.min(all)))
}

/// Returns freed blocks of half a megabyte and more to the system at once. By itself the C library raises that size, from
/// 128 KiB on, to the largest block ever freed, up to 32 MiB, and then keeps such memory for each thread. The cost is a page
/// fault for every 4 KiB of a block, which is little beside the work done with it. Blocks of less come and go with each
/// attempt: the engine's record of an instance of Go's has 170 KiB.
pub(super) fn give_back_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Bytes of a block.
        const LARGE: libc::c_int = 512 * 1024;
        #[expect(
            unsafe_code,
            reason = "sets a number of the allocator's, under the allocator's own lock"
        )]
        // SAFETY: any size is allowed, at any time and from any thread; one that is not taken changes nothing.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        }
    }
}

/// Time between two looks at how much memory the process has.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Growth over its least memory, in bytes, at which a process tries to give some back. Less than one attempt may have.
const GAINED_BYTES: usize = 64 * 1024 * 1024;

/// A process that used less than this share of one core since the last look has nothing to do.
const IDLE_SHARE: u32 = 10;

/// Time between two tries of a busy process, and the longest one between two tries of an idle process that had nothing to
/// give back: attempts that wait for something may end unseen.
const BUSY_INTERVAL: Duration = Duration::from_secs(10);

/// Returns freed small blocks to the system, in whole pages, once the process is idle, and now and then if it never is. By
/// itself the C library returns only what lies at the end of a thread's heap. While there is nothing to return, this reads
/// a file every two seconds.
pub(super) async fn give_back_small_blocks() {
    let (mut least, mut used_before) = (resident_bytes().unwrap_or(usize::MAX), used());
    let (mut tried, mut interval) = (Instant::now(), LOOK_INTERVAL);
    loop {
        sleep(LOOK_INTERVAL).await;
        let used = used();
        let idle = used.saturating_sub(used_before) < LOOK_INTERVAL / IDLE_SHARE;
        used_before = used;
        interval = if idle { interval } else { LOOK_INTERVAL };
        let Some(resident) = resident_bytes() else { return };
        least = least.min(resident);
        let wait = if idle { interval } else { BUSY_INTERVAL };
        if resident - least < GAINED_BYTES || tried.elapsed() < wait {
            continue;
        }
        // It takes some milliseconds for each hundred megabytes.
        tokio::task::spawn_blocking(trim).await.ok();
        let Some(left) = resident_bytes() else { return };
        tracing::debug!(resident, left, "gave memory back");
        let gave_back = resident.saturating_sub(left) > GAINED_BYTES / 4;
        interval = if gave_back {
            LOOK_INTERVAL
        } else {
            (interval * 2).min(BUSY_INTERVAL)
        };
        (least, tried) = (least.min(left), Instant::now());
    }
}

fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(
            unsafe_code,
            reason = "asks the allocator for something, under the allocator's own locks"
        )]
        // SAFETY: it may be called at any time and from any thread, and touches only what is free.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// Memory that this process has. None where that cannot be told.
fn resident_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: usize = kib.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// Processor time that this process has used.
fn used() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        used.tv_sec.try_into().unwrap_or_default(),
        used.tv_nsec.try_into().unwrap_or_default(),
    )
}

/// How many files, connections among them, this process may have open. None: any number.
pub(super) fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises the soft limit on open files to the hard limit. The soft one protects programs that use `select`; this one
/// does not.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(err) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%err, "the number of open files stays as it is");
    }
}
