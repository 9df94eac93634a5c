//! What control costs and how soon it works: jobs a second that are answered (`metadata.kiln.reply`) or of which all history
//! is kept, each by turns with plain ones; and how long a running worker goes on after a pause and a cancel.
//!
//! `cargo bench --bench control -- [ROUNDS] [JOBS] [TIMES]`: rounds of each comparison, jobs of each run, and how often
//! something is paused and cancelled. It starts a `redis-server` of its own. The worker is in this process, so the time that
//! `kiln pause` needs to start is not in it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark fails by panicking, and prints what it found"
)]

#[path = "../suite/guests.rs"]
#[allow(dead_code, reason = "shared with the suite, which needs more of it")]
mod guests;
#[path = "../suite/servers/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the suite, which needs more of it")]
mod servers;
#[path = "../suite/support.rs"]
#[allow(dead_code, reason = "shared with the suite, which needs more of it")]
mod support;

use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::try_join_all;
use kiln::admin::cancel::cancel;
use kiln::admin::pause::{pause, resume};
use kiln::config::{HistorySettings, KeepAttempts, PluginSettings, SandboxSettings};
use kiln::events::{Event, Events, Subscriber};
use kiln::plugins::{Plugins, Watching};
use kiln::queue::{Pausable, Push, Store};
use kiln::sandbox::Sandbox;
use kiln::service::{self, ServiceSettings};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::guests::guest;
use crate::support::{default_queue, redis_settings};

const CONCURRENCY: NonZeroU32 = NonZeroU32::new(64).unwrap();

/// Jobs that are ready when a queue is paused, so that only the pause ends the starts.
const BACKLOG: u64 = 2_000;

/// Workers of which each has to hear of a pause.
const WORKERS: usize = 4;

/// Between two looks at whether a paused queue has come to rest. It is in no figure.
const LOOK: Duration = Duration::from_millis(2);

fn main() -> anyhow::Result<()> {
    // Cargo adds an argument of its own that says that this is a benchmark.
    let args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let numbers = args.map(|arg| arg.parse()).collect::<Result<Vec<u64>, _>>()?;
    let of = |place: usize, default| numbers.get(place).copied().unwrap_or(default);
    let (rounds, jobs, times) = (of(0, 9), of(1, 20_000), of(2, 200));
    tokio::runtime::Runtime::new()?.block_on(async {
        let bench = Bench::new()?;
        bench.compare(rounds, jobs).await?;
        for workers in [1, WORKERS] {
            bench.pauses(Pausable::Queue(default_queue()), workers, times).await?;
            bench.pauses(Pausable::Job("echo".to_owned()), workers, times).await?;
        }
        bench.cancels(times).await
    })
}

/// What the workers have done since somebody last looked.
#[derive(Debug, Default)]
struct Seen {
    times: Mutex<Times>,
    changed: Notify,
}

#[derive(Debug, Default, Clone)]
struct Times {
    first_started: Option<Instant>,
    last_started: Option<Instant>,
    last_ended: Option<Instant>,
    last_settled: Option<Instant>,
    settled: u64,
}

impl Subscriber for Seen {
    fn on(&self, event: &Event<'_>) {
        let now = Some(Instant::now());
        let mut times = self.times.lock().unwrap();
        match event {
            Event::Started(_) => {
                times.first_started = times.first_started.or(now);
                times.last_started = now;
            }
            Event::Ended { .. } => times.last_ended = now,
            Event::Settled { settled, .. } => {
                times.last_settled = now;
                times.settled += settled.len() as u64;
            }
            _ => {}
        }
        self.changed.notify_waiters();
    }
}

impl Seen {
    fn forget(&self) {
        *self.times.lock().unwrap() = Times::default();
    }

    /// Waits until what was done has this in it.
    async fn until<T>(&self, found: impl Fn(&Times) -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Before the look, so that nothing between the two is missed.
            changed.as_mut().enable();
            let times = self.times.lock().unwrap().clone();
            match found(&times) {
                Some(found) => return found,
                None => changed.await,
            }
        }
    }
}

struct Bench {
    sandbox: Arc<Sandbox>,
    folder: TempDir,
    seen: Arc<Seen>,
    events: Events,
}

impl Bench {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        for name in ["echo", "spin"] {
            std::fs::write(folder.path().join(name).with_extension("wasm"), guest(name)?)?;
        }
        let (seen, events) = (Arc::<Seen>::default(), Events::default());
        events.subscribe(&seen);
        Ok(Self {
            sandbox: Arc::new(Sandbox::new(&SandboxSettings::new(CONCURRENCY))?),
            folder,
            seen,
            events,
        })
    }

    /// Serves until the token is cancelled; where it is a burst, until nothing is left.
    async fn serve(
        &self,
        store: &Store,
        keep: KeepAttempts,
        burst: bool,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let (sandbox, settings) = (Arc::clone(&self.sandbox), PluginSettings::default());
        let plugins = Plugins::open(sandbox, self.folder.path(), settings, self.events.clone()).await?;
        let settings = ServiceSettings {
            burst,
            watching: Watching::default(),
            history: HistorySettings {
                attempts: keep,
                ..HistorySettings::default()
            },
            ..ServiceSettings::new(default_queue(), CONCURRENCY)
        };
        service::run(settings, store.clone(), plugins, stop).await?;
        Ok(())
    }

    /// Jobs a second of one worker that finds all of them ready, from the first start to the last settlement.
    async fn drained(&self, jobs: u64, metadata: &str, keep: KeepAttempts) -> anyhow::Result<f64> {
        let store = Store::open(&redis_settings()).await?;
        push(&store, "echo", 0..jobs, metadata).await?;
        self.seen.forget();
        self.serve(&store, keep, true, CancellationToken::new()).await?;
        let times = self.seen.times.lock().unwrap().clone();
        anyhow::ensure!(times.settled == jobs, "{} of {jobs} jobs were settled", times.settled);
        let began = times.first_started.context("no job started")?;
        let took = times.last_settled.context("no job was settled")? - began;
        Ok(f64::from(u32::try_from(jobs)?) / took.as_secs_f64())
    }

    async fn compare(&self, rounds: u64, jobs: u64) -> anyhow::Result<()> {
        let reply = r#"{"kiln":{"reply":true}}"#;
        let all = [
            ("reply", reply, KeepAttempts::default()),
            ("history all", "{}", KeepAttempts::All),
            ("plain again", "{}", KeepAttempts::default()),
        ];
        let (mut plain, mut with, mut ratios) = (Vec::new(), [const { Vec::new() }; 3], [const { Vec::new() }; 3]);
        self.drained(jobs, "{}", KeepAttempts::default()).await?;
        for _ in 0..rounds {
            for (which, (_, metadata, keep)) in all.iter().enumerate() {
                let beside = self.drained(jobs, "{}", KeepAttempts::default()).await?;
                let this = self.drained(jobs, metadata, *keep).await?;
                plain.push(beside);
                with[which].push(this);
                ratios[which].push(this / beside);
            }
        }
        println!("{jobs} jobs a run, {rounds} rounds by turns; medians");
        println!("plain        {:>7.0} jobs/s", median(&mut plain));
        for (which, (name, ..)) in all.iter().enumerate() {
            let ratio = median(&mut ratios[which]);
            let (least, most) = (ratios[which][0], ratios[which][ratios[which].len() - 1]);
            let rate = median(&mut with[which]);
            println!("{name:<12} {rate:>7.0} jobs/s, {ratio:.3} of plain beside it ({least:.2} to {most:.2})");
        }
        Ok(())
    }

    /// How long starts go on after a pause, on whichever of so many workers, and how long none comes after it is over.
    async fn pauses(&self, what: Pausable, workers: usize, times: u64) -> anyhow::Result<()> {
        let (store, queue, stop) = (
            Store::open(&redis_settings()).await?,
            default_queue(),
            CancellationToken::new(),
        );
        let measuring = async {
            let (mut until_still, mut until_first, mut next) = (Vec::new(), Vec::new(), 0);
            while (until_still.len() as u64) < times {
                let counts = store.counts(&queue).await?;
                let missing = BACKLOG.saturating_sub(counts.ready + counts.waiting);
                push(&store, "echo", next..next + missing, "{}").await?;
                next += missing;
                self.seen.forget();
                let began = Instant::now();
                resume(&store, &what).await?;
                let first = self.seen.until(|seen| seen.first_started).await;
                until_first.push(first.saturating_duration_since(began));
                self.seen.until(|seen| (seen.settled > 20).then_some(())).await;
                let began = Instant::now();
                pause(&store, &what, "", "").await?;
                self.come_to_rest(&store, &what).await?;
                let last = self.seen.until(|seen| seen.last_started).await;
                until_still.push(last.saturating_duration_since(began));
            }
            stop.cancel();
            anyhow::Ok((until_still, until_first))
        };
        let serving = (0..workers).map(|_| self.serve(&store, KeepAttempts::default(), false, stop.clone()));
        let (measured, served) = tokio::join!(measuring, try_join_all(serving));
        served?;
        let (until_still, until_first) = measured?;
        tell(&format!("pause of {what}, workers: {workers}, last start"), until_still);
        tell(
            &format!("resume of {what}, workers: {workers}, first start"),
            until_first,
        );
        Ok(())
    }

    /// Waits until no worker has a job in hand, and none takes one only to lay it aside.
    async fn come_to_rest(&self, store: &Store, paused: &Pausable) -> anyhow::Result<()> {
        loop {
            let counts = store.counts(&default_queue()).await?;
            let still = matches!(paused, Pausable::Queue(_)) || counts.ready == 0;
            if counts.in_flight == 0 && still {
                let left = counts.ready + counts.waiting;
                anyhow::ensure!(left > 0, "the backlog was over before the pause");
                return Ok(());
            }
            sleep(LOOK).await;
        }
    }

    /// How long a handler that never returns runs on after its job is cancelled.
    async fn cancels(&self, times: u64) -> anyhow::Result<()> {
        let (store, queue, stop) = (
            Store::open(&redis_settings()).await?,
            default_queue(),
            CancellationToken::new(),
        );
        let measuring = async {
            let (mut until_ended, mut until_settled) = (Vec::new(), Vec::new());
            for number in 0..times {
                self.seen.forget();
                push(&store, "spin", number..number + 1, "{}").await?;
                self.seen.until(|seen| seen.first_started).await;
                let began = Instant::now();
                cancel(&store, std::slice::from_ref(&queue), &[number.to_string()]).await?;
                let settled = self.seen.until(|seen| seen.last_settled).await;
                let ended = self.seen.until(|seen| seen.last_ended).await;
                until_ended.push(ended.saturating_duration_since(began));
                until_settled.push(settled.saturating_duration_since(began));
            }
            stop.cancel();
            anyhow::Ok((until_ended, until_settled))
        };
        let serving = self.serve(&store, KeepAttempts::default(), false, stop.clone());
        let (measured, served) = tokio::join!(measuring, serving);
        served?;
        let (until_ended, until_settled) = measured?;
        tell("cancel, until the attempt's end", until_ended);
        tell("cancel, until it is settled", until_settled);
        Ok(())
    }
}

async fn push(store: &Store, name: &str, numbers: std::ops::Range<u64>, metadata: &str) -> anyhow::Result<()> {
    let jobs: Vec<_> = numbers
        .map(|number| Push {
            queue: default_queue(),
            job: format!(r#"{{"id":"{number}","name":"{name}","payload":{{"to":"World"}},"metadata":{metadata}}}"#),
            due_ms: None,
        })
        .collect();
    for some in jobs.chunks(1_000) {
        store.push(some).await?;
    }
    Ok(())
}

/// The middle of figures, which are in order afterwards.
fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
    let (median, late, most) = (at(50), at(99), at(100));
    println!(
        "{what:<52} p50 {median:>9.2?}, p99 {late:>9.2?}, at most {most:>9.2?} ({} times)",
        times.len()
    );
}
