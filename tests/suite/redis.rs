//! What only a store on Redis meets: lost replies, large jobs, keys of the wrong type, no memory, foreign producers.

use std::time::Duration;

use anyhow::Context as _;
use sha2::Digest as _;

use crate::process::Worker;
use crate::queue::{
    ACK, LONG, counts, due, fail_malformed, fail_one, fetch, join, push_numbered, ready, texts, until_counts,
};
use crate::servers::Server;
use crate::service::folder_of;
use crate::support::{default_queue, eventually, redis_settings, settings_at, shared_redis};
use crate::topology::cluster_settings;
use kiln::job::{Job, KEPT_BYTES, MAX_JOB_BYTES};
use kiln::outcome::Settlement;
use kiln::queue::{Fate, Heartbeat, MAX_BATCH_BYTES, MAX_TAKEN_BYTES, QueueError, Store, StoreSettings};

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

/// How a settlement of each kind ends while the failed list cannot be written, and once it can.
#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_is_refused_keeps_no_other_from_its_end() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let settings = settings_at(&redis.url());
    let store = Store::open(&settings).await?;
    let failed = format!("{}:failed", settings.prefix);
    let _: () = redis.tell(&["SET", &failed, "wrong"]).await?;
    push_numbered(&store, 9).await?;
    let consumer = join(&store, LONG).await?;
    for (n, delivery) in fetch(&consumer, 9).await?.into_iter().enumerate() {
        let fate = match n % 3 {
            0 => Settlement::Fail { entry: "{}".to_owned() },
            1 => Settlement::Retry {
                job: format!("[{n}]"),
                wait: LONG,
            },
            _ => ACK,
        };
        consumer.settle(delivery, fate).await;
    }
    until_counts(&store, (0, 3, 3)).await?;
    // Also what comes later, while those are held.
    until_refused(&redis).await?;
    push_numbered(&store, 1).await?;
    for delivery in fetch(&consumer, 1).await? {
        consumer.settle(delivery, ACK).await;
    }
    until_counts(&store, (0, 3, 3)).await?;
    let _: u64 = redis.tell(&["DEL", &failed]).await?;
    until_counts(&store, (0, 3, 0)).await?;
    assert_eq!(store.failed_len().await?, 3);
    Ok(())
}

/// Redis is not always heard to say why: it may close the connection before everything has been sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_the_store_never_takes_ends_as_a_small_entry_and_keeps_no_other() -> anyhow::Result<()> {
    for limit in ["proto-max-bulk-len", "client-query-buffer-limit"] {
        let redis = Server::start(&[])?;
        let settings = settings_at(&redis.url());
        let (store, outside) = (Store::open(&settings).await?, Store::open(&settings).await?);
        push_numbered(&store, 5).await?;
        let consumer = join(&store, Duration::from_secs(1)).await?;
        let deliveries = fetch(&consumer, 5).await?;
        let _: () = redis.tell(&["CONFIG", "SET", limit, "1mb"]).await?;
        let filler = "x".repeat(3 * 1024 * 1024);
        let large = format!(r#"{{"id":"large","name":"a","payload":"{filler}"}}"#);
        let small = Settlement::Fail { entry: "{}".to_owned() };
        let fates = [
            Settlement::Fail { entry: large.clone() },
            Settlement::Retry {
                job: large.clone(),
                wait: LONG,
            },
            Settlement::Ack {
                result: Some(("0".to_owned(), format!("{filler:?}"))),
            },
            small,
            ACK,
        ];
        for (delivery, fate) in deliveries.into_iter().zip(fates) {
            consumer.settle(delivery, fate).await;
        }
        let failed = eventually("a failed entry", async || Ok(outside.failed(0, 1).await?.pop())).await?;
        // Where it does not say so, it might be its connection: the others do not wait until that is given up.
        assert!(failed.bytes() == b"{}" || limit == "proto-max-bulk-len");
        until_counts(&outside, (0, 0, 0)).await?;
        let entries = outside.failed(0, 10).await?;
        let (small, cut): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.bytes() == b"{}");
        assert_eq!((small.len(), cut.len()), (1, 2), "{limit}");
        for entry in &cut {
            assert!(entry.bytes().len() < 2 * KEPT_BYTES, "{}", entry.bytes().len());
            let job = entry.job().expect("a job");
            let kept: serde_json::Value = serde_json::from_str(job.payload.get())?;
            assert_eq!(&*job.id, "large");
            assert_eq!(kept["text"], large[..KEPT_BYTES]);
            assert_eq!(kept["length"], large.len());
            assert_eq!(kept["sha256"], format!("{:x}", sha2::Sha256::digest(&large)));
        }
        assert_eq!(outside.retry_failed(cut).await?, [Fate::Stays, Fate::Stays]);
    }
    Ok(())
}

/// The host has never had its bytes: Redis tells it.
#[tokio::test(flavor = "multi_thread")]
async fn the_entry_of_a_job_too_large_to_be_brought_has_its_digest() -> anyhow::Result<()> {
    let large = "x".repeat(MAX_TAKEN_BYTES + 1);
    for settings in [redis_settings(), cluster_settings()] {
        let store = Store::open(&settings).await?;
        let consumer = join(&store, LONG).await?;
        store.push(&[due(&large, 1_000)]).await?;
        store.promote(&default_queue()).await?;
        for delivery in fetch(&consumer, 1).await? {
            fail_malformed(&consumer, delivery).await;
        }
        let entry = eventually("a failed entry", async || Ok(store.failed(0, 1).await?.pop())).await?;
        let kept: serde_json::Value = serde_json::from_str(entry.job().expect("a job").payload.get())?;
        assert_eq!(kept["sha1"], redis::Script::new(&large).get_hash());
        assert_eq!(kept["length"], large.len());
    }
    Ok(())
}

/// A Redis at the edge of its memory takes some results and not others.
#[tokio::test(flavor = "multi_thread")]
async fn that_results_are_not_kept_is_told_once() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let settings = settings_at(&redis.url());
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("nap", "")])?;
    let jobs: Vec<_> = (0..5_000)
        .map(|n| ready(&format!(r#"{{"id":"{n}","name":"nap","payload":1}}"#)))
        .collect();
    store.push(&jobs).await?;
    let worker = Worker::start(&settings, folder.path(), &["--concurrency", "1"])?;
    worker.until_said("worker started").await?;
    for n in 0..40 {
        let memory = if n % 2 == 0 { "1" } else { "0" };
        let _: () = redis.tell(&["CONFIG", "SET", "maxmemory", memory]).await?;
        let before = counts(&store).await?.0;
        eventually("some more jobs", async || {
            Ok((counts(&store).await?.0 + 5 <= before).then_some(()))
        })
        .await?;
    }
    assert_eq!(worker.lines_with("results are not kept").len(), 1);
    eventually("that it is over", async || {
        store.push(&[ready(r#"{"name":"nap","payload":1}"#)]).await?;
        Ok((!worker.lines_with("results are kept again").is_empty()).then_some(()))
    })
    .await?;
    assert_eq!(worker.lines_with("results are").len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_more_is_taken_from_a_queue_that_holds_too_many_refused_settlements() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let settings = settings_at(&redis.url());
    let store = Store::open(&settings).await?;
    let failed = format!("{}:failed", settings.prefix);
    let _: () = redis.tell(&["SET", &failed, "wrong"]).await?;
    push_numbered(&store, 700).await?;
    let consumer = join(&store, LONG).await?;
    let behind = eventually("a refusal to take more", async || {
        match consumer.fetch(&default_queue(), 100).await {
            Ok(deliveries) => {
                for delivery in deliveries {
                    consumer
                        .settle(delivery, Settlement::Fail { entry: "{}".to_owned() })
                        .await;
                }
                Ok(None)
            }
            Err(err) => Ok(Some(err)),
        }
    })
    .await?;
    assert!(matches!(behind, QueueError::Behind { .. }), "{behind}");
    let _: u64 = redis.tell(&["DEL", &failed]).await?;
    eventually("all to have failed", async || {
        for delivery in consumer.fetch(&default_queue(), 100).await.unwrap_or_default() {
            consumer
                .settle(delivery, Settlement::Fail { entry: "{}".to_owned() })
                .await;
        }
        Ok((store.failed_len().await? == 700).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_list_of_large_entries_is_read_a_few_at_a_time() -> anyhow::Result<()> {
    let settings = redis_settings();
    let (store, redis) = (Store::open(&settings).await?, shared_redis());
    let failed = format!("{}:failed", settings.prefix);
    let huge = "x".repeat(2 * MAX_JOB_BYTES + 1);
    let large = "y".repeat(MAX_BATCH_BYTES / 2 + 1);
    for entry in [huge.as_str(), "{}", &large, &large, "{}"] {
        let _: u64 = redis.tell(&["RPUSH", &failed, entry]).await?;
    }
    let first = store.failed(0, 10).await?;
    assert_eq!((first.len(), first[0].bytes().len()), (1, MAX_BATCH_BYTES));
    assert_eq!(store.failed(1, 10).await?.len(), 2);
    assert_eq!(store.failed(3, 10).await?.len(), 2);
    assert_eq!(store.delete_failed(first).await?, [Fate::Taken]);
    assert_eq!(store.failed_len().await?, 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_reads_few_large_jobs_that_do_not_fit() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let store = Store::open(&settings_at(&redis.url())).await?;
    let consumer = join(&store, LONG).await?;
    push_numbered(&store, 40).await?;
    let large = ready(&"x".repeat(MAX_BATCH_BYTES / 2));
    for _ in 0..32 {
        store.push(std::slice::from_ref(&large)).await?;
    }
    let memory = async |field: &str| -> anyhow::Result<usize> {
        let info: String = redis.tell(&["INFO", "memory"]).await?;
        let value = info
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(value.context("a field")?.trim().parse()?)
    };
    let before = memory("used_memory").await?.max(memory("used_memory_peak").await?);
    assert!(fetch(&consumer, 256).await?.len() >= 40);
    let read = memory("used_memory_peak").await? - before;
    // All of them are 128 MiB; eight of them 32.
    assert!(read < 5 * MAX_BATCH_BYTES, "{read} bytes were read at once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_write_neither_results_nor_failures_still_acknowledges() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let mut settings = settings_at(&redis.url());
    let outside = Store::open(&settings).await?;
    let (plain, wrapped) = (
        format!("~{}:queues:*", settings.prefix),
        format!("~{{{}:*", settings.prefix),
    );
    redis
        .set_user("kiln", &["on", ">secret", &plain, &wrapped, "+@all"])
        .await?;
    settings.connection.user = Some("kiln".to_owned());
    settings.connection.password = Some("secret".to_owned());
    let store = Store::open(&settings).await?;
    push_numbered(&outside, 3).await?;
    let consumer = join(&store, LONG).await?;
    let result = Some(("1".to_owned(), "1".to_owned()));
    let fates = [
        Settlement::Fail { entry: "{}".to_owned() },
        Settlement::Ack { result },
        ACK,
    ];
    for (delivery, fate) in fetch(&consumer, 3).await?.into_iter().zip(fates) {
        consumer.settle(delivery, fate).await;
    }
    until_counts(&outside, (0, 0, 1)).await?;
    redis.set_user("kiln", &["~*"]).await?;
    until_counts(&outside, (0, 0, 0)).await?;
    assert_eq!((outside.failed_len().await?, outside.result("1").await?), (1, None));
    Ok(())
}
