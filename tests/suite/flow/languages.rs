//! Follow-ups in every language.

use anyhow::Context;
use kiln::job::Job;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::conformance::{guest, result};

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_enqueues_jobs_in_every_language() -> anyhow::Result<()> {
    for language in ["rust", "js", "starlingmonkey", "ts", "python", "go", "c"] {
        let guest = guest(language);
        let attempt = guest.run(r#"{"do":"enqueue","text":"tea ☕","n":7}"#).await?;
        let now = "2026-01-01T00:00:00Z".parse()?;
        let jobs = attempt.asked.follow_ups.iter().cloned();
        let jobs: Vec<_> = jobs.map(|follow_up| Job::follow_up(follow_up, now)).collect();
        let found: Value = serde_json::from_str(&result(language, attempt).context(language)?)?;
        let [first, second] = &*jobs else {
            panic!("{language}: {jobs:?}")
        };
        let id: Value = serde_json::from_str::<Value>(first.job.get())?["id"].clone();
        assert_eq!(found, json!({"ids": [id, "mine"], "refused": true}), "{language}");
        let decoded = |job: &RawValue| Job::decode(job.get().as_bytes());
        let job = decoded(&first.job)?;
        assert_eq!(
            (&*job.name, &*first.queue, first.due_ms),
            ("after", "default", None),
            "{language}"
        );
        let payload: Value = serde_json::from_str(job.payload.get())?;
        assert_eq!(payload, json!({"text": "tea ☕", "n": 7}), "{language}");
        let job = decoded(&second.job)?;
        assert_eq!(
            (&*second.queue, second.due_ms),
            ("other", Some(1_767_225_690_000)),
            "{language}"
        );
        assert_eq!((job.payload.get(), job.max_attempts), ("[7]", 2), "{language}");
        let metadata: Value = serde_json::from_str(job.metadata.as_ref().map_or("", |metadata| metadata.get()))?;
        assert_eq!(metadata, json!({"who": "tea ☕", "kiln": {"depth": 1}}), "{language}");
    }
    Ok(())
}
