//! What goes wrong, and when: dealt from a seeded deck, so that a plan can be repeated.

use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout_at};

use crate::handler::Handler;
use crate::keys::QUEUES;
use crate::server::restart;
use crate::world::{WORKERS, World};

/// Time between two events, in milliseconds. Most last longer than that, so they meet.
const PAUSE_MS: RangeInclusive<u64> = 500..=3_000;

/// Time between two looks at what a dead host held.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// When to stop looking. It is more than a recovery may take, so that the report says by how much.
const RECOVERY_GIVEN_UP: Duration = Duration::from_mins(1);

/// One thing that goes wrong, with all that is up to chance.
#[derive(Debug, Clone, Copy)]
enum Event {
    KillWorker(usize),
    StopWorker(usize),
    PauseWorker(usize, Duration),
    RestartServer(&'static str),
    Cut,
    Tear(usize),
    Slow(Duration),
    Dark(Duration),
    FlushScripts,
    Reload(Handler, u64),
}

/// Deals events, each kind as often as the others within a deck, as shuffled cards would be.
struct Deck {
    rng: Rng,
    cards: Vec<u32>,
    dealt: u64,
}

impl Deck {
    const KINDS: u32 = 11;

    fn deal(&mut self) -> Event {
        if self.cards.is_empty() {
            self.cards.extend(0..Self::KINDS);
            self.rng.shuffle(&mut self.cards);
        }
        self.dealt += 1;
        match self.cards.pop().unwrap_or_default() {
            0 => Event::KillWorker(self.rng.usize(..WORKERS)),
            1 => Event::StopWorker(self.rng.usize(..WORKERS)),
            // Half of a lease to two leases.
            2 => Event::PauseWorker(self.rng.usize(..WORKERS), self.ms(1_000..=4_000)),
            3 => Event::RestartServer("-KILL"),
            4 => Event::RestartServer("-TERM"),
            5 => Event::Cut,
            6 => Event::Tear(self.rng.usize(..100)),
            7 => Event::Slow(self.ms(200..=1_500)),
            8 => Event::Dark(self.darkness()),
            9 => Event::FlushScripts,
            _ => Event::Reload(Handler::ALL[self.rng.usize(..Handler::ALL.len())], self.dealt),
        }
    }

    /// One in six lasts longer than any client waits: what was asked then arrives when nobody wants the answer.
    fn darkness(&mut self) -> Duration {
        if self.rng.u8(..6) == 0 {
            self.ms(11_000..=13_000)
        } else {
            self.ms(500..=4_000)
        }
    }

    fn ms(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }
}

/// Lets things go wrong until `end`, and then waits until all of them are over.
pub(crate) async fn rage(world: &World, rng: Rng, end: Instant) -> anyhow::Result<()> {
    let (cards, dealt) = (Vec::new(), 0);
    let mut deck = Deck { rng, cards, dealt };
    let mut events = FuturesUnordered::new();
    while Instant::now() < end {
        let next = Instant::now() + deck.ms(PAUSE_MS);
        while let Ok(Some(over)) = timeout_at(next, events.next()).await {
            over?;
        }
        sleep_until(next).await;
        events.push(befall(world, deck.deal()));
    }
    while let Some(over) = events.next().await {
        over?;
    }
    Ok(())
}

async fn befall(world: &World, event: Event) -> anyhow::Result<()> {
    match event {
        Event::KillWorker(n) => kill_worker(world, n).await?,
        Event::StopWorker(n) => stop_worker(world, n).await?,
        Event::PauseWorker(n, lasting) => {
            let mut worker = world.workers[n].lock().await;
            worker.signal("-STOP")?;
            sleep(lasting).await;
            worker.signal("-CONT")?;
            world.tally.count("workers paused");
        }
        Event::RestartServer(signal) => {
            restart(&mut *world.server.lock().await, signal)?;
            let kill = signal == "-KILL";
            world.tally.count(if kill { "redis killed" } else { "redis stopped" });
        }
        Event::Cut => {
            world.network.cut();
            world.tally.count("connections cut");
        }
        Event::Tear(bytes) => {
            world.network.tear(bytes);
            world.tally.count("replies torn");
        }
        Event::Slow(by) => {
            world.network.slow(by, Duration::from_secs(1)).await;
            world.tally.count("network slow");
        }
        Event::Dark(lasting) => {
            world.network.dark(lasting).await;
            world.tally.count("network dark");
        }
        Event::FlushScripts => {
            // Not while it is down, or the command would be lost instead.
            let _server = world.server.lock().await;
            let flush = redis::cmd("SCRIPT")
                .arg("FLUSH")
                .exec_async(&mut world.observer().await?)
                .await;
            flush?;
            world.tally.count("scripts flushed");
        }
        Event::Reload(handler, version) => {
            handler.deploy(&world.starter.folder.join("plugins"), version)?;
            world.tally.count("plugins replaced");
        }
    }
    Ok(())
}

async fn kill_worker(world: &World, n: usize) -> anyhow::Result<()> {
    let mut worker = world.workers[n].lock().await;
    worker.kill().await?;
    world.tally.count("workers killed");
    let dead = worker.host.clone();
    let replaced = async move {
        *worker = world.starter.start().await?;
        Ok(())
    };
    let (replaced, ()) = tokio::join!(replaced, recovery(world, &dead));
    replaced
}

async fn stop_worker(world: &World, n: usize) -> anyhow::Result<()> {
    let mut worker = world.workers[n].lock().await;
    let clean = worker.stop().await?;
    world.tally.count(if clean {
        "workers stopped"
    } else {
        "workers stopped, not clean"
    });
    *worker = world.starter.start().await?;
    Ok(())
}

/// Waits until what a dead host held is gone from its tables. How long that took is noted, less the time in which nobody
/// could have reached Redis.
async fn recovery(world: &World, dead: &str) {
    let mut looks = interval(LOOK_INTERVAL);
    let (mut last, mut taken) = (looks.tick().await, Duration::ZERO);
    loop {
        let held = held(world, dead).await;
        let now = looks.tick().await;
        if held == Ok(0) || taken > RECOVERY_GIVEN_UP {
            return world.tally.recovered(taken);
        }
        if held.is_ok() && world.network.is_fair() {
            taken += now - last;
        }
        last = now;
    }
}

async fn held(world: &World, host: &str) -> redis::RedisResult<u64> {
    let mut lengths = redis::pipe();
    for (queue, _) in QUEUES {
        lengths.hlen(world.keys.in_flight(queue, host));
    }
    let lengths: Vec<u64> = lengths.query_async(&mut world.observer().await?).await?;
    Ok(lengths.iter().sum())
}
