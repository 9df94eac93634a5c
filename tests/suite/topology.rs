//! Redis behind Sentinels, as a Cluster, over TLS and behind an ACL.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use kiln::outcome::{Lane, Settlement};
use kiln::queue::{ConnectionSettings, Heartbeat, LaneWish, QueueName, Search, Store, StoreSettings};
use kiln::service::{Drained, ServiceSettings};

use crate::queue::{ACK, LONG, fetch, join, push_numbered, texts, until_counts};
use crate::servers::{Cluster, Passwords, Sentinels, Server, Tls};
use crate::service::{folder_of, push, serve, settings};
use crate::support::{default_queue, eventually, kiln, settings_at};

/// The Cluster that this test run's tests share; nothing befalls it.
pub(crate) fn shared_cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let starting = std::thread::spawn(|| {
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(async {
                let cluster = Cluster::start(&[]).await?;
                cluster.keep_masters().await?;
                anyhow::Ok(cluster)
            })
        });
        starting.join().expect("no panic").expect("a Cluster")
    })
}

/// Settings for a store on it whose keys are in several slots.
pub(crate) fn cluster_settings() -> StoreSettings {
    settings_at(&shared_cluster().url())
}

/// Settings for a store on it whose keys are in one slot.
pub(crate) fn tagged_cluster_settings() -> StoreSettings {
    let settings = cluster_settings();
    StoreSettings {
        prefix: format!("{{{}}}", settings.prefix),
        ..settings
    }
}

fn service() -> ServiceSettings {
    ServiceSettings {
        burst: false,
        lease: Duration::from_secs(2),
        ..settings()
    }
}

/// Pushes jobs with these ids, one after the other, trying again while the store is away.
async fn push_surely(store: &Store, ids: impl Iterator<Item = String>) -> anyhow::Result<BTreeSet<String>> {
    let mut pushed = BTreeSet::new();
    for id in ids {
        let job = format!(r#"{{"id":"{id}","name":"echo","payload":"{id}"}}"#);
        eventually("a push", async || Ok(push(store, &[&job]).await.ok())).await?;
        pushed.insert(id);
    }
    Ok(pushed)
}

async fn until_results(store: &Store, ids: &BTreeSet<String>) -> anyhow::Result<()> {
    for id in ids {
        eventually(&format!("the result of {id}"), async || {
            Ok(store.result(id).await.ok().flatten())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_follows_the_master_that_its_sentinels_name() -> anyhow::Result<()> {
    let passwords = Passwords {
        node: Some("of-redis"),
        sentinel: Some("of-sentinel"),
    };
    let mut sentinels = Sentinels::start(passwords).await?;
    let mut settings = settings_at(&sentinels.url());
    settings.connection.password = Some("of-redis".to_owned());
    settings.connection.sentinel_password = Some("of-sentinel".to_owned());
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("echo", "")])?;
    let (serving, stop) = serve(service(), &store, folder.path()).await?;
    let mut ids = push_surely(&store, (0..200).map(|n| n.to_string())).await?;
    until_results(&store, &ids).await?;
    let old = sentinels.kill_master().await?;
    ids = push_surely(&store, (200..400).map(|n| n.to_string())).await?;
    sentinels.until_failed_over(old).await?;
    ids.extend(push_surely(&store, (400..600).map(|n| n.to_string())).await?);
    until_results(&store, &ids).await?;
    until_counts(&store, (0, 0, 0)).await?;
    stop.cancel();
    assert_eq!(serving.await??, Drained::Clean);
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_outlives_a_failover_and_a_migration_in_its_cluster() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&[]).await?;
    for tagged in [false, true] {
        let settings = settings_at(&cluster.url());
        let prefix = if tagged {
            format!("{{{}}}", settings.prefix)
        } else {
            settings.prefix
        };
        let settings = StoreSettings {
            prefix,
            ..settings_at(&cluster.url())
        };
        let ready = format!("{}:queues:default", settings.prefix);
        let store = Store::open(&settings).await?;
        let folder = folder_of(&[
            ("echo", ""),
            ("retry", "retry = { policy = \"fixed\", base = \"50ms\" }"),
        ])?;
        let (serving, stop) = serve(service(), &store, folder.path()).await?;
        let mut ids = push_surely(&store, (0..100).map(|n| n.to_string())).await?;
        until_results(&store, &ids).await?;

        let moved = async { cluster.move_slot_of(&ready).await };
        let pushed = push_surely(&store, (100..500).map(|n| n.to_string()));
        let (moved, pushed) = tokio::join!(moved, pushed);
        moved?;
        ids.extend(pushed?);
        until_results(&store, &ids).await?;

        let old = cluster.kill_master_of(&ready).await?;
        cluster.until_failed_over(&ready, old).await?;
        let more = push_surely(&store, (500..700).map(|n| n.to_string())).await?;
        until_results(&store, &more).await?;
        push(&store, &[r#"{"id":"r","name":"retry"}"#]).await?;
        eventually("a failed job", async || {
            Ok((store.failed_len().await? == 1).then_some(()))
        })
        .await?;
        until_counts(&store, (0, 0, 0)).await?;
        stop.cancel();
        assert_eq!(serving.await??, Drained::Clean);
        cluster.node(old)?.restart()?;
        cluster.node(old)?.until_synced().await?;
    }
    Ok(())
}

/// In such a slot a key that has lost its last value cannot get a new one, within one script neither.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_in_a_slot_that_is_moving_away() -> anyhow::Result<()> {
    let cluster = Cluster::start(&[]).await?;
    let settings = settings_at(&cluster.url());
    let store = Store::open(&settings).await?;
    let consumer = join(&store, LONG).await?;
    push_numbered(&store, 1).await?;
    let held = fetch(&consumer, 1).await?;
    // One alone: to fetch it empties the list.
    let pushed = push_numbered(&store, 1).await?;

    let moving = cluster
        .begin_to_move(&format!("{}:queues:default", settings.prefix))
        .await?;
    // Whether they come now or not is the same; they must not go.
    let mut fetched = fetch(&consumer, 10).await.unwrap_or_default();
    let kept = consumer.heartbeat().await;
    cluster.give_up_move(moving).await?;

    assert!(matches!(kept, Ok(Heartbeat::Kept)), "{kept:?}");
    fetched.extend(fetch(&consumer, 10).await?);
    assert_eq!(texts(&fetched), pushed);
    assert!(consumer.heartbeat().await? == Heartbeat::Kept);
    drop(held);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_goes_back_is_lost_in_a_slot_that_is_moving_away() -> anyhow::Result<()> {
    let cluster = Cluster::start(&[]).await?;
    let settings = settings_at(&cluster.url());
    let store = Store::open(&settings).await?;
    let consumer = join(&store, LONG).await?;
    let pushed = push_numbered(&store, 4).await?;
    let held = fetch(&consumer, 3).await?;

    let moving = cluster
        .begin_to_move(&format!("{}:queues:default", settings.prefix))
        .await?;
    drop(held);
    // Whether they go back now or later is the same.
    let _ = consumer.tidy().await;
    cluster.give_up_move(moving).await?;

    assert_eq!(texts(&fetch(&consumer, 10).await?), pushed);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_waits_is_lost_in_a_slot_that_is_moving_away() -> anyhow::Result<()> {
    let cluster = Cluster::start(&[]).await?;
    let settings = settings_at(&cluster.url());
    let store = Store::open(&settings).await?;
    let consumer = join(&store, LONG).await?;
    let pushed = push_numbered(&store, 4).await?;
    let lane = Lane::of_plugin("slow");
    let wait = || Settlement::Wait { lane: lane.clone() };
    let wish = LaneWish {
        lane: lane.clone(),
        jobs: 9,
    };
    let until_waiting = async |jobs| {
        eventually("waiting jobs", async || {
            Ok((store.counts(&default_queue()).await?.waiting == jobs).then_some(()))
        })
        .await
    };
    let take = async || {
        consumer
            .fetch_from(&default_queue(), 9, std::slice::from_ref(&wish), None)
            .await
    };
    let mut held = fetch(&consumer, 4).await?;
    let last = held.split_off(3);
    // A lane without a value that something goes to, and one that loses its last.
    for other in [true, false] {
        let moving = cluster
            .begin_to_move(&format!("{}:queues:default", settings.prefix))
            .await?;
        if other {
            for delivery in held.drain(..) {
                consumer.settle(delivery, wait()).await;
            }
        } else {
            // Whether they come now or not is the same.
            held.extend(take().await.unwrap_or_default());
        }
        cluster.give_up_move(moving).await?;
        if other {
            until_waiting(3).await?;
        }
    }
    held.extend(take().await?);
    let mut texts = texts(&held);
    texts.sort();
    assert_eq!(texts, pushed[..3]);
    drop(last);
    Ok(())
}

/// The client knows where slots were when it last looked, and here it does not ask again by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_whose_slot_has_moved_is_kept_before_its_job_is_acknowledged() -> anyhow::Result<()> {
    let cluster = Cluster::start(&[]).await?;
    let mut settings = settings_at(&cluster.url());
    settings.connection.retries = 0;
    let store = Store::open(&settings).await?;
    let consumer = join(&store, LONG).await?;
    push_numbered(&store, 1).await?;
    let delivery = fetch(&consumer, 1).await?.remove(0);
    cluster.move_slot_of(&format!("{}:results:0", settings.prefix)).await?;
    let result = Some(("0".to_owned(), "1".to_owned()));
    consumer.settle(delivery, Settlement::Ack { result }).await;
    until_counts(&store, (0, 0, 0)).await?;
    assert_eq!(store.result("0").await?.as_deref(), Some("1"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_queues_of_a_cluster_are_found() -> anyhow::Result<()> {
    let store = Store::open(&cluster_settings()).await?;
    let mut names: Vec<_> = (0..30).map(|n| QueueName::new(&format!("q{n}")).unwrap()).collect();
    for queue in &names {
        let job = kiln::queue::Push {
            queue: queue.clone(),
            job: "{}".to_owned(),
            due_ms: None,
        };
        store.push(&[job]).await?;
    }
    names.sort();
    assert_eq!(store.queues(Search::Brief).await?.queues, names);
    assert_eq!(store.trouble().await?, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_queues_take_no_more_connections_than_one() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let store = Store::open(&settings_at(&redis.url())).await?;
    let folder = folder_of(&[("echo", "")])?;
    let queues: Vec<_> = (0..50).map(|n| QueueName::new(&format!("q{n}")).unwrap()).collect();
    let settings = ServiceSettings {
        queues: queues.iter().map(|queue| (queue.clone(), NonZeroU32::MIN)).collect(),
        ..service()
    };
    let (serving, stop) = serve(settings, &store, folder.path()).await?;
    for (n, queue) in queues.iter().enumerate() {
        let job = format!(r#"{{"id":"{n}","name":"echo","payload":{n}}}"#);
        let job = kiln::queue::Push {
            queue: queue.clone(),
            job,
            due_ms: None,
        };
        store.push(&[job]).await?;
        eventually("a result", async || Ok(store.result(&n.to_string()).await?)).await?;
    }
    let clients: String = redis.tell(&["CLIENT", "LIST", "TYPE", "NORMAL"]).await?;
    // Four for commands, one for leases, one to hear of new jobs, and the one that asks.
    assert!(clients.lines().count() <= 7, "{clients}");
    stop.cancel();
    assert_eq!(serving.await??, Drained::Clean);
    Ok(())
}

fn with_tls(url: &str, change: impl Fn(&mut ConnectionSettings)) -> StoreSettings {
    let mut settings = settings_at(url);
    change(&mut settings.connection);
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_over_tls_shows_and_asks_for_certificates() -> anyhow::Result<()> {
    let (tls, stranger) = (Tls::new()?, Tls::new()?);
    let redis = tls.start(true, &[])?;
    let trusting = |ca: &Path| {
        let ca = ca.to_owned();
        move |connection: &mut ConnectionSettings| connection.tls_ca = Some(ca.clone())
    };
    let store = Store::open(&with_tls(&redis.url(), |connection| {
        trusting(&tls.authority())(connection);
        connection.tls_cert = Some(tls.client_certificate());
        connection.tls_key = Some(tls.client_key());
    }))
    .await?;
    push_numbered(&store, 1).await?;
    let consumer = join(&store, LONG).await?;
    // The connection that hears of new jobs is another one.
    consumer.wait_ready().await?;
    for delivery in fetch(&consumer, 1).await? {
        consumer.settle(delivery, ACK).await;
    }
    until_counts(&store, (0, 0, 0)).await?;
    let refused = async |settings: StoreSettings| Store::open(&settings).await.expect_err("refused").to_string();
    let unknown = refused(with_tls(&redis.url(), trusting(&stranger.authority()))).await;
    assert!(unknown.contains("certificate"), "{unknown}");
    let nameless = refused(with_tls(&redis.url(), trusting(&tls.authority()))).await;
    assert!(
        nameless.contains("refuses") || nameless.contains("no redis"),
        "{nameless}"
    );
    let plain = refused(with_tls("redis://127.0.0.1:1", trusting(&tls.authority()))).await;
    assert!(plain.contains("write rediss://"), "{plain}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_no_more_than_the_prefix_and_no_dangerous_commands_will_do() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let mut settings = settings_at(&redis.url());
    let (plain, wrapped) = (format!("~{}:*", settings.prefix), format!("~{{{}:*", settings.prefix));
    let rules = ["on", ">secret", &plain, &wrapped, "+@all", "-@admin", "-@dangerous"];
    redis.set_user("kiln", &rules).await?;
    settings.connection.user = Some("kiln".to_owned());
    settings.connection.password = Some("wrong".to_owned());
    let refused = Store::open(&settings)
        .await
        .expect_err("the wrong password")
        .to_string();
    assert!(refused.contains("refuses") && !refused.contains("wrong"), "{refused}");
    let run = |args: &[&str]| {
        let mut command = kiln();
        command
            .args(args)
            .args(["--store", &settings.url, "--prefix", &settings.prefix]);
        command
            .args(["--store-user", "kiln"])
            .env("KILN_STORE_PASSWORD", "secret");
        command
    };
    let folder = folder_of(&[("echo", ""), ("permanent", "")])?;
    let plugins = folder.path().to_str().unwrap();
    assert!(run(&["push", "echo", "1", "--id", "a"]).output()?.status.success());
    assert!(run(&["push", "permanent", "1"]).output()?.status.success());
    assert!(
        run(&["worker", "--burst", "--plugins", plugins])
            .output()?
            .status
            .success()
    );
    let queues = run(&["queues"]).output()?;
    assert!(queues.status.success(), "{}", String::from_utf8_lossy(&queues.stderr));
    settings.connection.password = Some("secret".to_owned());
    let store = Store::open(&settings).await?;
    assert_eq!(store.result("a").await?.as_deref(), Some("1"));
    assert_eq!(store.failed_len().await?, 1);
    assert_eq!(store.counts(&default_queue()).await?.ready, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_tell_of_new_jobs_is_asked() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let mut settings = settings_at(&redis.url());
    redis
        .set_user("kiln", &["on", ">secret", "~*", "+@all", "-client|tracking"])
        .await?;
    settings.connection.user = Some("kiln".to_owned());
    settings.connection.password = Some("secret".to_owned());
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("echo", "")])?;
    let (serving, stop) = serve(service(), &store, folder.path()).await?;
    // Twenty in a row, each pushed when the one before is done: a look every few seconds would take longer than this.
    let in_a_row = async {
        for n in 0..20 {
            let ids = push_surely(&store, std::iter::once(n.to_string())).await?;
            until_results(&store, &ids).await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(40), in_a_row).await??;
    stop.cancel();
    assert_eq!(serving.await??, Drained::Clean);
    Ok(())
}
