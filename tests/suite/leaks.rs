//! No job leaves anything to the next: every attempt here runs in the same slot of a pool that has no other. There are two
//! pools: one for all guests, and one for those whose attempts touch much memory.

use std::num::NonZeroU32;
use std::time::Duration;

use kiln::config::{KEEP_RESIDENT_BYTES, MAX_RESIDENT_BYTES, Manifest, SandboxSettings};
use kiln::outcome::{FailureKind, Outcome};
use kiln::sandbox::{AttemptContext, Handler};

use crate::guests::{hostile_component, hostile_text};
use crate::sandbox::{TestHost, assert_completes, job_of, json, result, settings_with};

/// Bytes of a page of linear memory.
const PAGE: usize = 64 * 1024;

/// Pages that are reset by writing, and pages that are given back to the system instead.
const SMALL: usize = KEEP_RESIDENT_BYTES / PAGE;
const MEDIUM: usize = 4 * SMALL;
const LARGE: usize = 1024;

/// How an attempt ends, as the guest `prowler` is told.
#[derive(Debug, Clone, Copy)]
enum Told {
    Complete,
    Trap,
    Spin,
    Grow,
}

/// A pool of one slot, and three guests that look for what another left there and leave as much as they can.
struct Prowlers {
    _host: TestHost,
    handlers: [Handler; 3],
    attempts: usize,
}

impl Prowlers {
    /// In the pool for all guests, or, once they have run there often enough, in the other.
    async fn new(resident: bool) -> anyhow::Result<Self> {
        let resident_bytes = if resident { MAX_RESIDENT_BYTES } else { 0 };
        let settings = SandboxSettings {
            resident_bytes,
            concurrency: NonZeroU32::MIN,
            spare_slots: 0,
            ..settings_with(Duration::from_mins(1))
        };
        let host = TestHost::with(&settings)?;
        assert_eq!(host.sandbox.unpooled(), None);
        let text = hostile_text("prowler")?;
        let memory = r#"(memory (export "memory") 2)"#;
        assert!(text.contains(memory));
        // One that grows, one that starts with as much as stays resident and with an image of its own, one with little.
        let load = |memory_of: &str| {
            let bytes = hostile_component(&text.replace(memory, memory_of))?;
            anyhow::Ok(host.sandbox.load("prowler", &bytes, &Manifest::default())?)
        };
        let handlers = [
            load(memory)?,
            load(&format!(
                r#"(memory (export "memory") {SMALL}) (data (i32.const 5000) "mine")"#
            ))?,
            load(r#"(memory (export "memory") 1)"#)?,
        ];
        let mut prowlers = Self {
            _host: host,
            handlers,
            attempts: 0,
        };
        let all_moved = |handlers: &[Handler]| handlers.iter().all(Handler::keeps_memory_resident);
        while resident && !all_moved(&prowlers.handlers) {
            assert!(
                prowlers.attempts < 10_000,
                "guests that touch all of their memory do not move"
            );
            prowlers.attempt(MEDIUM, Told::Complete).await;
        }
        Ok(prowlers)
    }

    /// One more attempt, by the next but one guest, so that each follows on itself and on the others.
    async fn attempt(&mut self, pages: usize, told: Told) {
        let handler = &self.handlers[self.attempts / 2 % self.handlers.len()];
        self.attempts += 1;
        let mut job = job_of("prowler", json(&(told as usize * 10_000 + pages).to_string()));
        if matches!(told, Told::Spin) {
            job.timeout_ns = 10_000_000;
        }
        let attempt = handler.run(&job, "default", &AttemptContext::default()).await;
        let ended = match &attempt.outcome {
            Outcome::Completed { result } => Err(result.as_deref().unwrap_or_default()),
            Outcome::Failed { failure, .. } => Ok(failure.kind),
            Outcome::Stopped => panic!("nobody cancels"),
        };
        let expected = match told {
            Told::Complete => Err("false"),
            Told::Trap => Ok(FailureKind::Trap),
            Told::Spin => Ok(FailureKind::Timeout),
            Told::Grow => Ok(FailureKind::Memory),
        };
        assert_eq!(
            ended, expected,
            "attempt {} of {pages} pages, told to {told:?}",
            self.attempts
        );
    }

    /// One that is dropped where it stands, or stopped by the host.
    async fn interrupted(&mut self, pages: usize, dropped: bool) {
        let handler = &self.handlers[self.attempts / 2 % self.handlers.len()];
        self.attempts += 1;
        let job = job_of("prowler", json(&(Told::Spin as usize * 10_000 + pages).to_string()));
        let context = AttemptContext::default();
        let mut running = Box::pin(handler.run(&job, "default", &context));
        let running_still = tokio::time::timeout(Duration::from_millis(10), &mut running).await;
        assert!(running_still.is_err(), "it found something: {running_still:?}");
        if !dropped {
            context.stop.interrupt();
            assert!(matches!(running.await.outcome, Outcome::Stopped));
        }
    }
}

#[tokio::test]
async fn no_attempt_finds_what_another_left() -> anyhow::Result<()> {
    for resident in [false, true] {
        let mut prowlers = Prowlers::new(resident).await?;
        for round in 0..2_400 {
            let pages = if round % 3 == 0 { MEDIUM } else { SMALL };
            prowlers.attempt(pages, Told::Complete).await;
        }
        for _ in 0..8 {
            for pages in [LARGE, SMALL, LARGE] {
                prowlers.attempt(pages, Told::Complete).await;
            }
        }
        let moved = prowlers.handlers.iter().map(Handler::keeps_memory_resident);
        assert!(moved.into_iter().all(|moved| moved == resident));
    }
    Ok(())
}

#[tokio::test]
async fn an_attempt_that_ends_badly_leaves_nothing_either() -> anyhow::Result<()> {
    for resident in [false, true] {
        let mut prowlers = Prowlers::new(resident).await?;
        for round in 0..40 {
            for pages in [SMALL, MEDIUM] {
                for told in [Told::Trap, Told::Grow, Told::Spin] {
                    prowlers.attempt(pages, told).await;
                    prowlers.attempt(MEDIUM, Told::Complete).await;
                }
                prowlers.interrupted(pages, round % 2 == 0).await;
                prowlers.attempt(MEDIUM, Told::Complete).await;
            }
        }
        for told in [Told::Trap, Told::Grow, Told::Complete] {
            prowlers.attempt(LARGE, told).await;
        }
    }
    Ok(())
}

/// A component that goes has the memories that hold its image cleared, and attempts of others start meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_starts_while_a_component_goes() -> anyhow::Result<()> {
    let settings = SandboxSettings {
        concurrency: NonZeroU32::MIN,
        spare_slots: 0,
        ..settings_with(Duration::from_mins(1))
    };
    let host = TestHost::with(&settings)?;
    let (memory, text) = (r#"(memory (export "memory") 2)"#, hostile_text("prowler")?);
    let job = job_of("prowler", json("2"));
    for round in 0..200 {
        let image = format!(r#"{memory} (data (i32.const 5000) "{round}")"#);
        let bytes = hostile_component(&text.replace(memory, &image))?;
        let goes = host.sandbox.load("goes", &bytes, &Manifest::default())?;
        assert_completes(&goes.run(&job, "default", &AttemptContext::default()).await);
        let going = std::thread::spawn(move || drop(goes));
        for _ in 0..20 {
            let attempt = host.neighbour.run(&job, "default", &AttemptContext::default()).await;
            assert_completes(&attempt);
        }
        going.join().expect("no panic");
    }
    Ok(())
}

/// The control of the tests above: whatever there is to find, the guest finds.
#[tokio::test]
async fn a_prowler_finds_what_is_there() -> anyhow::Result<()> {
    let host = TestHost::with(&settings_with(Duration::from_mins(1)))?;
    let text = hostile_text("prowler")?;
    for (clean, dirty) in [
        ("(elem declare", r#"(data (i32.const 4095) "x") (elem declare"#),
        ("(elem declare", r#"(data (i32.const 8192) "x") (elem declare"#),
        ("(elem declare", r#"(data (i32.const 131071) "x") (elem declare"#),
        ("(elem declare", "(elem (i32.const 99) $left_behind) (elem declare"),
        ("(mut i64) (i64.const 0)", "(mut i64) (i64.const 1)"),
        ("i64x2 0 0", "i64x2 0 1"),
        ("(mut funcref) (ref.null func)", "(mut funcref) (ref.func $left_behind)"),
    ] {
        assert!(text.contains(clean), "{clean}");
        let bytes = hostile_component(&text.replacen(clean, dirty, 1))?;
        let handler = host.sandbox.load("prowler", &bytes, &Manifest::default())?;
        let job = job_of("prowler", json(&SMALL.to_string()));
        let found = result(handler.run(&job, "default", &AttemptContext::default()).await)?;
        assert_eq!(found.as_deref(), Some("true"), "{dirty}");
    }
    Ok(())
}
