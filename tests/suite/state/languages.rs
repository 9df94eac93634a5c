//! Values of a bucket, as the handlers in all languages keep and read them.

use std::num::NonZeroU32;
use std::sync::Arc;

use kiln::config::{Grants, Limit, Limits, SandboxSettings, Source};
use kiln::outcome::{FailureKind, RetryHint};
use kiln::plugins::read_plugin;
use kiln::queue::{StateStore, Store, StoreSettings};
use kiln::sandbox::{AttemptContext, Handler, Sandbox};
use serde_json::{Value, json};

use crate::conformance::built;
use crate::sandbox::{failed, job_of, result};
use crate::support::compiled;

const LANGUAGES: [&str; 7] = ["rust", "js", "starlingmonkey", "ts", "python", "go", "c"];

/// A sandbox with a store of its own, in memory, whose attempts may call it so often.
async fn sandbox(calls: u64) -> anyhow::Result<Sandbox> {
    let memory = StoreSettings::new("memory:");
    let mut settings = SandboxSettings {
        state: Some(Arc::new(StateStore::beside(&Store::open(&memory).await?, &memory))),
        cache_dir: Some(compiled()),
        ..SandboxSettings::new(NonZeroU32::new(2).expect("not zero"))
    };
    settings.limits.set(Limit::StateCalls, calls, calls, Source::Host);
    Ok(Sandbox::new(&settings)?)
}

/// The handler of a language, as a plugin of that name.
fn handler(sandbox: &Sandbox, language: &str, grants: &str) -> anyhow::Result<Handler> {
    let (bytes, mut manifest) = read_plugin(&built(language), &Limits::default())?;
    manifest.grants = Grants::of(grants);
    Ok(sandbox.load(language, &bytes, &manifest)?)
}

async fn attempt(handler: &Handler, payload: &Value) -> anyhow::Result<kiln::outcome::Attempt> {
    let job = job_of("state", serde_json::value::to_raw_value(payload)?);
    Ok(handler.run(&job, "default", &AttemptContext::default()).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_bucket_is_read_and_changed_by_handlers_in_all_languages() -> anyhow::Result<()> {
    let sandbox = sandbox(100).await?;
    let (mut before, mut sum) = (Value::Null, 0);
    let first = format!("{} ☕\u{0}\"\\", LANGUAGES[0]);
    for (n, language) in (1..).zip(LANGUAGES) {
        let handler = handler(&sandbox, language, "[grants.state.things]\nshared = true")?;
        let text = format!("{language} ☕\u{0}\"\\");
        let payload = json!({"do": "share", "key": "k ☕", "text": text, "n": n});
        sum += n;
        let found: Value = serde_json::from_str(&result(attempt(&handler, &payload).await?)?.expect("a result"))?;
        assert_eq!(
            found,
            json!({"before": before, "sum": sum, "once": first}),
            "{language}"
        );
        before = json!({"text": text, "n": n});
    }
    Ok(())
}

/// With one call, which is the claim of the key, there is none left to delete it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_once_fails_as_its_work_does_also_where_the_key_cannot_be_freed() -> anyhow::Result<()> {
    for language in LANGUAGES {
        for (calls, times) in [(1, 1), (100, 2)] {
            let handler = handler(&sandbox(calls).await?, language, "[grants.state.things]")?;
            for _ in 0..times {
                let payload = json!({"do": "decline", "key": "k", "message": "declined"});
                let (failure, retry) = failed(attempt(&handler, &payload).await?)?;
                assert_eq!(
                    (failure.kind, retry, &*failure.message),
                    (FailureKind::Rejected, RetryHint::Never, "declined"),
                    "{language}, with {calls} calls"
                );
            }
        }
    }
    Ok(())
}
