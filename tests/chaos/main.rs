//! Kills, stops, pauses, cuts off and restarts everything around the jobs, and then asks where each of them has come to.
//!
//! From the outside: the `kiln` binary, a redis-server, a network that fails between them, producers that are not Kiln.
//! What was pushed is known from Redis' answers, what came of it from Redis and from the workers' logs; no code of
//! Kiln's is asked.
//!
//! `KILN_CHAOS_SECONDS` is how long it goes on (120), `KILN_CHAOS_CANCELS` how many jobs each call of `kiln cancel` is about
//! (8), `KILN_CHAOS_SEED` repeats the plan of a run, as far as a real system lets it: `KILN_CHAOS_SECONDS=3600 cargo test --test chaos`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test fails by panicking, and its name says what it is about"
)]

mod audit;
mod calm;
mod canceller;
#[path = "../suite/guests.rs"]
#[allow(dead_code, reason = "shared with the suite, which needs more of it")]
mod guests;
mod handler;
mod keys;
mod ledger;
mod network;
mod places;
mod process;
mod producer;
#[path = "../suite/proxy.rs"]
#[allow(dead_code, reason = "shared with the suite, which needs more of it")]
mod proxy;
mod server;
#[path = "../suite/servers/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the suite, which needs more of it")]
mod servers;
mod stories;
mod storm;
#[path = "../suite/support.rs"]
#[allow(dead_code, reason = "shared with the suite, which needs more of it")]
mod support;
mod tally;
mod ticks;
mod worker;
mod world;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::{Findings, audit};
use crate::canceller::{AT_ONCE, Canceller};
use crate::producer::Producer;
use crate::tally::Tally;
use crate::world::World;

/// What Kiln promises with its default lease; this test's is shorter.
const RECOVERY_MAX: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn no_job_is_lost_whatever_dies() -> anyhow::Result<()> {
    let seconds = number_from("KILN_CHAOS_SECONDS")?.unwrap_or(120);
    let seed = number_from("KILN_CHAOS_SEED")?.unwrap_or_else(|| fastrand::u64(..));
    say(&format!("chaos: seed {seed}, {seconds} s"));
    let folder = tempfile::tempdir()?;
    let done = run(folder.path(), seed, Duration::from_secs(seconds)).await;
    if done.is_err() {
        say(&format!("chaos: logs are in {}", folder.keep().display()));
    }
    done
}

async fn run(folder: &Path, seed: u64, lasting: Duration) -> anyhow::Result<()> {
    let mut rng = Rng::with_seed(seed);
    let world = World::start(folder).await?;
    let stop = CancellationToken::new();
    let mut producers = JoinSet::new();
    for url in [world.server.lock().await.url(), world.network.url()] {
        let producer = Producer {
            client: redis::Client::open(url)?,
            keys: world.keys.clone(),
            ledger: Arc::clone(&world.ledger),
            rng: rng.fork(),
        };
        producers.spawn(producer.run(stop.clone()));
    }
    let canceller = Canceller {
        url: world.server.lock().await.url(),
        keys: world.keys.clone(),
        ledger: Arc::clone(&world.ledger),
        rng: rng.fork(),
        at_once: number_from("KILN_CHAOS_CANCELS")?.map_or(Ok(AT_ONCE), usize::try_from)?,
    };
    producers.spawn(canceller.run(stop.clone()));
    let raged = storm::rage(&world, rng, Instant::now() + lasting).await;
    stop.cancel();
    producers.join_all().await;
    raged.context("during the storm")?;

    let settled = calm::settle(&world).await;
    let findings = audit(&world).await?;
    say(&format!(
        "chaos: seed {seed}, {} s\n{findings}{}",
        lasting.as_secs(),
        world.tally
    ));
    stories::tell(folder, &findings.lost)?;
    settled.context("after the storm")?;
    let instants = ticks::audit(&world, &world.ledger.ticks()).await?;
    say(&format!("chaos: {instants} instants of a schedule"));
    ensure!(
        instants as u64 >= lasting.as_secs() / 2,
        "the schedule fired {instants} instants only"
    );
    let (attempts, most, exceeded) = world.places.audit();
    say(&format!(
        "chaos: {attempts} attempts at limited jobs, up to {most} at once"
    ));
    ensure!(exceeded.is_empty(), "limits were exceeded: {exceeded:#?}");
    judge(&findings, &world.tally)
}

fn judge(findings: &Findings, tally: &Tally) -> anyhow::Result<()> {
    let (lost, wrong, duplicates) = (&findings.lost, &findings.wrong, findings.duplicates);
    ensure!(lost.is_empty(), "{} jobs are lost", lost.len());
    ensure!(wrong.is_empty(), "jobs ended as they cannot end: {wrong:#?}");
    // Only around a crash or a lost lease may a job be done again, and both show as a take-over.
    ensure!(
        duplicates <= findings.moved,
        "{duplicates} duplicates, but only {} jobs changed hands",
        findings.moved
    );
    let longest = tally.longest_recovery();
    ensure!(longest < RECOVERY_MAX, "a recovery took {longest:?}");
    Ok(())
}

/// A number from the environment, if it is there.
fn number_from(name: &str) -> anyhow::Result<Option<u64>> {
    let Ok(text) = std::env::var(name) else {
        return Ok(None);
    };
    Ok(Some(text.parse().with_context(|| format!("{name}={text}"))?))
}

/// Says it past the test harness, which would keep it to itself unless the test fails.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
