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
