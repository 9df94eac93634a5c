//! Follow-ups as a handler enqueues them: alone in a sandbox, and in a worker.

use std::collections::BTreeSet;

use kiln::outcome::{Due, FailureKind, FollowUp};
use kiln::queue::{Place, QueueName, Store};
use kiln::sandbox::AttemptContext;

use super::{ids, other_queue};
use crate::egress::{attempt, patient};
use crate::guests::hostile_component;
use crate::process::Worker;
use crate::queue::{ready, until_counts};
use crate::sandbox::{TestHost, failed, job_of, json, result};
use crate::service::folder_of;
use crate::support::{eventually, redis_settings};

const GRANT: &str = "[grants.jobs]\nnames = [\"after\", \"mail-*\"]\nqueues = [\"other\"]\n";

/// The payload for these jobs: name, payload, options.
fn payload(jobs: &[(&str, &str, &str)], then: &str) -> String {
    let words: Vec<_> = jobs
        .iter()
        .flat_map(|(name, payload, options)| [*name, payload, options])
        .collect();
    let words = words.into_iter().chain((!then.is_empty()).then_some(then));
    serde_json::to_string(&words.collect::<Vec<_>>()).expect("texts")
}

/// What the guest's calls came to, and what it has enqueued.
async fn enqueue(
    manifest: &str,
    metadata: &str,
    jobs: &[(&str, &str, &str)],
) -> anyhow::Result<(String, Vec<FollowUp>)> {
    let host = patient()?;
    let handler = host.load_with("enqueue", manifest)?;
    let mut job = job_of("enqueue", json(&payload(jobs, "")));
    "parent".clone_into(&mut job.id);
    job.metadata = (!metadata.is_empty()).then(|| json(metadata));
    let attempt = handler.run(&job, "default", &AttemptContext::default()).await;
    let follow_ups = attempt.asked.follow_ups.clone();
    Ok((result(attempt)?.unwrap_or_default(), follow_ups))
}

#[tokio::test]
async fn a_handler_enqueues_what_it_is_granted() -> anyhow::Result<()> {
    let jobs = [
        ("after", "[1.0]", ""),
        ("mail-me", "null", "{'queue':'other','delay':'2s','id':'mine'}"),
    ];
    let (answer, enqueued) = enqueue(GRANT, "", &jobs).await?;
    let [first, second] = &*enqueued else {
        panic!("{enqueued:?}")
    };
    assert_eq!(answer, format!(r#"["{}","mine"]"#, first.id));
    assert_eq!(
        (&*first.name, &*first.queue, first.payload.get()),
        ("after", "default", "[1.0]")
    );
    assert_eq!(
        first.metadata.as_ref().map(|metadata| metadata.get()),
        Some(r#"{"kiln":{"depth":1}}"#)
    );
    assert_eq!(
        (&*second.queue, second.due),
        ("other", Due::After(std::time::Duration::from_secs(2)))
    );
    let (again, _) = enqueue(GRANT, "", &jobs).await?;
    assert_eq!(again, answer, "the ids follow from the parent's");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_enqueued_is_told_with_its_kind() -> anyhow::Result<()> {
    let [invalid, large_, many, deep] = ["0", "1", "2", "3"];
    let one = |job| [job];
    for (payload, options) in [
        ("{", ""),
        ("1", "[]"),
        ("1", "{'qeue':'other'}"),
        ("1", "{'delay':'x'}"),
    ] {
        let (answer, enqueued) = enqueue(GRANT, "", &one(("after", payload, options))).await?;
        assert_eq!(
            (answer, enqueued.len()),
            (format!("[{invalid}]"), 0),
            "{payload} {options}"
        );
    }
    let large = format!("'{}'", "x".repeat(3000));
    let limits = format!("{GRANT}[limits]\nfollow_ups = 2\nfollow_up_bytes = \"4KiB\"\n");
    let (answer, enqueued) = enqueue(&limits, "", &[("after", &large, ""), ("after", &large, "")]).await?;
    assert!(answer.ends_with(&format!(",{large_}]")), "{answer}");
    assert_eq!(enqueued.len(), 1);
    let (answer, _) = enqueue(&limits, "", &[("after", "1", ""); 3]).await?;
    assert!(answer.ends_with(&format!(",{many}]")), "{answer}");
    let (answer, _) = enqueue(GRANT, r#"{"kiln":{"depth":16}}"#, &one(("after", "1", ""))).await?;
    assert_eq!(answer, format!("[{deep}]"));
    Ok(())
}

#[tokio::test]
async fn what_is_not_granted_ends_the_attempt_and_names_the_grant() -> anyhow::Result<()> {
    let host = patient()?;
    for (manifest, job, told) in [
        (
            "",
            ("after", "1", ""),
            "job \"after\": not granted; add it to names in [grants.jobs] of enqueue.toml",
        ),
        (
            GRANT,
            ("mail", "1", ""),
            "job \"mail\": not granted; add it to names in [grants.jobs] of enqueue.toml",
        ),
        (
            GRANT,
            ("after", "1", "{'queue':'third'}"),
            "a job into queue \"third\": not granted; add it to queues in [grants.jobs] of enqueue.toml",
        ),
    ] {
        let handler = host.load_with("enqueue", manifest)?;
        let tried = host
            .attempt(&handler, &job_of("enqueue", json(&payload(&[job], ""))))
            .await;
        assert!(tried.asked.follow_ups.is_empty());
        let (failure, _) = failed(tried)?;
        assert_eq!((failure.kind, &*failure.message), (FailureKind::Denied, told));
    }
    // That it runs without a grant, if it enqueues nothing, is no fault.
    assert!(attempt(&host, "ok", "", "").await?.asked.follow_ups.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_handler_that_enqueues_for_ever_is_stopped_in_time_and_holds_no_more_than_its_limits() -> anyhow::Result<()> {
    let endless = r#"
        (import "kiln:flow/jobs@0.1.0" "enqueue" (func $enqueue (param i32 i32 i32 i32 i32 i32 i32 i32)))
        (data (i32.const 96) "after[]")
        (func (export "kiln:job/handler@0.1.0#handle") (type $handle)
          (loop $more
            (call $enqueue (i32.const 96) (i32.const 5) (i32.const 101) (i32.const 2)
              (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 128))
            (global.set $free (i32.const 4096))
            (br $more))
          (i32.const 0))"#;
    let host = TestHost::new()?;
    let handler = host.load_component("endless", &hostile_component(endless)?, GRANT)?;
    let attempt = host.attempt(&handler, &job_of("endless", json("null"))).await;
    assert!(attempt.asked.follow_ups.is_empty(), "it did not complete");
    assert_eq!(failed(attempt)?.0.kind, FailureKind::Timeout);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_worker_children_come_with_the_acknowledgement_and_a_failed_job_has_none() -> anyhow::Result<()> {
    let retry = "retry = { attempts = 2, policy = \"fixed\", base = \"1ms\" }\n";
    let folder = folder_of(&[("enqueue", &format!("{retry}{GRANT}"))])?;
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let job = |id: &str, then: &str| {
        let jobs = [
            ("after", "[1.0]", "{'queue':'other'}"),
            ("mail-a", "2", "{'queue':'other','delay':'1h'}"),
        ];
        let payload = payload(&jobs, then);
        ready(&format!(r#"{{"id":"{id}","name":"enqueue","payload":{payload}}}"#))
    };
    store
        .push(&[job("good", ""), job("bad", "fail"), job("slow", "wait")])
        .await?;
    let mut worker = Worker::start(&settings, folder.path(), &[])?;
    let other = other_queue();
    let children = async || {
        let (ready, later) = (
            ids(&store, &other, Place::Ready).await?,
            ids(&store, &other, Place::Delayed).await?,
        );
        Ok((ready.len() == 2 && later.len() == 2).then_some((ready, later)))
    };
    let (ready, later) = eventually("children", children).await?;
    eventually("a failed job", async || {
        Ok((store.failed_len().await? == 1).then_some(()))
    })
    .await?;
    until_counts(&store, (0, 0, 0)).await?;
    assert!(ready.values().chain(later.values()).all(|times| *times == 1));
    let children: BTreeSet<_> = ready.into_keys().chain(later.into_keys()).collect();
    let told: BTreeSet<String> = serde_json::from_str::<Vec<String>>(&store.result("good").await?.unwrap_or_default())?
        .into_iter()
        .chain(serde_json::from_str::<Vec<String>>(
            &store.result("slow").await?.unwrap_or_default(),
        )?)
        .collect();
    assert_eq!(children, told, "as their parents were told");
    worker.signal("-TERM")?;
    assert!(worker.process.wait()?.success());
    assert!(
        store
            .queues(kiln::queue::Search::Brief)
            .await?
            .queues
            .contains(&QueueName::new("other").expect("a name"))
    );
    Ok(())
}
