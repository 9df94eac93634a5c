//! What a benchmark has found. Names end in their units, since others read them as JSON.

use std::time::Duration;

use serde::Serialize;

/// All that was measured, and under which conditions. A mode leaves out what it does not measure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) mode: &'static str,
    /// Job name of the plugin.
    pub(crate) plugin: Option<String>,
    pub(crate) payload_bytes: usize,
    pub(crate) concurrency: u32,
    /// Cores of this machine.
    pub(crate) cores: usize,
    /// Jobs that were ready behind the measured ones.
    pub(crate) backlog_jobs: u64,
    /// Jobs that were delayed until long after.
    pub(crate) delayed_jobs: u64,
    /// Plugins beside the measured one.
    pub(crate) other_plugins: u32,
    pub(crate) push: Option<PushFigures>,
    pub(crate) drain: Option<DrainFigures>,
    pub(crate) scaling: Option<ScalingFigures>,
    pub(crate) rate: Option<RateFigures>,
    pub(crate) due: Option<DueFigures>,
    pub(crate) worker: Option<WorkerFigures>,
    pub(crate) redis: Option<RedisFigures>,
}

/// How fast jobs are made and pushed, beside bare commands with the same bytes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PushFigures {
    pub(crate) jobs: u64,
    pub(crate) job_bytes: usize,
    /// Pushed a thousand at a time.
    pub(crate) batch_jobs_per_s: f64,
    pub(crate) bare_batch_jobs_per_s: f64,
    pub(crate) batch_ratio: f64,
    /// Taken off the list by bare commands, 256 in one.
    pub(crate) bare_pop_jobs_per_s: f64,
    /// One after another.
    pub(crate) single_jobs_per_s: Option<f64>,
    pub(crate) bare_single_jobs_per_s: Option<f64>,
    pub(crate) single_ratio: Option<f64>,
}

/// How fast a worker gets through jobs that are ready, beside the same handler without a queue.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DrainFigures {
    pub(crate) jobs: u64,
    pub(crate) completed_jobs: u64,
    /// From the first call of a handler to the last settlement.
    pub(crate) seconds: f64,
    pub(crate) jobs_per_s: f64,
    pub(crate) sandbox_floor: Floor,
    /// As a share of the floor's average.
    pub(crate) floor_ratio: f64,
    pub(crate) started_to_settled: Percentiles,
}

/// How much faster a worker gets through jobs on all cores than on one.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ScalingFigures {
    /// Jobs of each run.
    pub(crate) jobs: u64,
    /// How long each of the two runs took. Less than half a minute says little.
    pub(crate) one_core_seconds: f64,
    pub(crate) all_cores_seconds: f64,
    pub(crate) one_core_jobs_per_s: f64,
    pub(crate) all_cores_jobs_per_s: f64,
    pub(crate) ratio: f64,
}

/// How long jobs take that come one by one.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RateFigures {
    /// Those that were counted; the first of all only warm up.
    pub(crate) jobs: u64,
    pub(crate) completed_jobs: u64,
    /// Those whose instance was made before there was the job.
    pub(crate) made_ahead_jobs: u64,
    pub(crate) jobs_per_s: f64,
    pub(crate) sandbox_floor: Floor,
    /// From when a job is due until a bare BLPOP has taken it, after a bare RPUSH.
    pub(crate) bare_due_to_taken: Option<Percentiles>,
    /// From when a job was to be pushed until its handler was called.
    pub(crate) due_to_started: Percentiles,
    /// From when a job was to be pushed until its handler had answered.
    pub(crate) due_to_answered: Percentiles,
    /// From the handler's call until the store had the settlement.
    pub(crate) started_to_settled: Percentiles,
    pub(crate) due_to_settled: Percentiles,
}

/// How punctual delayed jobs are that are all due at one instant.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DueFigures {
    pub(crate) jobs: u64,
    pub(crate) completed_jobs: u64,
    /// Jobs whose handler was called before they were due, by this machine's clock.
    pub(crate) early_jobs: u64,
    pub(crate) sandbox_floor: Floor,
    pub(crate) due_to_started: Percentiles,
    pub(crate) due_to_settled: Percentiles,
}

/// What the worker's process took.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct WorkerFigures {
    /// In percent of one core.
    pub(crate) cpu_percent: f64,
    pub(crate) cpu_us_per_job: Option<f64>,
    /// Page faults that needed no disk, and times that a thread made way for another. None where the system does not tell.
    pub(crate) page_faults_per_job: Option<f64>,
    pub(crate) context_switches_per_job: Option<f64>,
    pub(crate) threads: usize,
    /// Resident memory after the first jobs, and how many jobs those were.
    pub(crate) memory_early_bytes: Option<u64>,
    pub(crate) memory_early_jobs: Option<u64>,
    pub(crate) memory_end_bytes: u64,
    pub(crate) memory_peak_bytes: u64,
}

/// What Redis did in this time, for all of its clients. Commands within scripts count.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RedisFigures {
    pub(crate) commands_per_s: f64,
    pub(crate) commands_per_job: Option<f64>,
    /// In percent of one core.
    pub(crate) cpu_percent: f64,
    pub(crate) cpu_us_per_job: Option<f64>,
}

/// Fresh instance and call, as many at once as the worker runs, without a queue: measured before and after. If the two
/// differ much, the machine changed its pace in between.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(clippy::struct_field_names, reason = "the unit stands last")]
pub(crate) struct Floor {
    pub(crate) before_jobs_per_s: f64,
    pub(crate) after_jobs_per_s: f64,
    pub(crate) average_jobs_per_s: f64,
}

impl Floor {
    pub(crate) fn new(before: f64, after: f64) -> Self {
        Self {
            before_jobs_per_s: before,
            after_jobs_per_s: after,
            average_jobs_per_s: rounded(f64::midpoint(before, after)),
        }
    }
}

/// How some durations are spread, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "the unit stands last")]
pub(crate) struct Percentiles {
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
}

impl Percentiles {
    /// The spread of durations in nanoseconds. All zero if there are none.
    pub(crate) fn of(mut ns: Vec<u64>) -> Self {
        ns.sort_unstable();
        let at = |percent: usize| {
            let rank = (ns.len() * percent).div_ceil(100).max(1);
            ns.get(rank - 1).copied().unwrap_or(0) / 1_000
        };
        Self {
            p50_us: at(50),
            p90_us: at(90),
            p99_us: at(99),
            max_us: at(100),
        }
    }
}

/// So many things in so much time, as a rate per second.
#[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
pub(crate) fn per_s(count: u64, time: Duration) -> f64 {
    rounded(count as f64 / time.as_secs_f64().max(1e-9))
}

/// How many of `count` there are for each of `of`.
#[expect(clippy::cast_precision_loss, reason = "a ratio is no count")]
pub(crate) fn per(count: u64, of: u64) -> f64 {
    ratio(count as f64, of as f64)
}

/// A figure as a share of another; 0 where the other is 0.
pub(crate) fn ratio(figure: f64, of: f64) -> f64 {
    if of > 0.0 { rounded(figure / of) } else { 0.0 }
}

/// Rounded to the last digit that means anything.
pub(crate) fn rounded(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let of = |micros: &[u64]| Percentiles::of(micros.iter().map(|us| us * 1_000).collect());
        let shown = |found: Percentiles| [found.p50_us, found.p90_us, found.p99_us, found.max_us];
        assert_eq!(shown(of(&[])), [0, 0, 0, 0]);
        assert_eq!(shown(of(&[7])), [7, 7, 7, 7]);
        assert_eq!(shown(of(&[4, 1, 3, 2])), [2, 4, 4, 4]);
        assert_eq!(
            shown(of(&(1..=1_000).rev().collect::<Vec<_>>())),
            [500, 900, 990, 1_000]
        );
    }
}
