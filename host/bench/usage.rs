//! What a process uses of the machine, as the system counts it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::report::{WorkerFigures, per, rounded};

/// Looks at one process again and again.
pub(super) struct Usage {
    system: System,
    pid: Pid,
    began: Option<Seen>,
    last: Option<Seen>,
    early: Option<Seen>,
    threads: usize,
    peak_bytes: u64,
}

/// What one look found.
#[derive(Clone, Copy)]
struct Seen {
    at: Instant,
    jobs: u64,
    cpu: Duration,
    memory_bytes: u64,
}

impl Usage {
    /// None where the system does not tell.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Some(Self {
            system: System::new().ok()?,
            pid: Pid::from_u32(pid),
            began: None,
            last: None,
            early: None,
            threads: 0,
            peak_bytes: 0,
        })
    }

    /// Forgets what was seen so far, which was before the measured jobs.
    pub(super) fn begin_anew(&mut self) {
        self.began = None;
    }

    /// Looks at the process when `jobs` are done. Keeps the memory at `early` jobs, to compare it with that at the end.
    pub(super) fn look(&mut self, jobs: u64, early: u64) {
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory().with_tasks();
        let which = [self.pid];
        let updated = self
            .system
            .refresh_processes_specifics(ProcessesToUpdate::Some(&which), false, what);
        let Some(process) = self.system.process(self.pid).filter(|_| updated > 0) else {
            return;
        };
        let seen = Seen {
            at: Instant::now(),
            jobs,
            cpu: Duration::from_millis(process.accumulated_cpu_time()),
            memory_bytes: process.memory(),
        };
        // The first thread is the process itself.
        self.threads = self.threads.max(1 + process.tasks().map_or(0, HashSet::len));
        self.peak_bytes = self.peak_bytes.max(seen.memory_bytes);
        self.began.get_or_insert(seen);
        if jobs >= early {
            self.early.get_or_insert(seen);
        }
        self.last = Some(seen);
    }

    /// What the process used between the first look and the last.
    pub(super) fn figures(&self) -> Option<WorkerFigures> {
        let (began, last) = (self.began?, self.last?);
        let (jobs, time) = (last.jobs - began.jobs, last.at - began.at);
        let cpu = last.cpu.saturating_sub(began.cpu);
        let cpu_us = u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX);
        let early = self.early.filter(|early| early.jobs > 0 && early.jobs < last.jobs);
        Some(WorkerFigures {
            cpu_percent: rounded(100.0 * cpu.as_secs_f64() / time.as_secs_f64().max(1e-3)),
            cpu_us_per_job: (jobs > 0).then(|| per(cpu_us, jobs)),
            threads: self.threads,
            memory_early_bytes: early.map(|early| early.memory_bytes),
            memory_early_jobs: early.map(|early| early.jobs),
            memory_end_bytes: last.memory_bytes,
            memory_peak_bytes: self.peak_bytes,
        })
    }
}
