//! Jobs that follow from others, over every kind of store.

mod batches;
mod chains;
mod edges;
mod handlers;
mod languages;
mod model;
mod speed;
mod topologies;

use std::collections::BTreeMap;
use std::time::Duration;

use kiln::job::Job;
use kiln::outcome::{Commit, NewJob, Settlement};
use kiln::queue::backend::HandedOn;
use kiln::queue::{Consumer, Place, QueueName, Store};

use crate::queue::{LONG, fetch, join, push_numbered, until_counts};
use crate::sandbox::json;
use crate::support::{default_queue, eventually, redis_settings, shared_redis};

on_every_store! {
    follow_ups_are_pushed_once_wherever_they_go
    what_a_host_enqueues_that_has_lost_the_job_is_refused
}

pub(crate) fn other_queue() -> QueueName {
    QueueName::new("other").expect("a name")
}

/// A job that follows, in that queue.
fn follows(id: &str, queue: &str, due_ms: Option<i64>) -> NewJob {
    NewJob {
        queue: queue.to_owned(),
        job: json(&format!(r#"{{"id":"{id}","name":"after"}}"#)),
        due_ms,
    }
}

fn ack_with(jobs: Vec<NewJob>) -> Settlement {
    Settlement::Ack { result: None }.with(Commit {
        jobs,
        ..Commit::default()
    })
}

/// How often each id is in a queue.
pub(crate) async fn ids(store: &Store, queue: &QueueName, place: Place) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut found = BTreeMap::new();
    let backend = store.clone().into_backend();
    for seen in backend.peek(queue, place, 0, 100).await? {
        *found.entry(Job::decode(&seen.job.bytes)?.id).or_default() += 1;
    }
    Ok(found)
}

async fn until_outbox_is_empty(consumer: &Consumer) -> anyhow::Result<()> {
    eventually("an empty outbox", async || {
        Ok((!consumer.empty_outboxes().await?).then_some(()))
    })
    .await
}

async fn follow_ups_are_pushed_once_wherever_they_go(store: Store) -> anyhow::Result<()> {
    const LATER: Option<i64> = Some(4_000_000_000_000);
    let consumer = join(&store, LONG).await?;
    push_numbered(&store, 3).await?;
    let mut wanted = BTreeMap::new();
    for (n, delivery) in fetch(&consumer, 3).await?.into_iter().enumerate() {
        let jobs = [
            ("default", None),
            ("other", None),
            ("other", LATER),
            ("default", LATER),
            ("other", None),
        ];
        let jobs = jobs
            .iter()
            .enumerate()
            .map(|(at, (queue, due_ms))| follows(&format!("{n}-{at}"), queue, *due_ms));
        consumer.settle(delivery, ack_with(jobs.collect())).await;
        wanted.extend((0..5).map(|at| (format!("{n}-{at}"), 1)));
    }
    consumer.finish().await?;
    until_outbox_is_empty(&consumer).await?;
    until_counts(&store, (3, 3, 0)).await?;
    let mut found = BTreeMap::new();
    for queue in [default_queue(), other_queue()] {
        found.extend(ids(&store, &queue, Place::Ready).await?);
        found.extend(ids(&store, &queue, Place::Delayed).await?);
    }
    assert_eq!(found, wanted);
    let backend = store.clone().into_backend();
    assert!(backend.outbox(&default_queue(), None, 0).await?.entries.is_empty());
    Ok(())
}

async fn what_a_host_enqueues_that_has_lost_the_job_is_refused(store: Store) -> anyhow::Result<()> {
    let slow = join(&store, Duration::from_secs(1)).await?;
    let other = join(&store, LONG).await?;
    push_numbered(&store, 1).await?;
    let late = fetch(&slow, 1).await?.remove(0);
    let taken = eventually("the job is taken over", async || {
        Ok(other.adopt(&default_queue()).await?.pop())
    });
    let taken = taken.await?;
    slow.settle(late, ack_with(vec![follows("a", "other", None)])).await;
    slow.finish().await?;
    other.settle(taken, ack_with(vec![follows("b", "other", None)])).await;
    other.finish().await?;
    until_outbox_is_empty(&other).await?;
    let found = ids(&store, &other_queue(), Place::Ready).await?;
    assert_eq!(found, BTreeMap::from([("b".to_owned(), 1)]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_hosts_read_of_an_outbox_is_pushed_by_one() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let backend = store.clone().into_backend();
    let entry = Commit {
        jobs: vec![follows("a", "default", None), follows("b", "other", None)],
        ..Commit::default()
    };
    let outbox = format!("{{{}:queues:default}}:outbox", settings.prefix);
    let _: () = shared_redis().tell(&["HSET", &outbox, "e", &entry.to_text()]).await?;
    let rest = Commit {
        jobs: vec![follows("b", "other", None)],
        ..Commit::default()
    };
    let (len, rest) = (entry.to_text().len(), rest.to_text());
    let jobs = [crate::queue::ready(r#"{"id":"a","name":"after"}"#)];
    let handed = HandedOn {
        entry: b"e",
        len,
        rest: &rest,
        jobs: &jobs,
    };
    assert_eq!(backend.hand_on(&default_queue(), &[handed]).await?, [true]);
    assert_eq!(
        backend.hand_on(&default_queue(), &[handed]).await?,
        [false],
        "it is done already"
    );
    until_counts(&store, (1, 0, 0)).await?;
    let consumer = join(&store, LONG).await?;
    until_outbox_is_empty(&consumer).await?;
    until_counts(&store, (1, 0, 0)).await?;
    assert_eq!(ids(&store, &other_queue(), Place::Ready).await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_is_emptied_by_the_host_that_filled_it_and_after_its_end_by_any() -> anyhow::Result<()> {
    for settings in [
        redis_settings(),
        crate::topology::cluster_settings(),
        crate::topology::tagged_cluster_settings(),
    ] {
        let store = Store::open(&settings).await?;
        let backend = store.clone().into_backend();
        let first = join(&store, Duration::from_secs(2)).await?;
        let second = join(&store, LONG).await?;
        push_numbered(&store, 1).await?;
        let delivery = fetch(&first, 1).await?.remove(0);
        first
            .settle(delivery, ack_with(vec![follows("a", "other", None)]))
            .await;
        first.finish().await?;
        let seen = async |host: Option<&str>| {
            let page = backend.outbox(&default_queue(), host, 0).await?;
            anyhow::Ok(page.entries.len())
        };
        first.heartbeat().await?;
        assert_eq!(seen(None).await?, 1);
        assert_eq!(seen(Some(second.host())).await?, 0, "its host lives");
        assert_eq!(seen(Some(first.host())).await?, 1);
        eventually("the lease has run out", async || {
            Ok((seen(Some(second.host())).await? == 1).then_some(()))
        })
        .await?;
        eventually("the second host looks, too", async || {
            second.adopt(&default_queue()).await?;
            second.empty_outboxes().await?;
            Ok((seen(None).await? == 0).then_some(()))
        })
        .await?;
        assert_eq!(ids(&store, &other_queue(), Place::Ready).await?.len(), 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn follow_ups_that_find_no_place_keep_no_others_waiting() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let broken = format!("{}:queues:broken", settings.prefix);
    let _: () = shared_redis().tell(&["SET", &broken, "no list"]).await?;
    let consumer = join(&store, LONG).await?;
    push_numbered(&store, 20).await?;
    for (n, delivery) in fetch(&consumer, 20).await?.into_iter().enumerate() {
        let first = if n % 2 == 0 { "broken" } else { "other" };
        let jobs = vec![
            follows(&format!("{n}"), first, None),
            follows(&format!("{n}+"), "other", None),
        ];
        consumer.settle(delivery, ack_with(jobs)).await;
    }
    consumer.finish().await?;
    assert!(consumer.empty_outboxes().await?, "some are left");
    assert_eq!(ids(&store, &other_queue(), Place::Ready).await?.len(), 20);
    let _: () = shared_redis().tell(&["DEL", &broken]).await?;
    // A host that has just come has not seen them fail.
    consumer.leave().await?;
    let later = join(&store, LONG).await?;
    until_outbox_is_empty(&later).await?;
    let (other, mended) = (
        ids(&store, &other_queue(), Place::Ready).await?,
        QueueName::new("broken").expect("a name"),
    );
    assert_eq!((other.len(), ids(&store, &mended, Place::Ready).await?.len()), (30, 10));
    assert!(other.values().all(|times| *times == 1), "{other:?}");
    Ok(())
}
