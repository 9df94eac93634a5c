//! The real [`Consumer`](kiln::queue::Consumer), where `model` has one of its own: hosts that die, pause and leave, over
//! lines that lose messages and answers, while an operator cancels jobs, on the store in memory and on Redis. What must hold
//! is what the model proves of the protocol, so the two cannot drift apart.
//!
//! Time is real, and so is chance beyond what its seed decides. No promise here is about time, so a slow machine breaks none.

mod host;
mod line;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use kiln::job::Job;
use kiln::queue::{CANCELLED_FOR, Part, Push, QueueName, Store, StoreSettings};

use crate::queue::ready;
use crate::support::{default_queue, eventually, redis_settings};
use host::{End, PLACES, Step, Steps, World};
use line::Ledger;

/// Worlds that are tried at once, each with its own seed.
const WORLDS: u64 = 16;

/// Places for hosts: where one has ended, the next begins.
const HOSTS: usize = 3;

/// How long hosts die and lines are bad.
const STORM: Duration = Duration::from_secs(3);

/// More than can be done before the storm is over.
const JOBS: usize = 400;

/// Longest pause between two cancels, in milliseconds. About one job in three is cancelled.
const CANCEL_MS: u64 = 40;

/// What can be done wrong, and has to be noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    /// What a fetch tells of cancels is not looked at before what it brought is started.
    StartsWhatIsCancelled,
    LosesWhatIsOnItsWay,
    LetsGuestsOutliveTheLease,
    StartsWithoutAPlace,
}

/// What became of a world.
struct Outcome {
    ledger: Ledger,
    steps: Vec<Step>,
    /// When the cancel of each job was acknowledged.
    cancelled: BTreeMap<usize, Instant>,
    /// What completed jobs have counted.
    counted: usize,
    failed: usize,
    /// How often each follow-up was pushed, by its queue and its id.
    pushed: BTreeMap<(String, String), usize>,
    /// The ledger has seen all: a move in memory, and taking note of it, are one step.
    seen_all: bool,
}

/// Lets hosts work until nothing is left to do.
fn simulate(settings: StoreSettings, seed: u64, mistake: Option<Mistake>) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let store = runtime.block_on(Store::open(&settings))?;
    let jobs = (0..JOBS).map(|n| ready(&format!(r#"{{"id":"{n}","name":"hello"}}"#)));
    runtime.block_on(store.push(&jobs.collect::<Vec<Push>>()))?;
    let world = World {
        memory: (settings.url == "memory:").then(|| store.clone()),
        settings,
        ledger: Arc::default(),
        steps: Steps::default(),
        calm: Arc::default(),
        mistake,
    };
    let (mut luck, over) = (fastrand::Rng::with_seed(seed), AtomicBool::new(false));
    let mut cancelled = BTreeMap::new();
    thread::scope(|threads| {
        let (operator, luck_of) = (&world, luck.fork());
        let cancelling = threads.spawn(move || cancel_some(operator, luck_of));
        for _ in 0..HOSTS {
            let (luck, world, over) = (luck.fork(), &world, &over);
            threads.spawn(move || keep_a_host(world, luck, over));
        }
        thread::sleep(STORM);
        world.calm.store(true, Ordering::Relaxed);
        let (queue, backend) = (default_queue(), store.clone().into_backend());
        let idle = async || {
            let idle =
                store.counts(&queue).await?.is_empty() && backend.outbox(&queue, None, 0).await?.entries.is_empty();
            Ok(idle.then_some(()))
        };
        let done = runtime.block_on(eventually("nothing left to do", idle));
        over.store(true, Ordering::Relaxed);
        cancelled = cancelling.join().expect("no panic")?;
        done
    })?;
    let counted = async {
        let keys = ["done".to_owned()];
        let counted = store
            .clone()
            .into_backend()
            .state_get(&host::bucket(), &keys, 100)
            .await??;
        let text = counted[0]
            .as_ref()
            .map_or("0", |entry| str::from_utf8(&entry.value).expect("a number"));
        let mut pushed = BTreeMap::new();
        let mut from = None;
        for queue in ["after", "ended"] {
            let name = QueueName::new(queue).expect("a name");
            loop {
                let page = store
                    .clone()
                    .into_backend()
                    .jobs(&name, &Part::Ready, from.as_deref())
                    .await?;
                for seen in page.jobs {
                    let id = Job::decode(&seen.job.bytes)?.id;
                    *pushed.entry((queue.to_owned(), id)).or_default() += 1;
                }
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
        }
        anyhow::Ok((text.parse()?, usize::try_from(store.failed_len().await?)?, pushed))
    };
    let (counted, failed, pushed) = runtime.block_on(counted)?;
    let (ledger, steps) = (
        std::mem::take(&mut *world.ledger.lock()),
        std::mem::take(&mut *world.steps.lock()),
    );
    Ok(Outcome {
        ledger,
        steps,
        cancelled,
        counted,
        failed,
        pushed,
        seen_all: world.memory.is_some(),
    })
}

/// Cancels jobs at random moments, over a line of its own that is good, until the storm is over.
fn cancel_some(world: &World, mut luck: fastrand::Rng) -> anyhow::Result<BTreeMap<usize, Instant>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = match &world.memory {
            Some(store) => store.clone(),
            None => Store::open(&world.settings).await?,
        };
        let mut cancelled = BTreeMap::new();
        while !world.calm.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(luck.u64(..CANCEL_MS))).await;
            let job = luck.usize(..JOBS);
            store
                .cancel(&default_queue(), &[job.to_string()], CANCELLED_FOR)
                .await?;
            cancelled.entry(job).or_insert_with(Instant::now);
        }
        Ok(cancelled)
    })
}

/// Has one host follow the other.
fn keep_a_host(world: &World, mut luck: fastrand::Rng, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let ends = [End::Dies, End::Pauses, End::Leaves];
        let is_calm = world.calm.load(Ordering::Relaxed);
        let end = if is_calm { End::Leaves } else { ends[luck.usize(..3)] };
        let life = Duration::from_millis(luck.u64(100..1_500));
        host::run(world.clone(), luck.fork(), life, end);
    }
}

/// Whether the promises were kept.
fn judge(world: &Outcome) -> anyhow::Result<()> {
    let taken_over = &world.ledger.taken_over;
    ensure!(
        !taken_over.is_empty(),
        "no host took anything over: this world shows nothing"
    );
    ensure!(
        world.counted + world.failed == JOBS,
        "{} jobs counted themselves and {} failed, of {JOBS}",
        world.counted,
        world.failed
    );
    let twice: Vec<_> = world.pushed.iter().filter(|(_, times)| **times != 1).collect();
    ensure!(twice.is_empty(), "pushed more than once: {twice:?}");
    let after = |queue: &str| world.pushed.keys().filter(|(of, _)| of == queue).count();
    ensure!(
        after("after") == world.counted,
        "{} jobs counted themselves, and {} have a follow-up",
        world.counted,
        after("after")
    );
    ensure!(after("ended") == 2, "the batch has called back: {:?}", after("ended"));
    for job in 0..JOBS {
        let ended = world.ledger.ended.get(&job).copied().unwrap_or(0);
        ensure!(
            ended == 1 || !world.seen_all,
            "job {job} was acknowledged or failed {ended} times"
        );
    }
    for step in &world.steps {
        let late = taken_over.get(&step.held).is_some_and(|at| step.at >= *at);
        ensure!(!late, "job {} ran on after another host had taken it over", step.job);
    }
    for step in &world.steps {
        let asked = world.ledger.asked.get(&step.held);
        let cancelled = world.cancelled.get(&step.job);
        let late = asked.zip(cancelled).is_some_and(|(asked, cancelled)| asked > cancelled);
        ensure!(
            !late,
            "job {} was started by who fetched it after its cancel was acknowledged",
            step.job
        );
    }
    let mut of_jobs = BTreeMap::<usize, Vec<&Step>>::new();
    for step in &world.steps {
        of_jobs.entry(step.job).or_default().push(step);
    }
    for (job, mut steps) in of_jobs {
        steps.sort_by_key(|step| step.at);
        let runs: Vec<_> = steps
            .chunk_by(|a, b| a.held == b.held)
            .map(|run| &run[0].held)
            .collect();
        let deliveries: BTreeSet<_> = runs.iter().collect();
        ensure!(runs.len() == deliveries.len(), "two attempts at job {job} overlapped");
    }
    let at_once = at_once(&world.steps);
    ensure!(
        at_once <= PLACES,
        "{at_once} limited jobs were at work at once, not {PLACES}"
    );
    ensure!(at_once == PLACES, "never more than {at_once}: this world shows nothing");
    Ok(())
}

/// How many limited jobs were at work at once, at most.
fn at_once(steps: &[Step]) -> usize {
    let mut spans = BTreeMap::<_, (Instant, Instant)>::new();
    for step in steps.iter().filter(|step| step.limited) {
        let span = spans.entry(&step.held).or_insert((step.at, step.at));
        *span = (span.0.min(step.at), span.1.max(step.at));
    }
    let begun = spans.values().map(|span| span.0);
    let at_work = |at| spans.values().filter(|span| span.0 <= at && at <= span.1).count();
    begun.map(at_work).max().unwrap_or(0)
}

/// Tries worlds at once, and tells how many broke a promise, and one of those.
fn broken(
    settings: fn() -> StoreSettings,
    seeds: std::ops::Range<u64>,
    mistake: Option<Mistake>,
) -> (usize, Option<anyhow::Error>) {
    thread::scope(|threads| {
        let worlds = seeds.map(|seed| {
            threads.spawn(move || {
                let judged = simulate(settings(), seed, mistake).and_then(|world| judge(&world));
                judged.with_context(|| format!("the world of seed {seed}"))
            })
        });
        let worlds: Vec<_> = worlds.collect();
        let judged = worlds.into_iter().map(|world| world.join().expect("no panic"));
        let broken: Vec<_> = judged.filter_map(Result::err).collect();
        (broken.len(), broken.into_iter().next())
    })
}

#[test]
fn hosts_that_die_pause_and_leave_over_bad_lines_keep_every_promise() -> anyhow::Result<()> {
    let (_, broken) = broken(in_memory, 0..WORLDS, None);
    broken.map_or(Ok(()), Err)
}

#[test]
fn on_redis_they_keep_them_as_well() -> anyhow::Result<()> {
    let (_, broken) = broken(redis_settings, 0..4, None);
    broken.map_or(Ok(()), Err)
}

fn in_memory() -> StoreSettings {
    StoreSettings::new("memory:")
}

#[test]
fn a_mistake_breaks_a_promise() {
    for mistake in [
        Mistake::LosesWhatIsOnItsWay,
        Mistake::LetsGuestsOutliveTheLease,
        Mistake::StartsWhatIsCancelled,
        Mistake::StartsWithoutAPlace,
    ] {
        let (broken, _) = broken(in_memory, 0..2, Some(mistake));
        assert!(broken > 0, "nobody noticed: {mistake:?}");
    }
}
