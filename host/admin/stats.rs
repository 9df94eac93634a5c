//! What all workers' jobs and attempts came to, over time.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::AdminError;
use crate::queue::{Of, Span, Store, Sum};

/// What came to what in a range of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Its beginning, RFC 3339: that of the first step.
    pub from: String,
    /// Its end: now.
    pub to: String,
    /// The length of a step, in seconds: a minute, an hour or a day.
    pub step_s: u64,
    /// By queue.
    pub queues: BTreeMap<String, QueueStats>,
    /// By plugin.
    pub plugins: BTreeMap<String, PluginStats>,
}

/// What became of a queue's jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct QueueStats {
    /// Jobs done.
    pub done: u64,
    /// Jobs that went to the failed list.
    pub failed: u64,
    /// Attempts after which the job was put off to be tried again.
    pub retried: u64,
    /// Jobs that were too old to be run, and are gone.
    pub dropped: u64,
    /// Jobs done, failed or dropped, by step.
    pub steps: Vec<u64>,
}

/// What a plugin's attempts came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PluginStats {
    /// Attempts that completed.
    pub completed: u64,
    /// Those that failed, by kind.
    pub failures: BTreeMap<String, u64>,
    /// The processor time of all of them, in microseconds.
    pub cpu_us: u64,
    /// How long all of them took together, in microseconds.
    pub ran_us: u64,
    /// Attempts, by step.
    pub steps: Vec<u64>,
}

impl PluginStats {
    /// All attempts.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.completed + self.failures.values().sum::<u64>()
    }
}

/// The last so much time. The steps are as short as the sums of that time are kept: minutes for up to eight hours, hours for up
/// to 35 days, else days, of which there are 400.
///
/// # Errors
/// When the store fails.
pub async fn since(store: &Store, since: Duration) -> Result<Stats, AdminError> {
    let now = store.now().await?;
    let kept_so_long = |span: &Span| since <= span.kept();
    let span = Span::ALL.into_iter().find(kept_so_long).unwrap_or(Span::Day);
    let since = SignedDuration::try_from(since.min(span.kept())).unwrap_or(SignedDuration::MAX);
    let first = span.number(now.saturating_sub(since).unwrap_or(Timestamp::MIN));
    let steps = usize::try_from(span.number(now) - first + 1).unwrap_or(0);
    let mut stats = Stats {
        from: format!("{:.0}", span.begin(first)),
        to: format!("{now:.0}"),
        step_s: span.length().as_secs(),
        queues: BTreeMap::new(),
        plugins: BTreeMap::new(),
    };
    for (step, sums) in store.sums(span, first, steps).await?.into_iter().enumerate() {
        for (sum, more) in sums {
            stats.add(sum, more, step, steps);
        }
    }
    Ok(stats)
}

impl Stats {
    fn add(&mut self, sum: Sum, more: u64, step: usize, steps: usize) {
        match sum.of {
            Of::Queue => self
                .queues
                .entry(sum.name)
                .or_default()
                .add(&sum.what, more, step, steps),
            Of::Plugin => self
                .plugins
                .entry(sum.name)
                .or_default()
                .add(sum.what, more, step, steps),
            // These are told on their own.
            Of::Wait => {}
        }
    }
}

impl QueueStats {
    fn add(&mut self, what: &str, more: u64, step: usize, steps: usize) {
        self.steps.resize(steps, 0);
        match what {
            "done" => self.done += more,
            "failed" => self.failed += more,
            "dropped" => self.dropped += more,
            "retried" => return self.retried += more,
            // Another version of Kiln counts more.
            _ => return,
        }
        self.steps[step] += more;
    }
}

impl PluginStats {
    fn add(&mut self, what: String, more: u64, step: usize, steps: usize) {
        self.steps.resize(steps, 0);
        match &*what {
            "cpu_us" => return self.cpu_us += more,
            "ran_us" => return self.ran_us += more,
            "completed" => self.completed += more,
            _ => *self.failures.entry(what).or_default() += more,
        }
        self.steps[step] += more;
    }
}
