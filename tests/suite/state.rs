//! What handlers remember, over every kind of store.

mod handlers;
mod languages;
mod outbox;

use std::sync::Arc;
use std::time::Duration;

use kiln::outcome::Settlement;
use kiln::queue::Store;
use kiln::queue::backend::{Backend, Once};
use kiln::state::{Action, BucketId, Change, Changed, Condition, Quota, StateError, Write};

use crate::queue::{LONG, fetch, join, push_numbered, until_counts};
use crate::support::{default_queue, eventually, redis_settings, shared_redis};

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
pub(crate) struct Bucket {
    store: Arc<dyn Backend>,
    id: BucketId,
}

impl Bucket {
    pub(crate) fn of(store: &Store) -> Self {
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

    pub(crate) async fn text(&self, key: &str) -> anyhow::Result<Option<String>> {
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
    assert!(consumer.empty_outboxes().await?, "some are left");
    assert_eq!(good.text("done").await?.as_deref(), Some("20"));
    let left: usize = shared_redis().tell(&["HLEN", &outbox]).await?;
    assert_eq!(left, 20, "the strange entry is dropped, the others wait");
    let _: () = shared_redis().tell(&["DEL", &names]).await?;
    // What a host that lives has left, it looks after itself.
    consumer.leave().await?;
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

pub(crate) fn counting(bucket: &Bucket) -> Vec<Write> {
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
    assert!(bucket.store.outbox(&default_queue(), None, 0).await?.entries.is_empty());
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
    other.empty_outboxes().await?;
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
