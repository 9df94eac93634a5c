//! The course of each mode: what it pushes and when, and what it makes of the times that the worker tells.

use std::path::Path;
use std::time::Duration;

use super::report::{
    DrainFigures, DueFigures, Floor, Percentiles, RateFigures, Report, ScalingFigures, per_s, ratio, rounded,
};
use super::times::{JobTimes, unix_ns};
use super::worker::Worker;
use super::{Bench, BenchError, Meanwhile, Measured, floor};

/// How far ahead the jobs are due that fill the delayed set and never run.
const LONG_AFTER: Duration = Duration::from_hours(24);

/// Pushes of delayed jobs a second that any machine manages, and a margin: jobs that are due at one instant must all be
/// pushed before.
const DELAYED_PER_S: u64 = 10_000;
const DUE_MARGIN: Duration = Duration::from_secs(2);

/// Time in which a worker comes to rest after its start: connections made, caches warm.
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// The first jobs only warm up: one in `WARM_UP_SHARE` of all jobs, but no more than `WARM_UP_JOBS`.
const WARM_UP_SHARE: u64 = 10;
const WARM_UP_JOBS: u64 = 1_000;

impl Bench {
    pub(super) async fn push(&self, report: &mut Report) -> Result<(), BenchError> {
        let template = self.template();
        self.phase("pushing", self.jobs);
        let time = template.push_all(&self.store, self.jobs, None, &self.bar).await?;
        self.phase("bare commands", 0);
        report.push = floor::push_singly(&self.store, &template, (self.jobs, time)).await?;
        Ok(())
    }

    pub(super) async fn burst(&self, measured: &Measured, report: &mut Report) -> Result<(), BenchError> {
        let template = self.template();
        let folder = measured.folder(self.copies)?;
        let before = self.sandbox_floor(measured).await;
        self.lay_delayed().await?;
        let all = self.jobs + self.backlog;
        self.phase("pushing", all);
        let time = template.push_all(&self.store, all, None, &self.bar).await?;
        self.phase("bare commands", 0);
        report.push = floor::push(&self.store, &template, (all, time)).await?;

        let worker = Worker::start(&self.launch, folder.path())?;
        let (times, time) = self.drain(worker, "draining", report).await?;
        let after = self.sandbox_floor(measured).await;
        let (jobs_per_s, floor) = (per_s(times.len() as u64, time), Floor::new(before, after));
        report.drain = Some(DrainFigures {
            jobs: times.len() as u64,
            completed_jobs: completed(&times),
            seconds: rounded(time.as_secs_f64()),
            jobs_per_s,
            sandbox_floor: floor,
            floor_ratio: ratio(jobs_per_s, floor.average_jobs_per_s),
            started_to_settled: Percentiles::of(times.iter().map(run_ns).collect()),
        });
        Ok(())
    }

    pub(super) async fn cores(&self, measured: &Measured, report: &mut Report) -> Result<(), BenchError> {
        let (template, folder) = (self.template(), measured.folder(self.copies)?);
        let mut runs = [(0.0, 0.0); 2];
        for (one_core, run) in [true, false].into_iter().zip(&mut runs) {
            self.phase("pushing", self.jobs);
            template.push_all(&self.store, self.jobs, None, &self.bar).await?;
            let (worker, what) = if one_core {
                let worker = Worker::start_on_one_core(&self.launch, folder.path())?;
                (worker, "draining on one core")
            } else {
                (Worker::start(&self.launch, folder.path())?, "draining on all cores")
            };
            let (times, time) = self.drain(worker, what, report).await?;
            *run = (rounded(time.as_secs_f64()), per_s(times.len() as u64, time));
        }
        let [
            (one_core_seconds, one_core_jobs_per_s),
            (all_cores_seconds, all_cores_jobs_per_s),
        ] = runs;
        report.scaling = Some(ScalingFigures {
            jobs: self.jobs,
            one_core_seconds,
            all_cores_seconds,
            one_core_jobs_per_s,
            all_cores_jobs_per_s,
            ratio: ratio(all_cores_jobs_per_s, one_core_jobs_per_s),
        });
        Ok(())
    }

    /// Lets a worker get through the jobs that are ready, and stops it. Returns their times, and the time from the first
    /// call of a handler to the last settlement.
    async fn drain(
        &self,
        mut worker: Worker,
        what: &'static str,
        report: &mut Report,
    ) -> Result<(Vec<JobTimes>, Duration), BenchError> {
        let redis = Meanwhile::begin(&self.store).await?;
        self.phase(what, self.jobs);
        let mut times = self.times(&mut worker, self.jobs).await?;
        report.redis = redis.end(&self.store, self.jobs).await?;
        report.worker = worker.stop().await?;
        // The worker may have settled more: those are of the backlog.
        times.sort_unstable_by_key(|times| times.settled_ns);
        times.truncate(usize::try_from(self.jobs).unwrap_or(usize::MAX));
        let first_ns = times.iter().map(|times| times.started_ns).min().unwrap_or(0);
        let last_ns = times.last().map_or(0, |times| times.settled_ns);
        Ok((times, Duration::from_nanos(last_ns.saturating_sub(first_ns))))
    }

    pub(super) async fn rate(&self, measured: &Measured, per_s: u32, report: &mut Report) -> Result<(), BenchError> {
        let folder = measured.folder(self.copies)?;
        let before = self.sandbox_floor(measured).await;
        self.lay_delayed().await?;
        let jobs = (self.time.as_secs_f64() * f64::from(per_s)).ceil().max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number from 1"
        )]
        let jobs = jobs as u64;
        let template = self.template();
        self.phase("bare commands", 0);
        let bare = floor::pick_up(&self.store, &template, per_s).await?;
        let mut worker = self.ready_worker(folder.path()).await?;
        let redis = Meanwhile::begin(&self.store).await?;
        self.phase("running", jobs);
        let pushing = async { Ok(template.push_at_rate(&self.store, jobs, per_s).await?) };
        let (due, times) = tokio::try_join!(pushing, self.times(&mut worker, jobs))?;
        report.redis = redis.end(&self.store, jobs).await?;
        report.worker = worker.stop().await?;
        let after = self.sandbox_floor(measured).await;

        let warm_up = (jobs / WARM_UP_SHARE).min(WARM_UP_JOBS);
        let counted: Vec<_> = times
            .iter()
            .filter_map(|times| Some((times.id.parse::<u64>().ok()?, times)))
            .filter(|(number, _)| *number >= warm_up)
            .filter_map(|(number, times)| Some((*due.get(usize::try_from(number).ok()?)?, times)))
            .collect();
        let spread = |ns: fn(u64, &JobTimes) -> u64| {
            Percentiles::of(counted.iter().map(|(due, times)| ns(*due, times)).collect())
        };
        report.rate = Some(RateFigures {
            jobs: counted.len() as u64,
            completed_jobs: counted.iter().filter(|(_, times)| times.completed).count() as u64,
            made_ahead_jobs: counted.iter().filter(|(_, times)| times.made_ahead).count() as u64,
            jobs_per_s: f64::from(per_s),
            sandbox_floor: Floor::new(before, after),
            bare_due_to_taken: bare,
            due_to_started: spread(|due, times| times.started_ns.saturating_sub(due)),
            due_to_answered: spread(|due, times| times.answered_ns.saturating_sub(due)),
            started_to_settled: spread(|_, times| run_ns(times)),
            due_to_settled: spread(|due, times| times.settled_ns.saturating_sub(due)),
        });
        Ok(())
    }

    pub(super) async fn due(&self, measured: &Measured, report: &mut Report) -> Result<(), BenchError> {
        let folder = measured.folder(self.copies)?;
        let before = self.sandbox_floor(measured).await;
        self.lay_delayed().await?;
        let mut worker = self.ready_worker(folder.path()).await?;
        let planned = DUE_MARGIN + Duration::from_secs(self.jobs.div_ceil(DELAYED_PER_S));
        let due_ms = i64::try_from(unix_ns() / 1_000_000)
            .unwrap_or(i64::MAX)
            .saturating_add_unsigned(millis(planned));
        let instant_ns = u64::try_from(due_ms).unwrap_or(0) * 1_000_000;
        self.phase("pushing", self.jobs);
        let template = self.template();
        template
            .push_all(&self.store, self.jobs, Some(due_ms), &self.bar)
            .await?;
        if unix_ns() >= instant_ns {
            return Err(BenchError::TooLate {
                jobs: self.jobs,
                planned,
            });
        }
        let redis = Meanwhile::begin(&self.store).await?;
        self.phase("waiting, then running", self.jobs);
        let times = self.times(&mut worker, self.jobs).await?;
        report.redis = redis.end(&self.store, self.jobs).await?;
        report.worker = worker.stop().await?;
        let after = self.sandbox_floor(measured).await;
        let late = |ns: fn(&JobTimes) -> u64| {
            Percentiles::of(times.iter().map(|times| ns(times).saturating_sub(instant_ns)).collect())
        };
        report.due = Some(DueFigures {
            jobs: times.len() as u64,
            completed_jobs: completed(&times),
            early_jobs: times.iter().filter(|times| times.started_ns < instant_ns).count() as u64,
            sandbox_floor: Floor::new(before, after),
            due_to_started: late(|times| times.started_ns),
            due_to_settled: late(|times| times.settled_ns),
        });
        Ok(())
    }

    pub(super) async fn idle(&self, measured: &Measured, report: &mut Report) -> Result<(), BenchError> {
        let folder = measured.folder(self.copies)?;
        self.lay_delayed().await?;
        let mut worker = self.ready_worker(folder.path()).await?;
        self.phase("watching", 0);
        tokio::time::sleep(SETTLE_TIME).await;
        let redis = Meanwhile::begin(&self.store).await?;
        worker.idle(self.time).await?;
        report.redis = redis.end(&self.store, 0).await?;
        report.worker = worker.stop().await?;
        Ok(())
    }

    /// A worker that serves the queue.
    async fn ready_worker(&self, folder: &Path) -> Result<Worker, BenchError> {
        self.phase("starting", 0);
        let mut worker = Worker::start(&self.launch, folder)?;
        worker.until_joined(&self.store, &self.queue).await?;
        Ok(worker)
    }

    /// Waits until the worker has settled so many jobs, or a few more, and returns their times.
    async fn times(&self, worker: &mut Worker, jobs: u64) -> Result<Vec<JobTimes>, BenchError> {
        let mut all = Vec::new();
        while (all.len() as u64) < jobs {
            let times = worker.next().await?;
            self.bar.inc(times.len() as u64);
            all.extend(times);
        }
        Ok(all)
    }

    async fn sandbox_floor(&self, measured: &Measured) -> f64 {
        self.phase("without a queue", 0);
        floor::sandbox(&measured.handler, &self.template(), self.concurrency.get()).await
    }

    /// Fills the delayed set with jobs that never run.
    async fn lay_delayed(&self) -> Result<(), BenchError> {
        self.phase("pushing delayed jobs", self.delayed);
        let now_ms = i64::try_from(unix_ns() / 1_000_000).unwrap_or(i64::MAX);
        let due_ms = now_ms.saturating_add_unsigned(millis(LONG_AFTER));
        self.template()
            .push_all(&self.store, self.delayed, Some(due_ms), &self.bar)
            .await?;
        Ok(())
    }
}

fn completed(times: &[JobTimes]) -> u64 {
    times.iter().filter(|times| times.completed).count() as u64
}

fn run_ns(times: &JobTimes) -> u64 {
    times.settled_ns.saturating_sub(times.started_ns)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
