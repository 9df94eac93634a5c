//! After the storm: with everything back in place, all that was pushed must come to its end, by every worker's hands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::handler::Handler;
use crate::keys::QUEUES;
use crate::producer::push_many;
use crate::worker::CONCURRENCY;
use crate::world::{WORKERS, World};

/// How long the workers may take to get through what is left.
const PATIENCE: Duration = Duration::from_secs(90);

/// Time between two looks. Each goes through all keys, the results' too.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Every key like that, with the number of its elements, at one moment: a job on its way from one to another would be
/// in none.
const LOOK: &str = "
    local count = { list = 'LLEN', zset = 'ZCARD', hash = 'HLEN', set = 'SCARD' }
    local found = {}
    for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
        local kind = redis.call('TYPE', key).ok
        found[#found + 1] = { key, count[kind] and redis.call(count[kind], key) or 1 }
    end
    return found";

/// Volleys of jobs until every worker must have had one.
const VOLLEYS: usize = 5;

/// What is where, by the names of the keys.
#[derive(Debug, Default, PartialEq, Eq)]
struct Queued {
    jobs: BTreeMap<String, u64>,
    /// The hosts that have a lease on each queue.
    hosts: BTreeMap<String, BTreeSet<String>>,
}

/// Waits until nothing is left to do, sees that every worker still works, and stops them all.
pub(crate) async fn settle(world: &World) -> anyhow::Result<()> {
    drained(world).await?;
    all_serve(world).await?;
    for worker in &world.workers {
        let mut worker = worker.lock().await;
        ensure!(
            worker.stop().await?,
            "{} had trouble to stop, all being well",
            worker.host
        );
    }
    world.starter.finish()?;
    let left = look(world).await?;
    ensure!(left.jobs.is_empty(), "they all stopped and left {left:?}");
    ensure!(
        left.hosts.values().all(BTreeSet::is_empty),
        "they all stopped and left {left:?}"
    );
    Ok(())
}

/// Waits until the queues are empty and nobody but the living has a lease.
async fn drained(world: &World) -> anyhow::Result<()> {
    let mut living = BTreeSet::new();
    for worker in &world.workers {
        living.insert(worker.lock().await.host.clone());
    }
    let hosts = QUEUES.map(|(queue, _)| (world.keys.leases(queue), living.clone()));
    let drained = Queued {
        jobs: BTreeMap::new(),
        hosts: hosts.into(),
    };
    let mut last = Queued::default();
    let emptied = timeout(PATIENCE, async {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            last = look(world).await?;
            if last == drained {
                return anyhow::Ok(());
            }
        }
    });
    if let Ok(done) = emptied.await {
        return done;
    }
    bail!("after {PATIENCE:?} of calm there is {last:?}, while {living:?} are alive")
}

/// Gives them all enough to do that none of them can be left out, unless it does nothing any more.
async fn all_serve(world: &World) -> anyhow::Result<()> {
    let mut before = Vec::new();
    for worker in &world.workers {
        let worker = worker.lock().await;
        before.push((
            worker.host.clone(),
            worker.completed.clone(),
            worker.completed.load(Ordering::Relaxed),
        ));
    }
    let jobs = WORKERS * CONCURRENCY * 2;
    for _ in 0..VOLLEYS {
        push_many(&world.client, &world.keys, &world.ledger, Handler::Nap, jobs).await?;
        drained(world).await?;
        before.retain(|(_, completed, before)| completed.load(Ordering::Relaxed) == *before);
        if before.is_empty() {
            return Ok(());
        }
    }
    let idle: Vec<_> = before.iter().map(|(host, ..)| host).collect();
    bail!("of {VOLLEYS} times {jobs} jobs these workers took none: {idle:?}")
}

/// Looks at every key of the queues, whoever made it for whatever.
async fn look(world: &World) -> anyhow::Result<Queued> {
    let mut observer = world.observer().await?;
    let mut queued = Queued::default();
    for (queue, _) in QUEUES {
        let leases = world.keys.leases(queue);
        let hosts = redis::cmd("ZRANGE")
            .arg(&leases)
            .arg(0)
            .arg(-1)
            .query_async(&mut observer)
            .await?;
        queued.hosts.insert(leases, hosts);
    }
    let mut eval = redis::cmd("EVAL");
    eval.arg(LOOK).arg(0).arg(format!("*{}:queues:*", world.keys.prefix));
    let found: Vec<(String, u64)> = eval.query_async(&mut observer).await?;
    queued.jobs = found
        .into_iter()
        // What is remembered of a host's last tag, of attempts and of places, expires by itself. What operators ordered, and
        // when a schedule fired last, is there for good.
        .filter(|(key, _)| {
            let no_jobs = [
                ":lasttag:",
                ":founddead:",
                ":orders",
                ":cancel-",
                ":histor",
                ":schedules",
                ":held:",
                ":swept",
            ];
            !queued.hosts.contains_key(key) && !no_jobs.iter().any(|part| key.contains(part))
        })
        .collect();
    Ok(queued)
}
