//! Redis away, restarting, read-only, full, slow or cut off in the middle: nothing is lost, and all goes on afterwards.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kiln::job::KEPT_BYTES;
use kiln::outcome::Settlement;
use kiln::queue::{Consumer, Heartbeat, Store, StoreSettings};
use kiln::service::{Drained, ServiceSettings};

use crate::faults::{FAULTS, Fault};
use crate::process::Worker;
use crate::proxy::Proxy;
use crate::queue::{ACK, LONG, fetch, join, push_numbered, texts, until_counts};
use crate::servers::{Cluster, Server};
use crate::service::{folder_of, push, serve, settings};
use crate::support::{default_queue, eventually, kiln, settings_at};

/// The same store, reached past the proxy or through it.
fn through(proxy: &Proxy, direct: &StoreSettings) -> StoreSettings {
    StoreSettings {
        url: proxy.url(),
        ..direct.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settlements_wait_for_a_redis_that_is_away() -> anyhow::Result<()> {
    let mut redis = Server::start(&[])?;
    let store = Store::open(&settings_at(&redis.url())).await?;
    push_numbered(&store, 40).await?;
    let consumer = join(&store, LONG).await?;
    let deliveries = fetch(&consumer, 40).await?;
    redis.kill();
    for (n, delivery) in deliveries.into_iter().enumerate() {
        let fate = match n % 4 {
            0 => ACK,
            1 => Settlement::Fail {
                entry: format!("[{n}]"),
            },
            2 => Settlement::Requeue,
            _ => Settlement::Retry {
                job: format!("[{n}]"),
                wait: Duration::ZERO,
            },
        };
        consumer.settle(delivery, fate).await;
    }
    redis.restart()?;
    until_counts(&store, (10, 10, 0)).await?;
    assert_eq!(store.failed_len().await?, 10);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_whose_answer_was_lost_is_carried_out_once() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let direct = settings_at(&redis.url());
    let proxy = Proxy::start(redis.port())?;
    let (store, outside) = (
        Store::open(&through(&proxy, &direct)).await?,
        Store::open(&direct).await?,
    );
    push_numbered(&outside, 3).await?;
    let consumer = join(&store, LONG).await?;
    // What is lost must not be the question whether the script is known.
    for delivery in fetch(&consumer, 1).await? {
        consumer.settle(delivery, ACK).await;
    }
    until_counts(&outside, (2, 0, 0)).await?;
    let mut deliveries = fetch(&consumer, 2).await?;
    for settlement in [
        Settlement::Fail { entry: "{}".to_owned() },
        Settlement::Retry {
            job: "{}".to_owned(),
            wait: Duration::ZERO,
        },
    ] {
        proxy.lose_replies();
        consumer.settle(deliveries.remove(0), settlement).await;
        eventually(
            "a lost reply",
            async || Ok((proxy.replies_to_lose() == 0).then_some(())),
        )
        .await?;
    }
    consumer.finish().await?;
    consumer.leave().await?;
    until_counts(&outside, (0, 1, 0)).await?;
    assert_eq!(outside.failed_len().await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_whose_answer_was_lost_keeps_the_order() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let direct = settings_at(&redis.url());
    let proxy = Proxy::start(redis.port())?;
    let store = Store::open(&through(&proxy, &direct)).await?;
    let consumer = join(&store, LONG).await?;
    assert!(fetch(&consumer, 1).await?.is_empty());
    let pushed = push_numbered(&Store::open(&direct).await?, 9).await?;
    proxy.lose_replies();
    fetch(&consumer, 5).await.expect_err("its answer was lost");
    assert_eq!(texts(&fetch(&consumer, 9).await?), pushed);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_counts_from_the_question_and_not_from_the_answer() -> anyhow::Result<()> {
    let (lease, way) = (Duration::from_secs(6), Duration::from_millis(500));
    let redis = Server::start(&[])?;
    let proxy = Proxy::start(redis.port())?;
    let store = Store::open(&through(&proxy, &settings_at(&redis.url()))).await?;
    push_numbered(&store, 2).await?;
    let (beating, other) = (join(&store, lease).await?, join(&store, lease).await?);
    let before = fetch(&beating, 1).await?.remove(0);
    proxy.delay(way);
    let asked = Instant::now();
    let (kept, answer) = tokio::join!(beating.heartbeat(), fetch(&other, 1));
    assert!(kept? == Heartbeat::Kept && asked.elapsed() >= 2 * way);
    for stop in [before.stop(), answer?[0].stop()] {
        eventually("the stop", async || Ok(stop.is_stopped().then_some(()))).await?;
        // A tenth before the end of the lease, and not as much later as the answer took.
        let stopped = asked.elapsed();
        assert!(stopped > lease / 2 && stopped < lease * 9 / 10 + way, "{stopped:?}");
    }
    Ok(())
}

/// How many scripts a server has run.
async fn scripts_run(redis: &Server) -> anyhow::Result<u64> {
    let stats: String = redis.tell(&["INFO", "commandstats"]).await?;
    let calls = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let calls = calls.and_then(|calls| calls.split(',').next());
    Ok(calls.context("a script was run")?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_comes_back_while_another_looks_is_left_alone() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let direct = settings_at(&redis.url());
    let proxy = Proxy::start(redis.port())?;
    let (store, outside) = (
        Store::open(&through(&proxy, &direct)).await?,
        Store::open(&direct).await?,
    );
    let queue = default_queue();
    let lapsed = async |host: &Consumer| {
        eventually("the end of its lease", async || {
            let left = outside.counts(&queue).await?.hosts[host.host()].lease_left_ms;
            Ok((left < 0).then_some(()))
        })
        .await
    };
    push_numbered(&outside, 2).await?;
    // Once this one is taken over from, the heir need not be patient.
    let dead = join(&outside, Duration::from_millis(100)).await?;
    let _lost = eventually("a job", async || Ok(fetch(&dead, 1).await?.pop())).await?;
    let heir = join(&store, Duration::from_secs(4)).await?;
    let _adopted = eventually("the dead host's job", async || {
        heir.heartbeat().await?;
        Ok(heir.adopt(&queue).await?.pop())
    })
    .await?;

    let back = join(&outside, Duration::from_secs(1)).await?;
    let held = eventually("a job", async || Ok(fetch(&back, 1).await?.pop())).await?;
    lapsed(&back).await?;
    heir.heartbeat().await?;
    proxy.delay(Duration::from_millis(500));
    let before = scripts_run(&redis).await?;
    let mut adopting = std::pin::pin!(heir.adopt(&queue));
    let adopted = loop {
        tokio::select! {
            adopted = &mut adopting => break adopted?,
            ran = scripts_run(&redis) => if ran? > before {
                // It has looked, and the answer is on its way.
                back.heartbeat().await?;
            }
        }
    };
    assert!(adopted.is_empty(), "{adopted:?}");
    let hosts = outside.counts(&queue).await?.hosts;
    assert_eq!(hosts[back.host()].in_flight, 1);
    drop(held);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_outlives_every_kind_of_outage() -> anyhow::Result<()> {
    let mut redis = Server::start(&["--maxclients", "40"])?;
    let direct = settings_at(&redis.url());
    let proxy = Proxy::start(redis.port())?;
    let (store, outside) = (
        Store::open(&through(&proxy, &direct)).await?,
        Store::open(&direct).await?,
    );
    let folder = folder_of(&[("nap", "")])?;
    let settings = ServiceSettings {
        burst: false,
        lease: Duration::from_secs(1),
        ..settings()
    };
    let (serving, stop) = serve(settings, &store, folder.path()).await?;
    for (n, fault) in FAULTS.into_iter().enumerate() {
        let ids: BTreeSet<String> = (0..40).map(|job| format!("{n}-{job}")).collect();
        let jobs: Vec<_> = ids
            .iter()
            .map(|id| format!(r#"{{"id":"{id}","name":"nap","payload":100}}"#))
            .collect();
        let jobs: Vec<_> = jobs.iter().map(String::as_str).collect();
        push(&outside, &jobs).await?;
        eventually("running jobs", async || {
            Ok((outside.counts(&default_queue()).await?.in_flight > 0).then_some(()))
        })
        .await?;
        let crowd = fault.begin(&mut redis, &proxy).await?;
        // How long the fault lasts, no wait for anything: enough for heartbeats to fail and a lease to end.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        drop(crowd);
        fault.end(&mut redis, &proxy).await?;
        // A full Redis takes no results, but all else.
        let kept = ids.iter().filter(|_| !matches!(fault, Fault::Full));
        eventually(&format!("every result after {fault:?}"), async || {
            for id in kept.clone() {
                // This connection, too, met the fault.
                if outside.result(id).await.ok().flatten().is_none() {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
        .await?;
        until_counts(&outside, (0, 0, 0))
            .await
            .with_context(|| format!("after {fault:?}"))?;
    }
    stop.cancel();
    assert_eq!(serving.await??, Drained::Clean);
    assert_eq!(outside.failed_len().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_cannot_be_counted_hides_no_other() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let _: u64 = redis.tell(&["RPUSH", "queue:queues:good", "{}"]).await?;
    let _: () = redis.tell(&["SET", "queue:queues:odd", "wrong"]).await?;
    let said = |args: &[&str]| -> anyhow::Result<(Option<i32>, String)> {
        let output = kiln()
            .arg("queues")
            .args(args)
            .args(["--store", &redis.url()])
            .output()?;
        Ok((output.status.code(), String::from_utf8(output.stdout)?))
    };
    let (code, table) = said(&[])?;
    let line = |queue: &str| table.lines().find(|line| line.starts_with(queue)).unwrap_or_default();
    assert!(
        line("good").contains(" 1 ") && line("odd").contains("cannot be counted: "),
        "{table}"
    );
    let (json_code, json) = said(&["--json"])?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(json["queues"]["good"]["ready"], 1);
    assert!(
        json["queues"]["odd"]["error"]
            .as_str()
            .is_some_and(|why| why.contains("WRONGTYPE")),
        "{json}"
    );
    assert_eq!((code, json_code), (Some(3), Some(3)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_no_jobs_is_named_so() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let said = || -> anyhow::Result<(Option<i32>, String)> {
        let output = kiln().args(["queues", "--store", &redis.url()]).output()?;
        Ok((output.status.code(), String::from_utf8(output.stdout)?))
    };
    assert_eq!(said()?.0, Some(0));
    redis.tell::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    let (code, text) = said()?;
    assert!(
        code == Some(3) && text.contains("the store cannot be used: it is out of memory"),
        "{text}"
    );
    redis.tell::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await?;
    redis.tell::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await?;
    let (code, text) = said()?;
    assert!(
        code == Some(3) && text.contains("it is a replica and takes no writes"),
        "{text}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_says_little_of_an_outage_however_much_it_has_in_hand() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&[]).await?;
    let settings = settings_at(&cluster.url());
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("nap", "")])?;
    let jobs: Vec<_> = (0..2_000)
        .map(|n| format!(r#"{{"id":"{n}","name":"nap","payload":50}}"#))
        .collect();
    push(&store, &jobs.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let worker = Worker::start(&settings, folder.path(), &["--lease", "2s", "--concurrency", "64"])?;
    worker.until_said("worker started").await?;
    eventually("jobs under way", async || {
        Ok((store.counts(&default_queue()).await?.in_flight > 32).then_some(()))
    })
    .await?;
    let before = worker.lines().len();
    cluster.nodes.iter_mut().for_each(Server::kill);
    worker.until_said("the store cannot be used").await?;
    // How long the outage lasts, no wait for anything.
    tokio::time::sleep(Duration::from_secs(4)).await;
    for node in &mut cluster.nodes {
        node.restart()?;
    }
    worker.until_said("the store can be used again").await?;
    let said = worker.lines().split_off(before);
    assert!(said.len() < 16, "{} lines:\n{}", said.len(), said.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_takes_over_a_job_whose_settlement_is_never_taken_goes_on() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let settings = settings_at(&redis.url());
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("echo", ""), ("trap", "")])?;
    let filler = "x".repeat(2 * 1024 * 1024);
    push(
        &store,
        &[&format!(
            r#"{{"id":"large","name":"trap","max_attempts":1,"payload":["{filler}"]}}"#
        )],
    )
    .await?;
    // It closes the connection without a word.
    let limit = ["CONFIG", "SET", "client-query-buffer-limit", "1mb"];
    let _: () = redis.tell(&limit).await?;
    let first = Worker::start(&settings, folder.path(), &["--lease", "2s"])?;
    first.until_said("the store refuses settlements").await?;
    drop(first);
    let mut second = Worker::start(&settings, folder.path(), &["--lease", "2s"])?;
    second.until_said("took over from a host that died").await?;
    push(&store, &[r#"{"id":"small","name":"echo","payload":1}"#]).await?;
    eventually("the small one's result", async || Ok(store.result("small").await?)).await?;
    until_counts(&store, (0, 0, 0)).await?;
    let entries = store.failed(0, 10).await?;
    assert!(entries.len() == 1 && entries[0].bytes().len() < 2 * KEPT_BYTES);
    assert_eq!(&*entries[0].job().expect("a job").id, "large");
    second.signal("-TERM")?;
    assert_eq!(second.exit_code()?, Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_does_not_serve_every_slot_is_named_so() -> anyhow::Result<()> {
    let redis = Server::start(&["--cluster-enabled", "yes"])?;
    redis.tell::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16000"]).await?;
    let url = format!("redis+cluster://127.0.0.1:{}", redis.port());
    let output = kiln().args(["queues", "--store", &url]).output()?;
    let said = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    assert!(
        output.status.code() == Some(3) && said.contains("not every slot is served"),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_takes_longer_than_an_answer_may_comes_and_is_settled_all_the_same() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let direct = settings_at(&redis.url());
    let proxy = Proxy::start(redis.port())?;
    let mut slow = through(&proxy, &direct);
    slow.connection.read_timeout = Duration::from_secs(1);
    let store = Store::open(&slow).await?;
    let folder = folder_of(&[("echo", ""), ("trap", "")])?;
    let filler = "x".repeat(2 * 1024 * 1024);
    let large = format!(r#"{{"id":"large","name":"trap","max_attempts":1,"payload":["{filler}"]}}"#);
    // 64 KiB in 50 ms: nearly two seconds for the job, and for its failed entry.
    proxy.delay(Duration::from_millis(50));
    let slow_service = ServiceSettings {
        burst: false,
        ..settings()
    };
    let (serving, stop) = serve(slow_service, &store, folder.path()).await?;
    let outside = Store::open(&direct).await?;
    push(&outside, &[&large, r#"{"id":"small","name":"echo","payload":1}"#]).await?;
    eventually("the next job's result", async || Ok(outside.result("small").await?)).await?;
    eventually("the job's end", async || {
        Ok(outside.counts(&default_queue()).await?.is_empty().then_some(()))
    })
    .await?;
    let entry = outside.failed(0, 1).await?.remove(0);
    assert_eq!(entry.job().expect("a job").payload.get().len(), filler.len() + 4);
    stop.cancel();
    assert_eq!(serving.await??, Drained::Clean);
    Ok(())
}
