//! What may not start now waits in a lane: outside of every host, in its order, at no cost to anybody else.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use kiln::config::Unknown;
use kiln::outcome::{Lane, Settlement};
use kiln::plugins::Watching;
use kiln::queue::{Consumer, Delivery, LaneWish, Store};
use kiln::service::{Drained, ServiceSettings};

use crate::guests::guest;
use crate::leases::adopt;
use crate::process::Worker;
use crate::queue::{ACK, LONG, fetch, join, push_numbered, texts};
use crate::servers::Server;
use crate::service::{folder_of, push, serve, settings};
use crate::support::{default_queue, eventually, redis_settings, settings_at};

on_every_store! {
    what_waits_is_in_its_lane_in_its_order_and_burns_nothing
    a_lane_gives_no_more_than_it_is_asked_for
    what_another_host_left_waiting_is_heard_of_at_once
    only_whoever_holds_a_job_can_leave_it_waiting
    what_was_taken_from_a_lane_and_dropped_is_ready_again
    lanes_have_no_part_in_what_has_none
}

/// Less than a look lasts where nothing is told.
const AT_ONCE: Duration = Duration::from_secs(3);

fn lane() -> Lane {
    Lane::of_plugin("slow")
}

fn wait() -> Settlement {
    Settlement::Wait { lane: lane() }
}

async fn waiting(store: &Store) -> anyhow::Result<u64> {
    Ok(store.counts(&default_queue()).await?.waiting)
}

async fn until_waiting(store: &Store, jobs: u64) -> anyhow::Result<()> {
    eventually(&format!("{jobs} waiting jobs"), async || {
        Ok((waiting(store).await? == jobs).then_some(()))
    })
    .await
}

/// Fetches up to so many jobs, up to so many of them from the lane.
async fn take(consumer: &Consumer, jobs: usize, of_lane: usize) -> anyhow::Result<Vec<Delivery>> {
    let wish = LaneWish {
        lane: lane(),
        jobs: of_lane,
    };
    Ok(consumer.fetch_from(&default_queue(), jobs, &[wish], None).await?)
}

async fn what_waits_is_in_its_lane_in_its_order_and_burns_nothing(store: Store) -> anyhow::Result<()> {
    let pushed = push_numbered(&store, 5).await?;
    let consumer = join(&store, LONG).await?;
    for delivery in fetch(&consumer, 4).await? {
        consumer.settle(delivery, wait()).await;
    }
    until_waiting(&store, 4).await?;
    let counts = store.counts(&default_queue()).await?;
    assert_eq!((counts.ready, counts.in_flight, counts.is_empty()), (1, 0, false));
    assert_eq!(counts.lanes.get(&lane().to_string()), Some(&4));
    let taken = take(&consumer, 10, 10).await?;
    assert_eq!(texts(&taken), pushed, "byte for byte");
    let from: Vec<_> = taken.iter().map(Delivery::lane).collect();
    let lane = lane();
    assert_eq!(from, [Some(&lane), Some(&lane), Some(&lane), Some(&lane), None]);
    for delivery in taken {
        consumer.settle(delivery, ACK).await;
    }
    until_waiting(&store, 0).await
}

async fn a_lane_gives_no_more_than_it_is_asked_for(store: Store) -> anyhow::Result<()> {
    let pushed = push_numbered(&store, 6).await?;
    let consumer = join(&store, LONG).await?;
    for delivery in fetch(&consumer, 4).await? {
        consumer.settle(delivery, wait()).await;
    }
    until_waiting(&store, 4).await?;
    let taken = take(&consumer, 3, 1).await?;
    assert_eq!(texts(&taken), [&pushed[0], &pushed[4], &pushed[5]].map(String::clone));
    assert_eq!(waiting(&store).await?, 3);
    assert_eq!(take(&consumer, 3, 0).await?.len(), 0, "it was asked for none");
    assert_eq!(texts(&take(&consumer, 2, 9).await?), pushed[1..3]);
    assert_eq!(waiting(&store).await?, 1);
    Ok(())
}

/// Looks at the lanes until those that hold jobs are these, and no longer than a look takes that is told of a change.
async fn until_known(host: &Consumer, lanes: &[Lane]) -> anyhow::Result<()> {
    let looking = async {
        while host.lanes(&default_queue()) != lanes {
            host.look_at_lanes().await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(AT_ONCE, looking).await?
}

async fn what_another_host_left_waiting_is_heard_of_at_once(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 2).await?;
    let (one, other) = (join(&store, LONG).await?, join(&store, LONG).await?);
    other.look_at_lanes().await?;
    let leaves = async {
        for delivery in fetch(&one, 2).await? {
            one.settle(delivery, wait()).await;
        }
        assert!(one.holds(&default_queue(), &lane()), "its own it knows at once");
        anyhow::Ok(())
    };
    let lanes = [lane()];
    let (heard, left) = tokio::join!(until_known(&other, &lanes), leaves);
    left.and(heard)?;
    until_waiting(&store, 2).await?;
    assert_eq!(take(&other, 9, 9).await?.len(), 2);
    assert!(!other.any_waits(), "it has emptied it");
    until_known(&one, &[]).await
}

async fn only_whoever_holds_a_job_can_leave_it_waiting(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 1).await?;
    let paused = join(&store, Duration::from_millis(50)).await?;
    let stale = eventually("a job", async || Ok(fetch(&paused, 1).await?.pop())).await?;
    let heir = join(&store, Duration::from_secs(1)).await?;
    let adopted = eventually("an adopted job", async || Ok(adopt(&heir).await?.pop())).await?;
    paused.settle(stale, wait()).await;
    paused.finish().await?;
    paused.leave().await?;
    assert_eq!(waiting(&store).await?, 0);
    heir.settle(adopted, wait()).await;
    until_waiting(&store, 1).await
}

async fn what_was_taken_from_a_lane_and_dropped_is_ready_again(store: Store) -> anyhow::Result<()> {
    let pushed = push_numbered(&store, 1).await?;
    let consumer = join(&store, LONG).await?;
    for delivery in fetch(&consumer, 1).await? {
        consumer.settle(delivery, wait()).await;
    }
    until_waiting(&store, 1).await?;
    drop(take(&consumer, 1, 1).await?);
    assert_eq!(texts(&fetch(&consumer, 1).await?), pushed);
    Ok(())
}

async fn lanes_have_no_part_in_what_has_none(store: Store) -> anyhow::Result<()> {
    let pushed = push_numbered(&store, 2).await?;
    let consumer = join(&store, LONG).await?;
    let taken = take(&consumer, 9, 9).await?;
    assert_eq!(texts(&taken), pushed);
    assert!(taken.iter().all(|delivery| delivery.lane().is_none()) && !consumer.any_waits());
    assert!(store.counts(&default_queue()).await?.lanes.is_empty());
    Ok(())
}

/// Settings for a service that goes on until it is stopped, with so many attempts at once.
fn service(concurrency: u32) -> ServiceSettings {
    ServiceSettings {
        burst: false,
        concurrency: NonZeroU32::new(concurrency).unwrap(),
        lease: Duration::from_secs(2),
        ..settings()
    }
}

fn naps(ids: std::ops::Range<usize>, ms: u64) -> Vec<String> {
    ids.map(|n| format!(r#"{{"id":"nap-{n}","name":"nap","payload":{ms}}}"#))
        .collect()
}

async fn push_all(store: &Store, jobs: &[String]) -> anyhow::Result<()> {
    push(store, &jobs.iter().map(String::as_str).collect::<Vec<_>>()).await
}

async fn until_result(store: &Store, id: &str) -> anyhow::Result<()> {
    eventually(&format!("the result of {id}"), async || Ok(store.result(id).await?)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_at_its_concurrency_keeps_no_other_waiting() -> anyhow::Result<()> {
    let folder = folder_of(&[("nap", "concurrency = 1\ntimeout = \"1h\""), ("echo", "")])?;
    for settings in [redis_settings(), kiln::queue::StoreSettings::new("memory:")] {
        let store = Store::open(&settings).await?;
        push_all(&store, &naps(0..1_000, 3_600_000)).await?;
        let others: Vec<_> = (0..100)
            .map(|n| format!(r#"{{"id":"{n}","name":"echo","payload":{n}}}"#))
            .collect();
        push_all(&store, &others).await?;
        let (serving, stop) = serve(
            ServiceSettings {
                grace: Duration::ZERO,
                ..service(2)
            },
            &store,
            folder.path(),
        )
        .await?;
        for n in 0..100 {
            until_result(&store, &n.to_string()).await?;
        }
        until_waiting(&store, 999).await?;
        let counts = store.counts(&default_queue()).await?;
        assert_eq!((counts.ready, counts.delayed, counts.in_flight), (0, 0, 1));
        stop.cancel();
        serving.await??;
        assert_eq!(store.failed_len().await?, 0);
    }
    Ok(())
}

/// The ids of the jobs that a worker says it completed, in its order, and the attempts that these were.
fn completed(worker: &Worker) -> Vec<(String, u64)> {
    let lines = worker.lines_with("\"job completed\"");
    let completed = lines.iter().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        (
            line["id"].as_str().unwrap().to_owned(),
            line["attempt"].as_u64().unwrap(),
        )
    });
    completed.filter(|(id, _)| id.starts_with("nap")).collect()
}

fn worker_in(settings: &kiln::queue::StoreSettings, folder: &Path, concurrency: &str) -> anyhow::Result<Worker> {
    // A lease that a busy machine can keep: what it loses would be taken over, and counted.
    let log = ["--log", "debug", "--log-format", "json", "--lease", "20s"];
    Worker::start(settings, folder, &[&log[..], &["--concurrency", concurrency]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_again_and_again_while_there_is_no_room() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let store = Store::open(&settings_at(&redis.url())).await?;
    let folder = folder_of(&[("nap", "concurrency = 1\ntimeout = \"1h\"")])?;
    let still = ServiceSettings {
        grace: Duration::ZERO,
        lease: Duration::from_mins(1),
        ..service(8)
    };
    let (serving, stop) = serve(still.clone(), &store, folder.path()).await?;
    // It is time that is measured: there is no event to wait for where nothing happens.
    let in_six_seconds = async || -> anyhow::Result<u64> {
        let before = redis.commands().await?;
        tokio::time::sleep(Duration::from_secs(6)).await;
        Ok(redis.commands().await? - before)
    };
    eventually("a host", async || {
        Ok((!store.counts(&default_queue()).await?.hosts.is_empty()).then_some(()))
    })
    .await?;
    let idle = in_six_seconds().await?;
    push_all(&store, &naps(0..50, 3_600_000)).await?;
    until_waiting(&store, 49).await?;
    let full = in_six_seconds().await?;
    assert!(full <= 2 * idle + 20, "{full} commands, and {idle} when idle");
    stop.cancel();
    serving.await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_takes_from_a_lane_at_once_what_it_has_room_for() -> anyhow::Result<()> {
    let folder = folder_of(&[("nap", "concurrency = 1\ntimeout = \"1h\"")])?;
    let store = Store::open(&redis_settings()).await?;
    let still = ServiceSettings {
        grace: Duration::ZERO,
        ..service(4)
    };
    let mut serving = vec![serve(still.clone(), &store, folder.path()).await?];
    // One that is idle when the jobs come, and one that comes when they wait.
    serving.push(serve(still.clone(), &store, folder.path()).await?);
    push_all(&store, &naps(0..10, 3_600_000)).await?;
    until_waiting(&store, 8).await?;
    serving.push(serve(still, &store, folder.path()).await?);
    until_waiting(&store, 7).await?;
    let counts = store.counts(&default_queue()).await?;
    let held: Vec<_> = counts.hosts.values().map(|host| host.in_flight).collect();
    assert_eq!(held, [1, 1, 1]);
    // All at once: one that goes on would take what another gives back.
    for (_, stop) in &serving {
        stop.cancel();
    }
    for (serving, _) in serving {
        assert_eq!(serving.await??, Drained::Interrupted(1));
    }
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_outlives_every_host_and_starts_in_its_order_with_its_first_attempt() -> anyhow::Result<()> {
    let folder = folder_of(&[("nap", "concurrency = 1\ntimeout = \"1h\"")])?;
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    push_all(&store, &naps(0..1, 3_600_000)).await?;
    // One place for what runs, and one for what is to wait: so it comes to wait one after the other.
    let worker = worker_in(&settings, folder.path(), "2")?;
    eventually("a job that takes long", async || {
        Ok((store.counts(&default_queue()).await?.in_flight == 1).then_some(()))
    })
    .await?;
    push_all(&store, &naps(1..200, 1)).await?;
    until_waiting(&store, 199).await?;
    // What comes while others wait goes behind them.
    push_all(&store, &naps(200..300, 1)).await?;
    until_waiting(&store, 299).await?;
    worker.signal("-KILL")?;
    let heir = worker_in(&settings, folder.path(), "2")?;
    eventually("all that waited", async || {
        Ok((completed(&heir).len() == 299).then_some(()))
    })
    .await?;
    let wanted: Vec<_> = (1..300).map(|n| (format!("nap-{n}"), 1)).collect();
    assert_eq!(completed(&heir), wanted);
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_concurrency_counts_at_once_for_what_waits() -> anyhow::Result<()> {
    let folder = folder_of(&[("nap", "concurrency = 1\ntimeout = \"1h\"")])?;
    let store = Store::open(&redis_settings()).await?;
    let still = ServiceSettings {
        grace: Duration::ZERO,
        watching: Watching {
            by_itself: true,
            ..Watching::default()
        },
        ..service(8)
    };
    let (serving, stop) = serve(still, &store, folder.path()).await?;
    push_all(&store, &naps(0..10, 3_600_000)).await?;
    until_waiting(&store, 9).await?;
    std::fs::write(folder.path().join("nap.toml"), "concurrency = 3\ntimeout = \"1h\"")?;
    until_waiting(&store, 6).await?;
    std::fs::write(folder.path().join("nap.toml"), "timeout = \"1h\"")?;
    // The worker's own limit is what is left.
    until_waiting(&store, 2).await?;
    stop.cancel();
    serving.await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_plugin_that_is_gone_is_decided_about_by_its_name() -> anyhow::Result<()> {
    let folder = folder_of(&[("nap", "concurrency = 1\njobs = [\"nap\", \"echo\"]\ntimeout = \"1h\"")])?;
    let store = Store::open(&redis_settings()).await?;
    let still = ServiceSettings {
        grace: Duration::ZERO,
        ..service(8)
    };
    let (serving, stop) = serve(still.clone(), &store, folder.path()).await?;
    push_all(&store, &naps(0..3, 3_600_000)).await?;
    until_waiting(&store, 2).await?;
    push(&store, &[r#"{"id":"e","name":"echo","payload":5}"#]).await?;
    until_waiting(&store, 3).await?;
    stop.cancel();
    serving.await??;
    // Another plugin handles one of the names by now, and none the other.
    for file in ["nap.wasm", "nap.toml"] {
        std::fs::remove_file(folder.path().join(file))?;
    }
    std::fs::write(folder.path().join("echo.wasm"), guest("echo")?)?;
    let (serving, stop) = serve(still, &store, folder.path()).await?;
    until_result(&store, "e").await?;
    eventually("the others fail", async || {
        Ok((store.failed_len().await? == 3).then_some(()))
    })
    .await?;
    assert_eq!(waiting(&store).await?, 0);
    stop.cancel();
    assert_eq!(serving.await??, Drained::Clean);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn burst_mode_waits_for_what_waits() -> anyhow::Result<()> {
    let folder = folder_of(&[("nap", "concurrency = 2")])?;
    for settings in [redis_settings(), kiln::queue::StoreSettings::new("memory:")] {
        let store = Store::open(&settings).await?;
        push_all(&store, &naps(0..40, 5)).await?;
        let burst = ServiceSettings {
            burst: true,
            unknown: Unknown::Fail,
            ..service(16)
        };
        let (serving, _stop) = serve(burst, &store, folder.path()).await?;
        assert_eq!(serving.await??, Drained::Clean);
        for n in 0..40 {
            assert!(store.result(&format!("nap-{n}")).await?.is_some(), "{n}");
        }
    }
    Ok(())
}
