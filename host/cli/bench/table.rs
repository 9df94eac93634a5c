//! A benchmark's report as a person reads it.

use bytesize::ByteSize;

use crate::bench::{Percentiles, Report};

/// The table, line by line.
pub(super) fn lines(report: &Report) -> Vec<String> {
    let mut lines = vec![headline(report), String::new()];
    lines.extend(pushes(report));
    lines.extend(runs(report));
    lines.extend(host(report));
    lines
}

fn headline(report: &Report) -> String {
    let mut parts = vec![report.mode.to_owned()];
    parts.extend(report.plugin.as_ref().map(|plugin| format!("plugin {plugin}")));
    parts.push(format!("{} bytes of payload", report.payload_bytes));
    if report.plugin.is_some() {
        parts.push(format!("{} attempts at once", report.concurrency));
    }
    parts.push(format!("{} cores", report.cores));
    let more = [
        (report.backlog_jobs, "jobs behind"),
        (report.delayed_jobs, "delayed jobs"),
        (u64::from(report.other_plugins), "other plugins"),
    ];
    parts.extend(
        more.iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, of)| format!("{count} {of}")),
    );
    parts.join(", ")
}

fn pushes(report: &Report) -> Vec<String> {
    let Some(push) = &report.push else {
        return Vec::new();
    };
    let mut lines = vec![beside(
        "pushed, 1000 at once",
        push.batch_jobs_per_s,
        "bare RPUSH",
        push.bare_batch_jobs_per_s,
        push.batch_ratio,
    )];
    if let (Some(ours), Some(bare), Some(ratio)) =
        (push.single_jobs_per_s, push.bare_single_jobs_per_s, push.single_ratio)
    {
        lines.push(beside("pushed, one by one", ours, "bare RPUSH", bare, ratio));
    }
    lines.push(line(
        "taken off a list",
        &format!("{:>10.0} /s   bare LPOP, 256 at once", push.bare_pop_jobs_per_s),
    ));
    lines
}

fn runs(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let floor = |floor: f64| {
        line(
            "without a queue",
            &format!("{floor:>10.0} /s   fresh instance and call"),
        )
    };
    if let Some(drain) = &report.drain {
        let (jobs, floor) = (drain.jobs_per_s, drain.sandbox_floor.average_jobs_per_s);
        lines.push(beside("drained", jobs, "without a queue", floor, drain.floor_ratio));
        lines.push(count(
            drain.jobs,
            drain.completed_jobs,
            &format!(", in {:.2} s", drain.seconds),
        ));
        lines.push(HEADINGS.to_owned());
        lines.push(spread("started to settled", &drain.started_to_settled));
    }
    if let Some(scaling) = &report.scaling {
        let (all, one) = (scaling.all_cores_jobs_per_s, scaling.one_core_jobs_per_s);
        lines.push(beside("drained, all cores", all, "one core", one, scaling.ratio));
        let (all, one) = (scaling.all_cores_seconds, scaling.one_core_seconds);
        lines.push(line("that took", &format!("{all:>10.1} s, on one core {one:.1} s")));
    }
    if let Some(rate) = &report.rate {
        lines.push(floor(rate.sandbox_floor.average_jobs_per_s));
        lines.push(count(
            rate.jobs,
            rate.completed_jobs,
            &format!(
                ", {} a second, {} in instances made ahead",
                rate.jobs_per_s, rate.made_ahead_jobs
            ),
        ));
        lines.push(HEADINGS.to_owned());
        lines.extend(rate.bare_due_to_taken.map(|bare| spread("due to bare BLPOP", &bare)));
        lines.push(spread("due to started", &rate.due_to_started));
        lines.push(spread("due to answered", &rate.due_to_answered));
        lines.push(spread("started to settled", &rate.started_to_settled));
        lines.push(spread("due to settled", &rate.due_to_settled));
    }
    if let Some(due) = &report.due {
        lines.push(floor(due.sandbox_floor.average_jobs_per_s));
        lines.push(count(
            due.jobs,
            due.completed_jobs,
            &format!(", {} of them early", due.early_jobs),
        ));
        lines.push(HEADINGS.to_owned());
        lines.push(spread("due to started", &due.due_to_started));
        lines.push(spread("due to settled", &due.due_to_settled));
    }
    lines
}

fn host(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let a_job = |us: Option<f64>| us.map_or_else(String::new, |us| format!(", {us:.0} µs a job"));
    if let Some(worker) = &report.worker {
        lines.push(line(
            "worker's processor",
            &format!(
                "{:>9.1} %{} ({} threads)",
                worker.cpu_percent,
                a_job(worker.cpu_us_per_job),
                worker.threads
            ),
        ));
        if let Some((faults, switches)) = worker.page_faults_per_job.zip(worker.context_switches_per_job) {
            let counted = format!("{faults:>10.2} page faults, {switches:.2} context switches");
            lines.push(line("a job takes", &counted));
        }
        let early = worker.memory_early_bytes.zip(worker.memory_early_jobs);
        let early = early.map_or_else(String::new, |(bytes, jobs)| {
            format!(", {} after {jobs} jobs", ByteSize(bytes))
        });
        let (end, peak) = (
            ByteSize(worker.memory_end_bytes).to_string(),
            ByteSize(worker.memory_peak_bytes),
        );
        lines.push(line("worker's memory", &format!("{end:>11}{early}, {peak} at most")));
    }
    if let Some(redis) = &report.redis {
        let commands = redis
            .commands_per_job
            .map_or_else(String::new, |commands| format!(", {commands:.2} a job"));
        lines.push(line(
            "Redis' commands",
            &format!("{:>10.1} /s{commands}, those in scripts included", redis.commands_per_s),
        ));
        lines.push(line(
            "Redis' processor",
            &format!("{:>9.1} %{}", redis.cpu_percent, a_job(redis.cpu_us_per_job)),
        ));
    }
    lines
}

const HEADINGS: &str = "                               p50          p90          p99          max";

fn line(label: &str, text: &str) -> String {
    format!("{label:<22}{text}")
}

fn beside(label: &str, ours: f64, of: &str, floor: f64, ratio: f64) -> String {
    line(
        label,
        &format!("{ours:>10.0} /s   {of} {floor:.0} /s   ratio {ratio:.2}"),
    )
}

fn count(jobs: u64, completed: u64, more: &str) -> String {
    line("jobs", &format!("{jobs:>10}      {completed} completed{more}"))
}

fn spread(label: &str, found: &Percentiles) -> String {
    let ms = [found.p50_us, found.p90_us, found.p99_us, found.max_us].map(millis);
    line(label, &ms.join(" "))
}

fn millis(us: u64) -> String {
    format!("{:>5}.{:03} ms", us / 1_000, us % 1_000)
}
