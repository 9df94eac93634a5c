//! The real [`Consumer`](kiln::queue::Consumer), where `model` has one of its own: hosts that die, pause and leave, over lines that
//! lose messages and answers, on the store in memory. What must hold is what the model proves of the protocol, so the two
//! cannot drift apart.
//!
//! Time is real, and so is chance beyond what its seed decides; but no promise here is about time, so a slow machine
//! breaks none.

mod host;
mod line;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use kiln::queue::{Push, Store, StoreSettings};
use parking_lot::Mutex;

use crate::queue::ready;
use crate::support::{default_queue, eventually};
use host::{End, Host, Step, Steps};
use line::{Ledger, Line};

/// Worlds that are tried at once, each with its own seed.
const WORLDS: u64 = 16;

/// Places for hosts: where one has ended, the next begins.
const HOSTS: usize = 3;

/// How long hosts die and lines are bad.
const STORM: Duration = Duration::from_secs(3);

/// More than can be done before the storm is over.
const JOBS: usize = 400;

/// What can be done wrong, and has to be noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    LosesWhatIsOnItsWay,
    LetsGuestsOutliveTheLease,
}

/// What a world came to.
struct World {
    ledger: Ledger,
    steps: Vec<Step>,
}

/// Lets hosts work until nothing is left to do.
fn simulate(seed: u64, mistake: Option<Mistake>) -> anyhow::Result<World> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let store = runtime.block_on(Store::open(&StoreSettings::new("memory:")))?;
    let jobs = (0..JOBS).map(|n| ready(&format!(r#"{{"id":"{n}","name":"hello"}}"#)));
    runtime.block_on(store.push(&jobs.collect::<Vec<Push>>()))?;
    let (ledger, steps) = (Arc::<Mutex<Ledger>>::default(), Steps::default());
    let (calm, over) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
    let mut luck = fastrand::Rng::with_seed(seed);
    thread::scope(|threads| {
        for _ in 0..HOSTS {
            let (mut luck, store, ledger, steps, calm, over) = (luck.fork(), &store, &ledger, &steps, &calm, &over);
            threads.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let line = Line {
                        store: store.clone().into_backend(),
                        ledger: Arc::clone(ledger),
                        calm: Arc::clone(calm),
                        luck: Mutex::new(luck.fork()),
                        mistake,
                    };
                    let host = Host {
                        store: Store::over(Arc::new(line)),
                        steps: Arc::clone(steps),
                        luck: luck.fork(),
                        mistake,
                    };
                    let ends = [End::Dies, End::Pauses, End::Leaves];
                    let end = if calm.load(Ordering::Relaxed) {
                        End::Leaves
                    } else {
                        ends[luck.usize(..3)]
                    };
                    host::run(host, Duration::from_millis(luck.u64(100..1_500)), end);
                }
            });
        }
        thread::sleep(STORM);
        calm.store(true, Ordering::Relaxed);
        let idle = async || Ok(store.counts(&default_queue()).await?.is_empty().then_some(()));
        let done = runtime.block_on(eventually("nothing left to do", idle));
        over.store(true, Ordering::Relaxed);
        done
    })?;
    let (ledger, steps) = (std::mem::take(&mut *ledger.lock()), std::mem::take(&mut *steps.lock()));
    Ok(World { ledger, steps })
}

/// Whether the promises were kept.
fn judge(world: &World) -> anyhow::Result<()> {
    let taken_over = &world.ledger.taken_over;
    ensure!(
        !taken_over.is_empty(),
        "no host took anything over: this world shows nothing"
    );
    for job in 0..JOBS {
        let ended = world.ledger.ended.get(&job).copied().unwrap_or(0);
        ensure!(ended == 1, "job {job} was acknowledged or failed {ended} times");
    }
    for step in &world.steps {
        let late = taken_over.get(&step.held).is_some_and(|at| step.at >= *at);
        ensure!(!late, "job {} ran on after another host had taken it over", step.job);
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
    Ok(())
}

/// Tries worlds at once, and tells how many broke a promise, and one of those.
fn broken(seeds: std::ops::Range<u64>, mistake: Option<Mistake>) -> (usize, Option<anyhow::Error>) {
    thread::scope(|threads| {
        let worlds = seeds.map(|seed| {
            threads.spawn(move || {
                let judged = simulate(seed, mistake).and_then(|world| judge(&world));
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
    let (_, broken) = broken(0..WORLDS, None);
    broken.map_or(Ok(()), Err)
}

#[test]
fn a_mistake_breaks_a_promise() {
    for mistake in [Mistake::LosesWhatIsOnItsWay, Mistake::LetsGuestsOutliveTheLease] {
        let (broken, _) = broken(0..2, Some(mistake));
        assert!(broken > 0, "nobody noticed: {mistake:?}");
    }
}
