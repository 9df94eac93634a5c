//! What only a store on Redis meets: lost replies, large jobs, keys of the wrong type, no memory, foreign producers.

use std::time::Duration;

use crate::queue::{ACK, LONG, counts, due, fail_one, fetch, join, push_numbered, ready, texts, until_counts};
use crate::servers::Server;
use crate::support::{default_queue, eventually, redis_settings, settings_at, shared_redis};
use kiln::job::Job;
use kiln::outcome::Settlement;
use kiln::queue::{Heartbeat, MAX_BATCH_BYTES, Store, StoreSettings};

// On one thread, on which no answer can come while the call is being made.
#[tokio::test]
async fn jobs_whose_delivery_was_lost_on_the_way_are_given_back() -> anyhow::Result<()> {
    let store = Store::open(&redis_settings()).await?;
    let consumer = join(&store, LONG).await?;
    // The first call of a script takes two steps; the one that gets lost must take one.
    assert!(fetch(&consumer, 1).await?.is_empty());
    let pushed = push_numbered(&store, 50).await?;
    {
        let queue = default_queue();
        let mut lost = Box::pin(consumer.fetch(&queue, 20));
        // Sent, and nobody there for the answer.
        assert!(futures::poll!(&mut lost).is_pending());
        until_counts(&store, (30, 0, 20)).await?;
    }
    assert_eq!(
        texts(&fetch(&consumer, 256).await?),
        pushed,
        "all of them, in their order"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn large_jobs_come_a_few_at_a_time_and_in_order() -> anyhow::Result<()> {
    let store = Store::open(&redis_settings()).await?;
    let filler = "x".repeat(MAX_BATCH_BYTES / 3);
    let job = |n| ready(&format!(r#"{{"id":"{n}","name":"a","payload":"{filler}"}}"#));
    store.push(&(0..7).map(job).collect::<Vec<_>>()).await?;
    let consumer = join(&store, LONG).await?;
    let mut ids = Vec::new();
    while ids.len() < 7 {
        let deliveries = fetch(&consumer, 256).await?;
        assert!((1..=3).contains(&deliveries.len()), "{}", deliveries.len());
        for delivery in deliveries {
            ids.push(delivery.decode()?.id);
            consumer.settle(delivery, ACK).await;
        }
    }
    assert_eq!(ids, ["0", "1", "2", "3", "4", "5", "6"]);
    until_counts(&store, (0, 0, 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producers_rpush_is_all_it_takes_and_dg_queues_keys_are_used() -> anyhow::Result<()> {
    let settings = redis_settings();
    let (store, redis) = (Store::open(&settings).await?, shared_redis());
    let key = |suffix: &str| format!("{}:{suffix}", settings.prefix);
    let _: u64 = redis
        .tell(&["RPUSH", &key("queues:default"), r#"{"name":"hello"}"#])
        .await?;
    let consumer = join(&store, LONG).await?;
    let delivery = fetch(&consumer, 1).await?.remove(0);
    let job = r#"{"name":"hello","attempts":1}"#.to_owned();
    let wait = Duration::from_millis(1_500);
    let settlement = Settlement::Retry { job: job.clone(), wait };
    let time_s = async || -> anyhow::Result<f64> {
        let (s, us): (f64, f64) = redis.tell(&["TIME"]).await?;
        Ok(s + us / 1e6)
    };
    let before_s = time_s().await?;
    consumer.settle(delivery, settlement).await;
    until_counts(&store, (0, 1, 0)).await?;
    let after_s = time_s().await?;
    let zrange = ["ZRANGE", &key("queues:default:delayed"), "0", "-1", "WITHSCORES"];
    let delayed: Vec<(String, f64)> = redis.tell(&zrange).await?;
    let [(member, due_s)] = &delayed[..] else {
        panic!("{delayed:?}")
    };
    assert_eq!(member, &job);
    assert!((before_s..=after_s).contains(&(due_s - wait.as_secs_f64())), "{due_s}");
    eventually("a due job", async || {
        Ok((store.promote(&default_queue()).await? == 1).then_some(()))
    })
    .await?;
    fail_one(&store, &consumer).await?;
    let failed: Vec<String> = redis.tell(&["LRANGE", &key("failed"), "0", "-1"]).await?;
    let entry = Job::decode(failed[0].as_bytes())?;
    assert_eq!((failed.len(), &*entry.name, entry.attempts), (1, "hello", 2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_wrong_type_stops_a_move_and_loses_nothing() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let settings = settings_at(&redis.url());
    let store = Store::open(&settings).await?;
    let key = |suffix: &str| format!("{}:{suffix}", settings.prefix);
    store.push(&[due("{}", 1_000), due("[]", 1_000)]).await?;
    let _: () = redis.tell(&["SET", &key("queues:default"), "wrong"]).await?;
    store.promote(&default_queue()).await.expect_err("not a list");
    let _: u64 = redis.tell(&["DEL", &key("queues:default")]).await?;
    assert_eq!(store.promote(&default_queue()).await?, 2);

    let consumer = join(&store, LONG).await?;
    let _: () = redis.tell(&["SET", &key("failed"), "wrong"]).await?;
    let entry = || Settlement::Fail { entry: "{}".to_owned() };
    for delivery in fetch(&consumer, 2).await? {
        consumer.settle(delivery, entry()).await;
    }
    // What Redis refused is offered again, and is still there once somebody has mended it.
    until_refused(&redis).await?;
    assert_eq!(counts(&store).await?, (0, 0, 2));
    let _: u64 = redis.tell(&["DEL", &key("failed")]).await?;
    until_counts(&store, (0, 0, 0)).await?;
    assert_eq!(store.failed_len().await?, 2);
    Ok(())
}

/// Waits until the server has refused a script for a wrong type at least twice.
async fn until_refused(redis: &Server) -> anyhow::Result<()> {
    eventually("a refusal", async || {
        let stats: String = redis.tell(&["INFO", "errorstats"]).await?;
        let counts = stats
            .lines()
            .filter_map(|line| line.strip_prefix("errorstat_WRONGTYPE:count="));
        let count: u64 = counts.filter_map(|count| count.trim().parse::<u64>().ok()).sum();
        Ok((count >= 2).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_memory_still_keeps_leases_and_takes_settlements() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let store = Store::open(&settings_at(&redis.url())).await?;
    push_numbered(&store, 20).await?;
    let consumer = join(&store, LONG).await?;
    let _: () = redis.tell(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    store.push(&[ready("{}")]).await.expect_err("there is no room");
    assert_eq!(consumer.heartbeat().await?, Heartbeat::Kept);
    for (n, delivery) in fetch(&consumer, 20).await?.into_iter().enumerate() {
        let fate = match n % 4 {
            0 => Settlement::Ack {
                result: Some((n.to_string(), "1".to_owned())),
            },
            1 => Settlement::Fail { entry: "{}".to_owned() },
            2 => Settlement::Requeue,
            _ => Settlement::Retry {
                job: format!("[{n}]"),
                wait: Duration::ZERO,
            },
        };
        consumer.settle(delivery, fate).await;
    }
    until_counts(&store, (5, 5, 0)).await?;
    assert_eq!(store.purge_failed(100).await?, 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_survive_a_flushed_script_cache() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let store = Store::open(&settings_at(&redis.url())).await?;
    push_numbered(&store, 1).await?;
    let consumer = join(&store, LONG).await?;
    let _: () = redis.tell(&["SCRIPT", "FLUSH"]).await?;
    let delivery = fetch(&consumer, 1).await?.remove(0);
    let _: () = redis.tell(&["SCRIPT", "FLUSH"]).await?;
    consumer.settle(delivery, ACK).await;
    until_counts(&store, (0, 0, 0)).await
}

#[tokio::test]
async fn a_store_that_cannot_be_is_refused_in_one_line_without_its_password() {
    for (url, said) in [
        ("redis://127.0.0.1:1", "no redis at 127.0.0.1:1"),
        ("http://127.0.0.1", "expected redis://"),
        ("rediss://user:secret@127.0.0.1:1", "no redis at 127.0.0.1:1"),
        (
            "redis+sentinel://:secret@127.0.0.1:1",
            "the name of the master is missing",
        ),
        ("redis+cluster://:secret@127.0.0.1:1/3", "a Cluster has one database"),
        ("redis://user:secret@127.0.0.1:x", "store"),
        ("redis:/user:secret@127.0.0.1", "store"),
        ("redis:user:secret@127.0.0.1", "store"),
        ("redis+sentinel:/user:secret@127.0.0.1/m", "store"),
        ("redis+unix:///nowhere?pass=secret", "redis"),
    ] {
        let err = Store::open(&StoreSettings::new(url)).await.expect_err(url).to_string();
        assert!(
            err.contains(said) && !err.contains("secret") && !err.contains('\n'),
            "{url}: {err}"
        );
    }
}
