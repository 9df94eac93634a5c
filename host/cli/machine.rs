//! What the machine gives this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sysinfo::System;

/// Memory that this process can have, in bytes: its container's, or the machine's. None where that cannot be told.
pub(super) fn memory() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory();
    let all = system.total_memory();
    Some(system.cgroup_limits().map_or(all, |group| group.total_memory.min(all)))
}

/// Has memory for large jobs go back to the system as soon as it is freed: from 128 KiB on, as the C library begins. By
/// itself it raises that to the size of the largest block ever freed, up to 32 MiB, and keeps what was used once, for each
/// thread. What it costs, a page fault for every 4 KiB of such a block, is little beside what is done with it.
pub(super) fn give_back_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Bytes of a block.
        const LARGE: libc::c_int = 128 * 1024;
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

/// Files, connections among them, that this process may have open; none: as many as it likes.
pub(super) fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises that to what the system allows at all. The soft limit is for programs that still use `select`; this is none.
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
