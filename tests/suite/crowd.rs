//! Many attempts at once: they wait their turn, stop when told to, and leave each other and the host their time.

use crate::guests::{component_of, guests_folder};
use crate::sandbox::{TestHost, assert_completes, failed, job_of, json, settings_with};
use crate::support::{PATIENCE, eventually};
use anyhow::Context;
use futures::future::join_all;
use kiln::config::{EPOCH_TICK, Manifest};
use kiln::job::{Job, null};
use kiln::outcome::{Attempt, FailureKind, Outcome, RetryHint};
use kiln::sandbox::AttemptContext;
use std::time::{Duration, Instant};
use tokio::time::timeout;

#[tokio::test]
async fn what_is_stopped_before_it_starts_runs_nothing() -> anyhow::Result<()> {
    let host = TestHost::with(&settings_with(PATIENCE))?;
    for (name, manifest) in [("chatty", ""), ("chatty", "reuse = 9")] {
        let (handler, job) = (host.load_with(name, manifest)?, job_of(name, null()));
        assert_completes(&host.attempt(&handler, &job).await);
        let context = AttemptContext::default();
        let permit = handler.try_permit().context("its permit")?;
        context.stop.interrupt();
        let attempt = handler.attempt(permit, &job, "default", &context).await;
        assert!(matches!(attempt.outcome, Outcome::Stopped), "{:?}", attempt.outcome);
        let report = &attempt.report;
        assert_eq!((report.instantiate, report.log_lines.kept), (None, 0));
        assert!(report.stdout.text.is_empty());
    }
    Ok(())
}

#[tokio::test]
async fn stopping_interrupts_a_loop_and_counts_nothing() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    for name in ["spin", "sleep", "spin_start"] {
        let context = AttemptContext::default();
        let handler = host.load(name)?;
        let job = job_of(name, null());
        let (attempt, ()) = tokio::join!(handler.run(&job, "default", &context), async {
            context.stop.interrupt();
        });
        assert!(
            matches!(attempt.outcome, Outcome::Stopped),
            "{name}: {:?}",
            attempt.outcome
        );
        assert!(
            attempt.report.duration < Duration::from_millis(250),
            "{name}: {:?}",
            attempt.report.duration
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_retry_asked_for_while_draining_counts_nothing() -> anyhow::Result<()> {
    let host = TestHost::with(&settings_with(Duration::from_secs(30)))?;
    let context = AttemptContext::default();
    let handler = host.load("patient")?;
    let job = job_of("patient", null());
    let (attempt, ()) = tokio::join!(handler.run(&job, "default", &context), async {
        context.draining.cancel();
    });
    assert!(matches!(attempt.outcome, Outcome::Stopped), "{:?}", attempt.outcome);
    let attempt = handler.run(&job, "default", &context).await;
    assert_eq!(attempt.report.duration, Duration::ZERO, "nothing starts while draining");
    Ok(())
}

#[tokio::test]
async fn only_a_handler_that_heard_of_the_drain_is_not_counted_and_every_wait_is_kept() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let context = AttemptContext::default();
    context.draining.cancel();
    let while_draining = async |name: &str| {
        let handler = host.load(name)?;
        let permit = handler.try_permit().expect("no limit");
        let attempt = handler
            .attempt(permit, &job_of(name, null()), "default", &context)
            .await;
        anyhow::Ok(failed(attempt)?.1)
    };
    let wait = Duration::from_millis(1_500);
    assert_eq!(while_draining("retry").await?, RetryHint::ByPolicy);
    assert_eq!(while_draining("retry_after").await?, RetryHint::NotBefore(wait));
    assert_eq!(while_draining("heed_after").await?, RetryHint::NotBeforeUncounted(wait));
    Ok(())
}

#[tokio::test]
async fn a_plugin_runs_no_more_often_at_once_than_its_manifest_says() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let handler = host.load_with("sleep", "concurrency = 1\ntimeout = \"50ms\"")?;
    let (job, context) = (job_of("sleep", null()), AttemptContext::default());
    let started = Instant::now();
    let run = || handler.run(&job, "default", &context);
    for attempt in <[Attempt; 3]>::from(tokio::join!(run(), run(), run())) {
        assert_eq!(
            failed(attempt)?.0.message,
            "took longer than 50ms, the timeout in sleep.toml",
            "waiting does not count"
        );
    }
    assert!(started.elapsed() >= Duration::from_millis(150));
    Ok(())
}

#[tokio::test]
async fn more_attempts_than_the_pool_has_slots_wait_their_turn() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let sleep = host.load_with("sleep", r#"timeout = "5ms""#)?;
    let (job, context) = (job_of("sleep", null()), AttemptContext::default());
    // Many rounds: that a slot is neither in use nor free is a matter of microseconds.
    for _ in 0..40 {
        let attempts = join_all((0..64).map(|_| sleep.run(&job, "default", &context))).await;
        for attempt in attempts {
            assert_eq!(failed(attempt)?.0.kind, FailureKind::Timeout);
        }
    }
    Ok(())
}

/// A component of eight memories takes eight slots of the sixteen that there are.
fn wide_nap() -> anyhow::Result<Vec<u8>> {
    let nap = std::fs::read_to_string(guests_folder().join("nap.wat"))?;
    let memory = r#"(memory (export "memory") 2)"#;
    component_of(
        "guest",
        &nap.replacen(memory, &format!("{memory}{}", "(memory 1)".repeat(7)), 1),
    )
}

#[tokio::test]
async fn attempts_that_take_many_slots_leave_one_for_everybody_else() -> anyhow::Result<()> {
    let host = TestHost::with(&settings_with(Duration::from_mins(1)))?;
    let wide = host.sandbox.load("wide", &wide_nap()?, &Manifest::default())?;
    let (long, context) = (job_of("wide", json("60000")), AttemptContext::default());
    let naps = join_all((0..12).map(|_| wide.run(&long, "default", &context)));
    let job = job_of("neighbour", null());
    // As many as may run beside one of the others.
    let beside = timeout(
        PATIENCE,
        join_all((0..7).map(|_| host.neighbour.run(&job, "default", &context))),
    );
    tokio::select! {
        biased;
        _ = naps => anyhow::bail!("none of them can be done yet"),
        beside = beside => beside?.iter().for_each(assert_completes),
    }
    Ok(())
}

#[tokio::test]
async fn attempts_that_take_many_slots_get_them_one_after_the_other() -> anyhow::Result<()> {
    let host = TestHost::with(&settings_with(Duration::from_mins(1)))?;
    let context = AttemptContext::default();
    for manifest in ["", "reuse = 5", "concurrency = 1"] {
        let load = || anyhow::Ok(host.sandbox.load("wide", &wide_nap()?, &toml::from_str(manifest)?)?);
        let (one, other) = (load()?, load()?);
        let short = job_of("wide", json("1"));
        let naps = (0..24).map(|n| if n % 3 == 0 { &one } else { &other }.run(&short, "default", &context));
        let naps = timeout(PATIENCE, join_all(naps)).await;
        naps.context("they wait for each other")?
            .iter()
            .for_each(assert_completes);
        assert_completes(
            &host
                .neighbour
                .run(&job_of("neighbour", null()), "default", &context)
                .await,
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_pool_serves_thousands_of_attempts_good_and_bad() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    assert_eq!(host.sandbox.unpooled(), None);
    let handlers = [
        host.load("ok")?,
        host.load("trap")?,
        host.load_with("grow", r#"max_memory = "2 MiB""#)?,
    ];
    let (job, context) = (job_of("any", null()), AttemptContext::default());
    for round in 0..2_000 {
        let attempt = handlers[round % handlers.len()].run(&job, "default", &context).await;
        let kind = failed(attempt).ok().map(|(failure, _)| failure.kind);
        assert_eq!(
            kind,
            [None, Some(FailureKind::Trap), Some(FailureKind::Memory)][round % handlers.len()]
        );
    }
    Ok(())
}

#[tokio::test]
async fn spinning_guests_do_not_delay_the_hosts_timers() -> anyhow::Result<()> {
    let host = TestHost::with(&settings_with(Duration::from_secs(2)))?;
    let spin = host.load("spin")?;
    let (job, context) = (job_of("spin", null()), AttemptContext::default());
    let spinning = join_all((0..8).map(|_| spin.run(&job, "default", &context)));
    let timers = async {
        let mut late = Vec::new();
        for _ in 0..100 {
            let due = tokio::time::Instant::now() + Duration::from_millis(5);
            tokio::time::sleep_until(due).await;
            late.push(due.elapsed());
        }
        context.stop.interrupt();
        late.sort();
        late[90]
    };
    let (_, late) = tokio::join!(spinning, timers);
    assert!(late < Duration::from_millis(50), "the 90th percentile is {late:?} late");
    Ok(())
}

/// A crowd of guests that compute, and a neighbour that does not: before long it need not wait for all their turns.
#[tokio::test]
async fn guests_that_compute_keep_no_neighbour_waiting() -> anyhow::Result<()> {
    const TURNS: u32 = 32;
    let cores = u32::try_from(std::thread::available_parallelism()?.get())?;
    let mut settings = settings_with(2 * PATIENCE);
    settings.concurrency = settings.concurrency.saturating_add(TURNS * cores);
    let host = TestHost::with(&settings)?;
    let spin = host.load("spin")?;
    let (job, context) = (job_of("spin", null()), AttemptContext::default());
    let computing = join_all((0..TURNS * cores).map(|_| spin.run(&job, "default", &context)));
    let neighbours = async {
        let waited = eventually("neighbours that hardly wait", async || {
            let mut took = Vec::new();
            for _ in 0..20 {
                let started = Instant::now();
                assert_completes(&host.neighbour.run(&job, "default", &AttemptContext::default()).await);
                took.push(started.elapsed());
            }
            took.sort();
            Ok((took[18] < 2 * EPOCH_TICK).then_some(()))
        })
        .await;
        context.stop.interrupt();
        waited
    };
    let (crowd, waited) = tokio::join!(computing, neighbours);
    waited?;
    let cancelled = |attempt: &Attempt| matches!(attempt.outcome, Outcome::Stopped);
    assert!(crowd.iter().all(cancelled), "they compute to the end");
    Ok(())
}

#[tokio::test]
async fn a_handler_outlives_its_sandbox() -> anyhow::Result<()> {
    let TestHost { sandbox, neighbour } = TestHost::new()?;
    drop(sandbox);
    assert_completes(
        &neighbour
            .run(&job_of("ok", null()), "default", &AttemptContext::default())
            .await,
    );
    Ok(())
}

#[tokio::test]
async fn dropping_an_attempt_frees_its_slot() -> anyhow::Result<()> {
    let host = TestHost::with(&settings_with(Duration::from_mins(1)))?;
    let spin = host.load_with("spin", "concurrency = 1")?;
    let (job, context) = (job_of("spin", null()), AttemptContext::default());
    for _ in 0..3 {
        let dropped = tokio::time::timeout(Duration::from_millis(20), spin.run(&job, "default", &context)).await;
        assert!(dropped.is_err());
    }
    // It times out only if it runs, and it runs only if it gets the slot; waiting for that takes none of its time.
    let short = Job {
        timeout_ns: 20_000_000,
        ..job_of("spin", null())
    };
    let attempt = tokio::time::timeout(PATIENCE, spin.run(&short, "default", &context)).await?;
    assert_eq!(failed(attempt)?.0.kind, FailureKind::Timeout);
    Ok(())
}
