//! Handlers in Go whose runtime and packages were initialised when they were built: each attempt begins with the same memory,
//! and has nothing else in common with another one.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::try_join_all;
use kiln::config::{Grants, Limits, SandboxSettings};
use kiln::plugins::read_plugin;
use kiln::sandbox::{AttemptContext, Handler, Sandbox};
use serde_json::{Value, json};

use crate::conformance::built;
use crate::sandbox::{job_of, result};
use crate::support::compiled;

/// Attempts of which no two may be alike.
const ATTEMPTS: usize = 1_000;

/// Those that are made one after another, while others are made beside them.
const IN_A_ROW: usize = 125;

/// The handler that conforms, with these grants.
fn handler(grants: &str, reuse: u32) -> anyhow::Result<Arc<Handler>> {
    let (bytes, mut manifest) = read_plugin(&built("go"), &Limits::default())?;
    manifest.grants = Grants::of(grants);
    manifest.reuse = NonZeroU32::new(reuse);
    let settings = SandboxSettings {
        cache_dir: Some(compiled()),
        ..SandboxSettings::new(NonZeroU32::new(8).expect("not zero"))
    };
    Ok(Arc::new(Sandbox::new(&settings)?.load("starts", &bytes, &manifest)?))
}

async fn told(handler: &Handler, payload: &Value) -> anyhow::Result<Value> {
    let job = job_of("starts", serde_json::value::to_raw_value(payload)?);
    let attempt = handler.run(&job, "default", &AttemptContext::default()).await;
    Ok(serde_json::from_str(&result(attempt)?.unwrap_or_default())?)
}

async fn fresh(handler: &Handler) -> anyhow::Result<Value> {
    told(handler, &json!({"do": "fresh"})).await
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.expect("after 1970").as_millis()).expect("before the end of time")
}

async fn attempts(handler: &Arc<Handler>) -> anyhow::Result<Vec<Value>> {
    let rows = (0..ATTEMPTS / IN_A_ROW).map(|_| {
        let handler = Arc::clone(handler);
        async move {
            let mut told = Vec::new();
            for _ in 0..IN_A_ROW {
                told.push(fresh(&handler).await?);
            }
            anyhow::Ok(told)
        }
    });
    Ok(try_join_all(rows).await?.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_attempts_share_random_numbers_or_seeds_or_a_clock() -> anyhow::Result<()> {
    let handler = handler("", 0)?;
    let begin = now_ms();
    let told = attempts(&handler).await?;
    let end = now_ms();
    for key in ["secret", "rand", "old_rand", "hash"] {
        let different: BTreeSet<_> = told.iter().map(|told| told[key].to_string()).collect();
        assert_eq!(different.len(), ATTEMPTS, "{key}");
    }
    // Go begins at one of few places of a map, in one of few directions.
    let orders: BTreeSet<_> = told.iter().map(|told| told["order"].to_string()).collect();
    assert!(orders.len() > 8, "{orders:?}");
    for told in &told {
        let at = told["unix_ms"].as_u64().expect("a time");
        assert!((begin..=end).contains(&at), "{begin} {at} {end}");
        let waited = told["waited_us"].as_u64().expect("no time that runs backwards");
        assert!(waited < 1_000 * (end - begin + 1), "{waited}");
        assert_eq!(
            (&told["doubled"], &told["args"], &told["environ"]),
            (&json!(42), &json!([]), &json!([]))
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_has_the_environment_that_its_manifest_grants() -> anyhow::Result<()> {
    for value in ["tea", "coffee"] {
        let handler = handler(&format!("[grants.env]\nDRINK = \"{value}\""), 0)?;
        for _ in 0..2 {
            assert_eq!(fresh(&handler).await?["environ"], json!([format!("DRINK={value}")]));
        }
    }
    Ok(())
}

/// Strings of a job are put where those of the last one were, but not where the adapter of WASI has its own memory since the
/// first attempt.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_kept_has_its_memory_for_itself_as_jobs_grow() -> anyhow::Result<()> {
    let handler = handler("", 100)?;
    for size in [1, 100, 10_000, 70_000, 200_000, 10] {
        let payload = json!({"do": "echo", "text": "x".repeat(size)});
        assert_eq!(told(&handler, &payload).await?, payload, "{size}");
        assert!(
            told(&handler, &json!({"do": "clock"})).await?["ms"].as_u64() > Some(0),
            "{size}"
        );
    }
    assert_eq!(told(&handler, &json!({"do": "count"})).await?["count"], 1);
    assert_eq!(told(&handler, &json!({"do": "count"})).await?["count"], 2);
    Ok(())
}
