//! What handlers remember, as a handler calls it: alone in a sandbox, and in a worker.

use std::num::NonZeroU32;
use std::sync::Arc;

use kiln::admin::AdminError;
use kiln::admin::state::{self as admin, MAX_VALUE_BYTES};
use kiln::config::{Limit, SandboxSettings, Source};
use kiln::outcome::FailureKind;
use kiln::queue::{StateStore, Store, StoreSettings};
use kiln::state::{Action, BucketId, Keeper as _, Quota};

use super::change;
use crate::egress::attempt;
use crate::queue::ready;
use crate::sandbox::{TestHost, failed, result, settings_with};
use crate::service::folder_of;
use crate::support::{PATIENCE, kiln, redis_settings};

/// A sandbox whose handlers' state is kept in memory.
async fn host() -> anyhow::Result<TestHost> {
    let settings = StoreSettings::new("memory:");
    let state = StateStore::beside(&Store::open(&settings).await?, &settings);
    TestHost::with(&SandboxSettings {
        state: Some(Arc::new(state)),
        ..settings_with(PATIENCE)
    })
}

const GRANTS: &str = "[grants.state.counts]\nmax_keys = 2\n[grants.state.rates]\nshared = true\nread_only = true\n";

/// What the guest's call came to: 0 or 1 + the kind of its error, and a number.
async fn call(host: &TestHost, payload: &str) -> anyhow::Result<(u32, u32)> {
    let answer = result(attempt(host, "state", GRANTS, payload).await?)?;
    Ok(serde_json::from_str(&answer.unwrap_or_default())?)
}

#[tokio::test]
async fn a_handler_keeps_values_in_granted_buckets() -> anyhow::Result<()> {
    let host = host().await?;
    assert_eq!(call(&host, "get counts n").await?, (0, 0));
    assert_eq!(call(&host, "now counts n").await?, (0, 1));
    assert_eq!(call(&host, "now counts n").await?, (0, 2), "it outlasts the attempt");
    assert_eq!(call(&host, "get counts n").await?, (0, 1), "the bytes of its value");
    assert_eq!(call(&host, "new counts m").await?.0, 0);
    assert_eq!(call(&host, "new counts m").await?.0, 2, "a conflict");
    assert_eq!(call(&host, "now counts m").await?.0, 3, "it is no number");
    assert_eq!(call(&host, "new counts o").await?.0, 6, "the bucket is full");
    assert_eq!(call(&host, "get rates n").await?, (0, 0));
    Ok(())
}

#[tokio::test]
async fn a_component_that_brings_wasi_keyvalue_has_the_same_buckets() -> anyhow::Result<()> {
    let host = host().await?;
    let grants = "[grants.state.counts]";
    assert_eq!(result(attempt(&host, "keyvalue", grants, "").await?)?, None);
    let (failure, _) = failed(attempt(&host, "keyvalue", "", "").await?)?;
    let told = "state bucket \"counts\": not granted; add [grants.state.counts] to keyvalue.toml";
    assert_eq!((failure.kind, &*failure.message), (FailureKind::Denied, told));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_worker_it_is_kept_in_redis_at_once_and_on_completion() -> anyhow::Result<()> {
    let folder = folder_of(&[("state", "[grants.state.counts]")])?;
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let payloads = ["now counts n", "later counts n", "now counts n"];
    let jobs: Vec<_> = payloads
        .iter()
        .map(|payload| ready(&format!(r#"{{"id":"{payload}","name":"state","payload":"{payload}"}}"#)))
        .collect();
    store.push(&jobs).await?;
    let output = kiln()
        .args([
            "worker",
            "--burst",
            "--store",
            &settings.url,
            "--prefix",
            &settings.prefix,
        ])
        .arg("--plugins")
        .arg(folder.path())
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !log.contains("ERROR"), "{log}");
    assert_eq!(store.result("later counts n").await?.as_deref(), Some("[0,0]"), "{log}");
    let keeper = StateStore::beside(&store, &settings);
    let kept = keeper
        .get(&BucketId::of_plugin("state", "counts"), &["n".to_owned()], 100)
        .await?;
    assert_eq!(kept[0].as_ref().map(|entry| &*entry.value), Some(&b"3"[..]), "{log}");
    for (args, code, told) in [
        (&["get", "counts", "n", "--plugin", "state"][..], 0, "3"),
        (
            &["list", "counts", "--plugin", "state", "--starting-with", "n"],
            0,
            "n\n",
        ),
        (&["delete", "counts", "none", "--plugin", "state"], 5, ""),
        (&["get", "counts", "n"], 5, ""),
        (&["set", "a:b", "n", "1"], 2, ""),
    ] {
        let output = kiln()
            .arg("state")
            .args(args)
            .args(["--store", &settings.url, "--prefix", &settings.prefix])
            .output()?;
        let found = (output.status.code(), String::from_utf8(output.stdout)?);
        assert_eq!(
            found,
            (Some(code), told.to_owned()),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_granted_ends_the_attempt_and_names_the_grant() -> anyhow::Result<()> {
    let host = host().await?;
    for (payload, told) in [
        (
            "get other n",
            "state bucket \"other\": not granted; add [grants.state.other] to state.toml",
        ),
        (
            "now rates n",
            "change of state bucket \"rates\": it is read-only; see [grants.state.rates] in state.toml",
        ),
        (
            "later rates n",
            "change of state bucket \"rates\": it is read-only; see [grants.state.rates] in state.toml",
        ),
    ] {
        let (failure, _) = failed(attempt(&host, "state", GRANTS, payload).await?)?;
        assert_eq!((failure.kind, &*failure.message), (FailureKind::Denied, told));
    }
    Ok(())
}

#[tokio::test]
async fn what_is_written_on_completion_waits_for_it() -> anyhow::Result<()> {
    let host = host().await?;
    let attempted = attempt(&host, "state", GRANTS, "later counts n").await?;
    let [write] = &*attempted.asked.writes else {
        panic!("{:?}", attempted.asked.writes)
    };
    assert_eq!(write.changes, [change("n", Action::Add(1))]);
    assert_eq!(write.bucket, BucketId::of_plugin("state", "counts"));
    assert_eq!(
        call(&host, "get counts n").await?,
        (0, 0),
        "nobody has acknowledged the job"
    );
    let failed = attempt(&host, "state", GRANTS, "fail counts n").await?;
    assert!(failed.asked.writes.is_empty(), "an attempt that fails writes nothing");
    Ok(())
}

#[tokio::test]
async fn calls_are_bounded_and_a_store_that_is_away_is_told_of() -> anyhow::Result<()> {
    let mut settings = settings_with(PATIENCE);
    settings.limits.set(Limit::StateCommitBytes, 16, 16, Source::Host);
    let mut none = settings.clone();
    none.limits.set(Limit::StateCalls, 0, 0, Source::Host);
    let host = TestHost::with(&settings)?;
    assert_eq!(call(&host, "get counts n").await?.0, 7, "nowhere to keep anything");
    assert_eq!(
        call(&host, "later counts n").await?.0,
        4,
        "more than state_commit_bytes"
    );
    assert_eq!(call(&TestHost::with(&none)?, "get counts n").await?.0, 5);
    let away = StoreSettings {
        url: "redis://127.0.0.1:1".to_owned(),
        ..redis_settings()
    };
    let redis = Store::open(&redis_settings()).await?;
    let host = TestHost::with(&SandboxSettings {
        state: Some(Arc::new(StateStore::beside(&redis, &away))),
        ..SandboxSettings::new(NonZeroU32::MIN)
    })?;
    assert_eq!(call(&host, "get counts n").await?.0, 7);
    Ok(())
}

#[tokio::test]
async fn an_operator_sets_no_value_that_cannot_be_read_and_deletes_one_all_the_same() -> anyhow::Result<()> {
    let settings = StoreSettings::new("memory:");
    let kept = StateStore::beside(&Store::open(&settings).await?, &settings);
    let (bucket, long) = (BucketId::shared("kept"), vec![b'x'; MAX_VALUE_BYTES + 1]);
    let refused = admin::set(&kept, &bucket, "k", long.clone(), None).await;
    assert!(
        matches!(refused, Err(AdminError::Value(len)) if len == long.len()),
        "{refused:?}"
    );
    let quota = Quota {
        bytes: u64::MAX,
        keys: u64::MAX,
    };
    let sets = ["k", "kk"].map(|key| change(key, Action::Set(long.clone())));
    kept.write(&bucket, quota, &sets).await?;
    assert!(admin::get(&kept, &bucket, "k").await.is_err(), "it is too long");
    assert!(admin::delete(&kept, &bucket, "k").await?);
    assert!(!admin::delete(&kept, &bucket, "k").await?, "another key begins with it");
    Ok(())
}
