//! What handlers remember: over every kind of store, and as a handler calls it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use kiln::config::{Limit, SandboxSettings, Source};
use kiln::outcome::{FailureKind, Settlement};
use kiln::queue::backend::{Backend, Once};
use kiln::queue::{StateStore, Store};
use kiln::state::{Action, BucketId, Change, Changed, Condition, Keeper as _, Quota, StateError, Write};

use crate::egress::attempt;
use crate::queue::{LONG, fetch, join, push_numbered, ready, until_counts};
use crate::sandbox::{TestHost, failed, result, settings_with};
use crate::service::folder_of;
use crate::support::{PATIENCE, default_queue, eventually, kiln, redis_settings, shared_redis};

on_every_store! {
    a_value_is_read_as_it_was_written_with_a_version_of_its_own
    a_batch_is_made_whole_or_not_at_all
    a_number_is_added_to_and_nothing_else_is
    a_bucket_holds_no_more_than_its_quota
    a_value_ends_with_its_time
    keys_are_listed_by_their_beginning_and_in_order
    what_a_job_writes_on_completion_is_there_once_and_before_its_result
    what_a_host_writes_that_has_lost_the_job_is_refused
    an_entry_of_an_outbox_is_written_once
}

const QUOTA: Quota = Quota { bytes: 1000, keys: 5 };

fn change(key: &str, action: Action) -> Change {
    Change {
        key: key.to_owned(),
        action,
        condition: Condition::Always,
        ttl_ms: None,
        keeps_time: false,
    }
}

fn set(key: &str, value: &str) -> Change {
    change(key, Action::Set(value.as_bytes().to_vec()))
}

fn when(condition: Condition, change: Change) -> Change {
    Change { condition, ..change }
}

/// A bucket that no other test has.
struct Bucket {
    store: Arc<dyn Backend>,
    id: BucketId,
}

impl Bucket {
    fn of(store: &Store) -> Self {
        Self {
            store: store.clone().into_backend(),
            id: BucketId::of_plugin("{odd}", &format!("{:016x}", fastrand::u64(..))),
        }
    }

    async fn write(&self, changes: &[Change]) -> anyhow::Result<Result<Vec<Changed>, StateError>> {
        Ok(self.store.state_write(&self.id, QUOTA, changes, None).await?)
    }

    /// The values of these keys, as text.
    async fn texts(&self, keys: &[&str]) -> anyhow::Result<Vec<Option<String>>> {
        let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        let found = self.store.state_get(&self.id, &keys, 1000).await??;
        let text = |entry: kiln::state::Entry| String::from_utf8(entry.value).expect("text");
        Ok(found.into_iter().map(|entry| entry.map(text)).collect())
    }

    async fn text(&self, key: &str) -> anyhow::Result<Option<String>> {
        Ok(self.texts(&[key]).await?.remove(0))
    }
}

async fn a_value_is_read_as_it_was_written_with_a_version_of_its_own(store: Store) -> anyhow::Result<()> {
    let bucket = Bucket::of(&store);
    let bytes = vec![0, 255, b'\n', b'"'];
    let written = bucket
        .write(&[change("a b", Action::Set(bytes.clone())), set("ä", "")])
        .await??;
    assert!(written[0].version < written[1].version, "{written:?}");
    let keys = ["ä", "none", "a b"].map(str::to_owned);
    let found = bucket.store.state_get(&bucket.id, &keys, 4).await??;
    assert_eq!(found[0].as_ref().map(|entry| entry.value.len()), Some(0));
    assert_eq!(found[1], None);
    let entry = found[2].as_ref().expect("a value");
    assert_eq!((&entry.value, entry.version), (&bytes, written[0].version));
    let refused = bucket.store.state_get(&bucket.id, &keys, 3).await?;
    assert_eq!(
        refused,
        Err(StateError::TooLarge(3)),
        "no answer is larger than was asked for"
    );
    Ok(())
}

async fn a_batch_is_made_whole_or_not_at_all(store: Store) -> anyhow::Result<()> {
    let bucket = Bucket::of(&store);
    let first = bucket.write(&[when(Condition::Absent, set("a", "1"))]).await??[0];
    let conflict = |key: &str| Err(StateError::Conflict { key: key.to_owned() });
    let refused = [set("b", "1"), when(Condition::Absent, set("a", "2"))];
    assert_eq!(bucket.write(&refused).await?, conflict("a"));
    let stale = [
        set("b", "1"),
        when(Condition::Version(first.version + 1), set("a", "2")),
    ];
    assert_eq!(bucket.write(&stale).await?, conflict("a"));
    let gone = [when(Condition::Version(first.version), change("none", Action::Delete))];
    assert_eq!(bucket.write(&gone).await?, conflict("none"));
    assert_eq!(bucket.texts(&["a", "b"]).await?, [Some("1".to_owned()), None]);
    let good = [
        when(Condition::Version(first.version), set("a", "2")),
        when(Condition::Absent, set("b", "1")),
    ];
    bucket.write(&good).await??;
    assert_eq!(
        bucket.texts(&["a", "b"]).await?,
        [Some("2".to_owned()), Some("1".to_owned())]
    );
    for _ in 0..2 {
        let deleted = bucket.write(&[change("a", Action::Delete)]).await??[0];
        assert_eq!(deleted, Changed::default(), "also what is not there");
    }
    // A value that is made anew is another one.
    let anew = bucket.write(&[set("a", "1")]).await??[0];
    assert!(anew.version > first.version);
    Ok(())
}

async fn a_number_is_added_to_and_nothing_else_is(store: Store) -> anyhow::Result<()> {
    let bucket = Bucket::of(&store);
    let add = |key: &str, by| change(key, Action::Add(by));
    let numbers = bucket.write(&[add("n", 40), add("m", -1)]).await??;
    assert_eq!(
        numbers.iter().map(|changed| changed.number).collect::<Vec<_>>(),
        [40, -1]
    );
    assert_eq!(bucket.write(&[add("n", 2)]).await??[0].number, 42);
    let near = i64::MAX - 1;
    bucket.write(&[add("large", near), set("text", "4x")]).await??;
    assert_eq!(
        bucket.write(&[add("large", 1)]).await??[0].number,
        i64::MAX,
        "not one bit is lost"
    );
    for (key, why) in [("large", "the sum is none"), ("text", "it is no number")] {
        let refused = bucket.write(&[add("n", 1), add("new", 1), add(key, 1)]).await?;
        let not = StateError::NotANumber { key: key.to_owned() };
        assert_eq!(refused, Err(not), "{why}");
    }
    assert_eq!(bucket.texts(&["n", "new"]).await?, [Some("42".to_owned()), None]);
    assert!(bucket.write(&[set("text", "-7"), add("n", 0)]).await?.is_ok());
    assert_eq!(bucket.write(&[add("text", 1)]).await??[0].number, -6);
    Ok(())
}

async fn a_bucket_holds_no_more_than_its_quota(store: Store) -> anyhow::Result<()> {
    let bucket = Bucket::of(&store);
    let value = "v".repeat(199);
    for key in ["a", "b", "c", "d", "e"] {
        bucket.write(&[set(key, &value)]).await??;
    }
    for full in [
        set("f", ""),
        set("a", &format!("{value}v")),
        change("n", Action::Add(1)),
    ] {
        assert_eq!(
            bucket.write(std::slice::from_ref(&full)).await?,
            Err(StateError::Full(QUOTA)),
            "{full:?}"
        );
    }
    bucket.write(&[set("a", "less")]).await??;
    bucket.write(&[change("b", Action::Delete), set("f", &value)]).await??;
    for _ in 0..3 {
        bucket.write(&[set("a", &"w".repeat(199)), set("c", &value)]).await??;
    }
    assert_eq!(bucket.write(&[set("g", "")]).await?, Err(StateError::Full(QUOTA)));
    Ok(())
}

async fn a_value_ends_with_its_time(store: Store) -> anyhow::Result<()> {
    let bucket = Bucket::of(&store);
    let lasting = |ms, change: Change| Change {
        ttl_ms: Some(ms),
        ..change
    };
    let short = [
        lasting(300, set("short", "1")),
        lasting(300, set("kept", "1")),
        lasting(300, change("n", Action::Add(5))),
        lasting(600_000, set("long", "1")),
    ];
    bucket.write(&short).await??;
    // Without a time of its own, what is set lasts; what is added to keeps the time it has.
    bucket.write(&[set("kept", "2"), change("n", Action::Add(1))]).await??;
    eventually("the values end", async || {
        Ok(bucket.text("short").await?.is_none().then_some(()))
    })
    .await?;
    eventually("the number ends", async || {
        Ok(bucket.text("n").await?.is_none().then_some(()))
    })
    .await?;
    assert_eq!(
        bucket.texts(&["kept", "long"]).await?,
        [Some("2".to_owned()), Some("1".to_owned())]
    );
    assert_eq!(
        bucket.store.state_list(&bucket.id, "", None, 10).await?,
        ["kept", "long"]
    );
    let anew = [when(Condition::Absent, set("short", "2")), change("n", Action::Add(1))];
    assert_eq!(bucket.write(&anew).await??[1].number, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_keeps_nothing_else_waiting_and_is_written_once_it_can_be() -> anyhow::Result<()> {
    let (settings, odd) = (redis_settings(), BucketId::shared("odd"));
    let store = Store::open(&settings).await?;
    let (good, consumer) = (Bucket::of(&store), join(&store, LONG).await?);
    let outbox = format!("{{{}:queues:default}}:outbox", settings.prefix);
    let names = format!("{{{}:state:{odd}}}:names", settings.prefix);
    let _: () = shared_redis().tell(&["HSET", &outbox, "strange", "no commit"]).await?;
    let _: () = shared_redis().tell(&["SET", &names, "no set"]).await?;
    push_numbered(&store, 40).await?;
    for (n, delivery) in fetch(&consumer, 40).await?.into_iter().enumerate() {
        let bucket = if n % 2 == 0 { &good.id } else { &odd };
        let writes = vec![Write {
            bucket: bucket.clone(),
            ..counting(&good).remove(0)
        }];
        let ack = Settlement::Ack { result: None };
        consumer.settle(delivery, ack.with_writes(writes)).await;
    }
    consumer.finish().await?;
    assert_eq!(good.text("done").await?.as_deref(), Some("20"));
    let left: usize = shared_redis().tell(&["HLEN", &outbox]).await?;
    assert_eq!(left, 20, "the strange entry is dropped, the others wait");
    let _: () = shared_redis().tell(&["DEL", &names]).await?;
    let other = join(&store, LONG).await?;
    assert!(!other.empty_outboxes().await?, "nothing is left");
    let odd = Bucket { id: odd, ..good };
    assert_eq!(odd.text("done").await?.as_deref(), Some("20"), "each once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_values_have_ended_those_that_last_are_listed() -> anyhow::Result<()> {
    let settings = redis_settings();
    let bucket = Bucket::of(&Store::open(&settings).await?);
    let large = Quota {
        bytes: 10_000_000,
        keys: 100_000,
    };
    let ends = |n: usize| Change {
        ttl_ms: Some(600_000),
        ..set(&format!("k{n:05}"), "")
    };
    let mut batches: Vec<Vec<_>> = (0..50)
        .map(|batch| (batch * 100..(batch + 1) * 100).map(ends).collect())
        .collect();
    batches.push(vec![set("k01500", "a"), set("k04999", "z"), set("l", "")]);
    for changes in &batches {
        bucket.store.state_write(&bucket.id, large, changes, None).await??;
    }
    // Nothing is written from here on, which would remove some of them.
    let end = "for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('ZADD', KEYS[1], 1, key) end";
    let expiry = format!("{{{}:state:{}}}:expiry", settings.prefix, bucket.id);
    let _: () = shared_redis().tell(&["EVAL", end, "1", &expiry]).await?;
    let all = bucket.store.state_list(&bucket.id, "k", None, 1000).await?;
    assert_eq!(all, ["k01500", "k04999"]);
    let after = bucket.store.state_list(&bucket.id, "k", Some("k01500"), 1).await?;
    assert_eq!(after, ["k04999"]);
    Ok(())
}

async fn keys_are_listed_by_their_beginning_and_in_order(store: Store) -> anyhow::Result<()> {
    let bucket = Bucket::of(&store);
    let keys = ["user/2", "user/10", "users", "user/ä", "u"];
    let sets: Vec<_> = keys.iter().map(|key| set(key, "")).collect();
    bucket.write(&sets).await??;
    let list = async |prefix: &str, after: Option<&str>, limit| {
        bucket.store.state_list(&bucket.id, prefix, after, limit).await
    };
    assert_eq!(list("user/", None, 10).await?, ["user/10", "user/2", "user/ä"]);
    assert_eq!(list("user/", Some("user/10"), 1).await?, ["user/2"]);
    assert_eq!(list("user/", Some("a"), 1).await?, ["user/10"]);
    assert_eq!(list("user/", Some("users"), 9).await?, [""; 0]);
    assert_eq!(list("", None, 2).await?, ["u", "user/10"]);
    assert_eq!(list("x", None, 2).await?, [""; 0]);
    Ok(())
}

fn counting(bucket: &Bucket) -> Vec<Write> {
    let changes = vec![change("done", Action::Add(1))];
    vec![Write {
        bucket: bucket.id.clone(),
        quota: QUOTA,
        changes,
    }]
}

async fn what_a_job_writes_on_completion_is_there_once_and_before_its_result(store: Store) -> anyhow::Result<()> {
    let (bucket, consumer) = (Bucket::of(&store), join(&store, LONG).await?);
    push_numbered(&store, 3).await?;
    let id = format!("{:016x}", fastrand::u64(..));
    for delivery in fetch(&consumer, 3).await? {
        let result = Some((format!("{id}-{}", delivery.tag()), "7".to_owned()));
        let ack = Settlement::Ack { result };
        consumer.settle(delivery, ack.with_writes(counting(&bucket))).await;
    }
    until_counts(&store, (0, 0, 0)).await?;
    let written = eventually("all is written", async || {
        consumer.empty_outboxes().await?;
        let result = store.result(&format!("{id}-3")).await?;
        Ok(result.map(|result| async { (result, bucket.text("done").await) }))
    });
    let (result, done) = written.await?.await;
    assert_eq!((&*result, done?.as_deref()), ("7", Some("3")));
    assert!(bucket.store.outbox(&default_queue(), 0).await?.entries.is_empty());
    Ok(())
}

async fn what_a_host_writes_that_has_lost_the_job_is_refused(store: Store) -> anyhow::Result<()> {
    let bucket = Bucket::of(&store);
    let (slow, other) = (
        join(&store, Duration::from_millis(100)).await?,
        join(&store, LONG).await?,
    );
    push_numbered(&store, 1).await?;
    let late = fetch(&slow, 1).await?.remove(0);
    let taken = eventually("the job is taken over", async || {
        Ok(other.adopt(&default_queue()).await?.pop())
    });
    let taken = taken.await?;
    let ack = || Settlement::Ack { result: None }.with_writes(counting(&bucket));
    slow.settle(late, ack()).await;
    // Its settlement is through when it has finished.
    slow.finish().await?;
    assert_eq!(bucket.text("done").await?, None, "it was not its own any more");
    other.settle(taken, ack()).await;
    other.finish().await?;
    assert_eq!(bucket.text("done").await?.as_deref(), Some("1"));
    Ok(())
}

async fn an_entry_of_an_outbox_is_written_once(store: Store) -> anyhow::Result<()> {
    let bucket = Bucket::of(&store);
    bucket.write(&[set("text", "x")]).await??;
    if is_memory(&store) {
        // There all is written in the settlement itself.
        return Ok(());
    }
    let queue = default_queue();
    let once = |entry: &'static str| {
        let entry = entry.as_bytes();
        Some(Once { queue: &queue, entry })
    };
    // One that cannot be made is left out: of what is no number, and what finds no room.
    let changes = [
        change("none", Action::Delete),
        change("text", Action::Add(1)),
        change("n", Action::Add(1)),
        set("big", &"v".repeat(2000)),
    ];
    for (entry, left_out) in [("a", true), ("a", false), ("b", true), ("a", false)] {
        let written = bucket
            .store
            .state_write(&bucket.id, QUOTA, &changes, once(entry))
            .await?;
        assert_eq!(written.err(), left_out.then_some(StateError::LeftOut(2)), "{entry}");
    }
    assert_eq!(
        bucket.texts(&["text", "n"]).await?,
        [Some("x".to_owned()), Some("2".to_owned())]
    );
    Ok(())
}

fn is_memory(store: &Store) -> bool {
    format!("{store:?}").contains("MemoryStore")
}

/// A sandbox whose handlers' state is kept in memory.
async fn host() -> anyhow::Result<TestHost> {
    let settings = kiln::queue::StoreSettings::new("memory:");
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
    let [write] = &*attempted.writes else {
        panic!("{:?}", attempted.writes)
    };
    assert_eq!(write.changes, [change("n", Action::Add(1))]);
    assert_eq!(write.bucket, BucketId::of_plugin("state", "counts"));
    assert_eq!(
        call(&host, "get counts n").await?,
        (0, 0),
        "nobody has acknowledged the job"
    );
    let failed = attempt(&host, "state", GRANTS, "fail counts n").await?;
    assert!(failed.writes.is_empty(), "an attempt that fails writes nothing");
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
    let away = kiln::queue::StoreSettings {
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
