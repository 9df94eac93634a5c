//! Large jobs: how many a host has in hand, and that they keep no other queue waiting, nor a lease.

use std::num::NonZeroU32;
use std::pin::pin;
use std::time::Duration;

use kiln::outcome::Settlement;
use kiln::queue::{Arrival, Consumer, Heartbeat, Push, QueueName, Store, StoreSettings};
use kiln::service::{Drained, ServiceSettings};

use crate::proxy::Proxy;
use crate::queue::{fetch, join, ready, until_counts};
use crate::servers::Server;
use crate::service::{folder_of, memory, push, serve, settings};
use crate::support::{default_queue, eventually, redis_settings, settings_at};

/// A store that has time for what is large, however busy the machine.
fn patient(mut settings: StoreSettings) -> StoreSettings {
    settings.connection.read_timeout = Duration::from_mins(1);
    settings.connection.write_timeout = Duration::from_mins(1);
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_takes_no_more_large_jobs_than_its_memory_for_jobs_holds_and_small_ones_pass_them_by()
-> anyhow::Result<()> {
    const MIB: usize = 1024 * 1024;
    let folder = folder_of(&[("patient", ""), ("echo", "")])?;
    let store = Store::open(&patient(redis_settings())).await?;
    let large = format!(r#"{{"name":"patient","x":"{}"}}"#, "x".repeat(11 * MIB));
    push(&store, &[&large, &large, &large, &large]).await?;
    let settings = ServiceSettings {
        burst: false,
        job_memory_bytes: 48 * MIB as u64,
        ..settings()
    };
    let (serving, stop) = serve(settings, &store, folder.path()).await?;
    eventually("two jobs in hand", async || {
        let counts = store.counts(&default_queue()).await?;
        assert!(counts.in_flight <= 2, "{counts:?}");
        Ok((counts.in_flight == 2).then_some(()))
    })
    .await?;
    for id in ["a", "b"] {
        push(&store, &[&format!(r#"{{"id":"{id}","name":"echo","payload":1}}"#)]).await?;
        eventually("its result", async || Ok(store.result(id).await?)).await?;
    }
    let counts = store.counts(&default_queue()).await?;
    assert_eq!((counts.in_flight, counts.ready, counts.waiting), (2, 0, 2));
    stop.cancel();
    serving.await??;
    let counts = store.counts(&default_queue()).await?;
    assert_eq!((counts.ready, counts.waiting), (2, 2), "those in hand have gone back");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn large_jobs_wait_for_room_in_their_order_and_none_is_left_over() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "concurrency = 1"), ("echo", "")])?;
    for store in [
        Store::open(&memory()).await?,
        Store::open(&patient(redis_settings())).await?,
    ] {
        for n in 0..12 {
            let (name, x) = if n % 3 == 0 {
                ("echo", String::new())
            } else {
                ("ok", "x".repeat(11 * 1024 * 1024))
            };
            push(
                &store,
                &[&format!(r#"{{"id":"{n}","name":"{name}","payload":1,"x":"{x}"}}"#)],
            )
            .await?;
        }
        let settings = ServiceSettings {
            job_memory_bytes: 32 * 1024 * 1024,
            ..settings()
        };
        let (serving, _stop) = serve(settings, &store, folder.path()).await?;
        assert_eq!(serving.await??, Drained::Clean);
        for n in 0..12 {
            assert!(store.result(&n.to_string()).await?.is_some(), "{n}");
        }
        assert_eq!(store.failed_len().await?, 0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn large_jobs_that_take_long_keep_no_other_queue_waiting() -> anyhow::Result<()> {
    let folder = folder_of(&[("patient", ""), ("echo", "")])?;
    let store = Store::open(&patient(redis_settings())).await?;
    let large = format!(r#"{{"name":"patient","x":"{}"}}"#, "x".repeat(11 * 1024 * 1024));
    push(&store, &[&large, &large, &large]).await?;
    let other = QueueName::new("other").unwrap();
    let settings = ServiceSettings {
        queues: vec![(default_queue(), NonZeroU32::MIN), (other.clone(), NonZeroU32::MIN)],
        burst: false,
        job_memory_bytes: 64 * 1024 * 1024,
        ..settings()
    };
    let (serving, stop) = serve(settings, &store, folder.path()).await?;
    eventually("that one queue has no more room", async || {
        let counts = store.counts(&default_queue()).await?;
        Ok((counts.in_flight == 1).then_some(()))
    })
    .await?;
    for id in ["a", "b"] {
        let job = format!(r#"{{"id":"{id}","name":"echo","payload":1}}"#);
        let queue = other.clone();
        store
            .push(&[Push {
                queue,
                job,
                due_ms: None,
            }])
            .await?;
        eventually("its result", async || Ok(store.result(id).await?)).await?;
    }
    let counts = store.counts(&default_queue()).await?;
    assert_eq!(
        (counts.in_flight, counts.waiting),
        (1, 2),
        "they still take all of their room"
    );
    stop.cancel();
    serving.await??;
    Ok(())
}

/// Carries something out, and puts the lease off all the time meanwhile.
async fn beating<T>(consumer: &Consumer, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            beat = consumer.heartbeat() => assert_eq!(beat?, Heartbeat::Kept),
        }
    }
}

/// Reads a large job, then writes its failed entry, which is larger. Either takes many seconds over the proxy, and keeps
/// the only connection for commands busy.
async fn keeps_its_lease(direct: &StoreSettings, through: &str, proxy: &Proxy) -> anyhow::Result<()> {
    let mut slow = StoreSettings {
        url: through.to_owned(),
        ..direct.clone()
    };
    slow.connection.pool_size = 1;
    let outside = Store::open(direct).await?;
    let consumer = join(&Store::open(&slow).await?, Duration::from_secs(8)).await?;
    outside.push(&[ready(&format!("{:?}", "x".repeat(30_000_000)))]).await?;
    // For each 64 KiB. A lease is to be renewed within two seconds.
    proxy.delay(Duration::from_millis(10));
    let mut delivery = beating(&consumer, async { Ok(fetch(&consumer, 1).await?.remove(0)) }).await?;
    let arrival = beating(&consumer, async { Ok(consumer.complete(&mut delivery).await) }).await?;
    assert!(matches!(arrival, Arrival::Whole), "{arrival:?}");
    let entry = "x".repeat(48 * 1024 * 1024);
    consumer.settle(delivery, Settlement::Fail { entry }).await;
    beating(&consumer, until_counts(&outside, (0, 0, 0))).await?;
    assert_eq!(outside.failed_len().await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_kept_while_the_other_connections_are_busy_with_what_is_large() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let proxy = Proxy::start(redis.port())?;
    keeps_its_lease(&patient(settings_at(&redis.url())), &proxy.url(), &proxy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_kept_in_a_cluster_as_well() -> anyhow::Result<()> {
    let node = Server::start(&["--cluster-enabled", "yes"])?;
    let proxy = Proxy::start(node.port())?;
    let port = proxy.url().rsplit(':').next().expect("a port").to_owned();
    // Clients are sent to the proxy.
    node.tell::<()>(&["CONFIG", "SET", "cluster-announce-port", &port])
        .await?;
    node.tell::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await?;
    let direct = patient(settings_at(&proxy.url().replace("redis:", "redis+cluster:")));
    eventually("a cluster", async || {
        let info: String = node.tell(&["CLUSTER", "INFO"]).await?;
        Ok(info.contains("cluster_state:ok").then_some(()))
    })
    .await?;
    keeps_its_lease(&direct, &direct.url, &proxy).await
}
