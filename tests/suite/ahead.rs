//! Instances that are made before there is a job for them, where it takes long to make one.

use std::num::NonZeroU32;

use kiln::config::SandboxSettings;
use kiln::outcome::Attempt;
use kiln::sandbox::{AttemptContext, Handler};

use crate::guests::{component_of, guests_folder};
use crate::sandbox::{TestHost, job_of, json, result, settings_with};
use crate::support::PATIENCE;

/// Attempts by which it is decided in which pool a component runs. Before, none is made ahead.
const DECIDING: usize = 24;

/// The component of a guest that computes for some milliseconds when it is instantiated, and then does this.
fn slow(name: &str, then: &str) -> anyhow::Result<Vec<u8>> {
    let path = guests_folder().join(name).with_extension("wat");
    let text = std::fs::read_to_string(path)?;
    let start = format!(
        "(start $start)
         (func $start (local $turns i32)
           (local.set $turns (i32.const 4000000))
           (loop $on (br_if $on (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))
           {then})
         (func $handle (export"
    );
    let slow = text.replace("(func $handle (export", &start);
    assert_ne!(slow, text);
    component_of("guest", &slow)
}

async fn attempt(handler: &Handler) -> Attempt {
    let job = job_of("guest", json("\"\""));
    handler.run(&job, "default", &AttemptContext::default()).await
}

/// Attempts until so many of them had an instance that was ready.
async fn until_ready(handler: &Handler, times: usize) -> anyhow::Result<Vec<(String, bool)>> {
    let (mut told, mut ready) = (Vec::new(), 0);
    while ready < times {
        let attempt = attempt(handler).await;
        let made_ahead = attempt.report.made_ahead;
        ready += usize::from(made_ahead);
        told.push((result(attempt)?.unwrap_or_default(), made_ahead));
    }
    Ok(told)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_ahead_serves_one_attempt_as_any_other_instance() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let handler = host.load_component("tally", &slow("tally", "")?, "")?;
    let told = tokio::time::timeout(PATIENCE, until_ready(&handler, 8)).await??;
    assert!(told.iter().all(|(calls, _)| calls == "1"), "{told:?}");
    assert!(told[..DECIDING].iter().all(|(_, made_ahead)| !made_ahead), "{told:?}");
    Ok(())
}

/// Such a guest could tell that it was made before its job: by the time, by a random number that it shares with nobody
/// but has had for long, by a line in the log that is no job's.
#[tokio::test(flavor = "multi_thread")]
async fn no_instance_is_made_ahead_that_asks_anything_of_the_host_while_it_is_made() -> anyhow::Result<()> {
    let host = TestHost::with(&settings_with(PATIENCE))?;
    let asks = host.load_component("asks", &slow("remaining", "(drop (call $remaining_ms))")?, "")?;
    let does_not = host.load_component("does-not", &slow("remaining", "")?, "")?;
    // As many as the other one needs until it is clear that it would have been.
    let told = tokio::time::timeout(PATIENCE, until_ready(&does_not, 3)).await??;
    for _ in 0..told.len() {
        assert!(!attempt(&asks).await.report.made_ahead);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ready_gives_way_to_attempts_that_need_its_slots() -> anyhow::Result<()> {
    let settings = SandboxSettings {
        spare_slots: 0,
        ..SandboxSettings::new(NonZeroU32::new(4).expect("not zero"))
    };
    let host = TestHost::with(&settings)?;
    let component = slow("tally", "")?;
    let handlers: Vec<_> = (0..3)
        .map(|_| host.load_component("tally", &component, ""))
        .collect::<anyhow::Result<_>>()?;
    for handler in &handlers {
        tokio::time::timeout(PATIENCE, until_ready(handler, 1)).await??;
    }
    // Each has some that are ready, more than there are slots; all at once they need all of them.
    for _ in 0..20 {
        let all = handlers.iter().chain(&handlers).map(attempt);
        let all = tokio::time::timeout(PATIENCE, futures::future::join_all(all)).await?;
        for attempt in all {
            assert_eq!(result(attempt)?.as_deref(), Some("1"));
        }
    }
    Ok(())
}
