//! Outboxes: what stands there comes in messages of a bounded size, and is written while and after a host works.

use std::collections::BTreeSet;
use std::time::Duration;

use kiln::outcome::{Commit, Settlement};
use kiln::queue::backend::Backend;
use kiln::queue::{
    Consumer, MAX_BATCH, MAX_BATCH_BYTES, MAX_OUTBOX_ENTRIES, QueueName, StateStore, Store, StoreSettings,
};
use kiln::service::{Drained, ServiceSettings};
use kiln::state::{BucketId, Keeper as _};

use super::{Bucket, counting};
use crate::process::Worker;
use crate::queue::{ACK, LONG, fetch, join, push_numbered, ready};
use crate::service::{folder_of, serve, settings};
use crate::support::{default_queue, eventually, redis_settings, shared_redis};

fn outbox_of(settings: &StoreSettings, queue: &str) -> String {
    format!("{{{}:queues:{queue}}}:outbox", settings.prefix)
}

/// All pages of the default queue's outbox, each as names and lengths of texts.
async fn pages(store: &dyn Backend) -> anyhow::Result<Vec<Vec<(Vec<u8>, Option<usize>)>>> {
    let (mut pages, mut cursor) = (Vec::new(), 0);
    loop {
        let page = store.outbox(&default_queue(), None, cursor).await?;
        let entries = page.entries.into_iter();
        pages.push(
            entries
                .map(|(name, text)| (name, text.map(|text| text.len())))
                .collect(),
        );
        cursor = page.next;
        if cursor == 0 {
            return Ok(pages);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_of_an_outbox_is_too_long_and_every_entry_is_written() -> anyhow::Result<()> {
    const MIB: usize = 1024 * 1024;
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let bucket = Bucket::of(&store);
    let outbox = outbox_of(&settings, "default");
    let mut names = BTreeSet::new();
    for (n, mib) in [3, 3, 3, 3, 9, 5, 5, 0, 0, 0].into_iter().enumerate() {
        let commit = Commit {
            result: Some((format!("{n}"), format!("{:?}", "x".repeat(mib * MIB)))),
            writes: counting(&bucket),
            ..Commit::default()
        };
        let entry = serde_json::to_string(&commit)?;
        let _: u64 = shared_redis()
            .tell(&["HSET", &outbox, &format!("e{n}"), &entry])
            .await?;
        names.insert(format!("e{n}").into_bytes());
    }
    let pages = pages(&*bucket.store).await?;
    for page in &pages {
        let texts: Vec<_> = page.iter().filter_map(|(_, text)| *text).collect();
        assert!(
            texts.len() == 1 || texts.iter().sum::<usize>() <= MAX_BATCH_BYTES,
            "{texts:?}"
        );
        assert!(page.first().is_none_or(|(_, text)| text.is_some()), "{page:?}");
    }
    let read: BTreeSet<_> = pages.into_iter().flatten().map(|(name, _)| name).collect();
    assert_eq!(read, names);

    let consumer = join(&store, LONG).await?;
    assert!(!consumer.empty_outboxes().await?, "nothing is left");
    assert_eq!(bucket.text("done").await?.as_deref(), Some("10"));
    let result = store.result("4").await?.expect("the result of the largest");
    assert_eq!(result.len(), 9 * MIB + 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_that_outbox_is_read_in_which_something_may_be() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let (bucket, other) = (Bucket::of(&store), QueueName::new("other").expect("a name"));
    let queues = vec![default_queue(), other];
    let consumer = kiln::queue::Consumer::join(store.clone(), queues, LONG, kiln::events::Events::default()).await?;
    assert!(!consumer.empty_outboxes().await?, "nothing is left from before");
    // An HSCAN or HLEN of it would fail.
    let _: () = shared_redis()
        .tell(&["SET", &outbox_of(&settings, "other"), "no hash"])
        .await?;
    push_numbered(&store, 1).await?;
    let ack = Settlement::Ack { result: None }.with_writes(counting(&bucket));
    consumer.settle(fetch(&consumer, 1).await?.remove(0), ack).await;
    consumer.outbox_filled().await;
    assert!(!consumer.empty_outboxes().await?);
    assert_eq!(bucket.text("done").await?.as_deref(), Some("1"));
    Ok(())
}

on_every_store! {
    a_host_takes_nothing_more_while_much_of_its_own_stands_in_the_outbox
}

/// Nothing is written here until the host takes no more: slower than that nothing can be.
async fn a_host_takes_nothing_more_while_much_of_its_own_stands_in_the_outbox(store: Store) -> anyhow::Result<()> {
    let (one, other) = (join(&store, LONG).await?, join(&store, LONG).await?);
    for _ in 0..MAX_OUTBOX_ENTRIES / MAX_BATCH + 4 {
        push_numbered(&store, MAX_BATCH).await?;
    }
    let take_all = async |host: &Consumer| {
        let mut taken = 0;
        loop {
            let fetched = fetch(host, MAX_BATCH).await?;
            if fetched.is_empty() {
                return anyhow::Ok(taken);
            }
            taken += fetched.len();
            for delivery in fetched {
                let commit = Commit {
                    jobs: Vec::new(),
                    result: Some((format!("{taken}"), "1".to_owned())),
                    ..Commit::default()
                };
                host.settle(delivery, Settlement::Commit(commit.to_text())).await;
            }
            eventually("all is settled", async || Ok((host.held() == 0).then_some(()))).await?;
        }
    };
    let taken = take_all(&one).await?;
    assert!(one.is_outbox_full(&default_queue()));
    assert!(
        (MAX_OUTBOX_ENTRIES..MAX_OUTBOX_ENTRIES + MAX_BATCH).contains(&taken),
        "{taken}"
    );
    // What others do is their own affair.
    let of_other = fetch(&other, 1).await?.remove(0);
    other.settle(of_other, ACK).await;
    assert!(!one.empty_outboxes().await?, "nothing is left");
    one.outbox_has_room().await;
    assert!(!one.is_outbox_full(&default_queue()));
    let rest = take_all(&one).await?;
    assert_eq!(taken + rest + 1, (MAX_OUTBOX_ENTRIES / MAX_BATCH + 4) * MAX_BATCH);
    assert!(!one.empty_outboxes().await?);
    assert!(store.counts(&default_queue()).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_writes_is_there_while_its_worker_still_drains() -> anyhow::Result<()> {
    let folder = folder_of(&[("state", "[grants.state.counts]"), ("sleep", "")])?;
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let kept = StateStore::beside(&store, &settings);
    let until = async |number: &str| {
        eventually("the number", async || {
            let (bucket, keys) = (BucketId::of_plugin("state", "counts"), ["n".to_owned()]);
            let found = kept.get(&bucket, &keys, 100).await?.remove(0);
            Ok(found.filter(|entry| entry.value == number.as_bytes()).map(drop))
        })
        .await
    };
    let mut worker = Worker::start(&settings, folder.path(), &["--grace", "10m"])?;
    let jobs = [
        r#"{"name":"sleep","timeout":3600000000000}"#,
        r#"{"name":"state","payload":"wait counts n"}"#,
    ];
    store.push(&jobs.map(ready)).await?;
    until("1").await?;
    worker.signal("-TERM")?;
    worker.until_said("draining").await?;
    until("2").await?;
    assert!(worker.process.try_wait()?.is_none(), "an attempt still runs");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_write_all_that_others_left_has_drained_all_the_same() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", "")])?;
    let settings_of_store = redis_settings();
    let store = Store::open(&settings_of_store).await?;
    let bucket = Bucket::of(&store);
    let commit = serde_json::to_string(&Commit {
        result: None,
        writes: counting(&bucket),
        ..Commit::default()
    })?;
    let fill = "for n = 1, 100000 do redis.call('HSET', KEYS[1], n, ARGV[1]) end";
    let outbox = outbox_of(&settings_of_store, "default");
    let _: () = shared_redis().tell(&["EVAL", fill, "1", &outbox, &commit]).await?;
    store.push(&[ready(r#"{"id":"a","name":"echo","payload":1}"#)]).await?;
    let service = ServiceSettings {
        grace: Duration::ZERO,
        ..settings()
    };
    let (serving, _stop) = serve(service, &store, folder.path()).await?;
    assert_eq!(serving.await??, Drained::Clean);
    assert!(store.result("a").await?.is_some());
    let left: u64 = shared_redis().tell(&["HLEN", &outbox]).await?;
    assert!(left > 0, "or this tests nothing");
    // Whoever takes its lease away looks into the outbox.
    assert_eq!(store.counts(&default_queue()).await?.hosts.len(), 1);
    Ok(())
}
