//! What a process uses of the machine, as the system counts it.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::report::{WorkerFigures, per, rounded};
use crate::page_faults;

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
    counts: Option<Counts>,
}

/// What the kernel counts of a process and its threads. None of it comes back when a thread ends, and those of a worker
/// live as long as it does.
#[derive(Clone, Copy)]
struct Counts {
    /// Page faults that needed no disk.
    faults: u64,
    /// Times that another thread got the core.
    switches: u64,
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
            counts: Counts::of(self.pid.as_u32()),
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
        let counted = began.counts.zip(last.counts).filter(|_| jobs > 0);
        let a_job =
            |count: fn(Counts) -> u64| counted.map(|(began, last)| per(count(last).saturating_sub(count(began)), jobs));
        let early = self.early.filter(|early| early.jobs > 0 && early.jobs < last.jobs);
        Some(WorkerFigures {
            cpu_percent: rounded(100.0 * cpu.as_secs_f64() / time.as_secs_f64().max(1e-3)),
            cpu_us_per_job: (jobs > 0).then(|| per(cpu_us, jobs)),
            page_faults_per_job: a_job(|counts| counts.faults),
            context_switches_per_job: a_job(|counts| counts.switches),
            threads: self.threads,
            memory_early_bytes: early.map(|early| early.memory_bytes),
            memory_early_jobs: early.map(|early| early.jobs),
            memory_end_bytes: last.memory_bytes,
            memory_peak_bytes: self.peak_bytes,
        })
    }
}

impl Counts {
    /// None where the system does not tell, as only Linux does.
    fn of(pid: u32) -> Option<Self> {
        let faults = page_faults::of_process(pid)?;
        let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let switches = threads
            .flatten()
            .filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok())
            .map(|status| switches(&status))
            .sum();
        Some(Self { faults, switches })
    }
}

/// The context switches that a thread's status tells of, wanted and unwanted ones.
fn switches(status: &str) -> u64 {
    let of = |line: &str| {
        line.split_once("voluntary_ctxt_switches:")?
            .1
            .trim()
            .parse::<u64>()
            .ok()
    };
    status.lines().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_of_both_kinds_are_counted() {
        assert_eq!(
            switches("Name:\tx\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t7\n"),
            157
        );
    }
}
