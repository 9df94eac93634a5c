//! Who may run what, and who takes it over: leases, over every kind of store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln::config::Unknown;
use kiln::outcome::Settlement;
use kiln::queue::{Consumer, Delivery, Push, QueueName, Store};
use kiln::worker::Worker;
use tokio_util::sync::CancellationToken;

use crate::process;
use crate::queue::{ACK, LONG, counts, fetch, join, push_numbered, ready, texts, until_counts};
use crate::servers::Server;
use crate::service::{folder_of, open_plugins, push};
use crate::support::{default_queue, eventually, redis_settings, settings_at, shared_redis};

on_every_store! {
    a_dead_hosts_jobs_go_to_one_other_host
    a_host_that_lost_its_lease_cannot_settle
    a_host_without_a_lease_takes_nothing_before_it_has_heard_of_it
    what_runs_is_stopped_before_its_lease_ends
    a_live_hosts_jobs_are_left_alone
    a_host_that_leaves_settles_first_and_gives_its_lease_up
    a_dropped_delivery_goes_back_when_its_host_leaves
    hosts_that_keep_crashing_take_over_what_one_of_them_found_dead
    a_job_whose_lease_is_over_does_not_start
    a_host_whose_own_lease_is_over_takes_nothing_over
}

/// Ends soon, where nobody puts it off.
const LIVELY: Duration = Duration::from_secs(1);
/// Ends almost at once: the host is as good as dead.
const SHORT: Duration = Duration::from_millis(100);

/// What a host takes over, some at a time. It keeps its lease meanwhile, as a service does.
pub(crate) async fn adopt(heir: &Consumer) -> anyhow::Result<Vec<Delivery>> {
    heir.heartbeat().await?;
    Ok(heir.adopt(&default_queue()).await?)
}

async fn until_lapsed(store: &Store, host: &Consumer) -> anyhow::Result<()> {
    eventually("the end of its lease", async || {
        let left = store.counts(&default_queue()).await?.hosts[host.host()].lease_left_ms;
        Ok((left < 0).then_some(()))
    })
    .await
}

async fn a_dead_hosts_jobs_go_to_one_other_host(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 300).await?;
    let dead = join(&store, SHORT).await?;
    let mut held = Vec::new();
    eventually("300 jobs held", async || {
        held.extend(fetch(&dead, 256).await?);
        Ok((held.len() == 300).then_some(()))
    })
    .await?;
    let (one, other) = (join(&store, 4 * LIVELY).await?, join(&store, 4 * LIVELY).await?);
    let mut adopted = Vec::new();
    eventually("300 adopted jobs", async || {
        let (a, b) = tokio::join!(adopt(&one), adopt(&other));
        adopted.extend(a?.into_iter().chain(b?));
        Ok((adopted.len() >= 300).then_some(()))
    })
    .await?;
    let ids: BTreeSet<_> = adopted
        .iter()
        .map(|delivery| delivery.decode().expect("a job").id)
        .collect();
    assert_eq!((adopted.len(), ids.len()), (300, 300));
    assert_eq!(counts(&store).await?, (0, 0, 300));
    let hosts = store.counts(&default_queue()).await?.hosts;
    assert!(!hosts.contains_key(dead.host()), "the dead host's lease is gone");
    Ok(())
}

async fn a_host_that_lost_its_lease_cannot_settle(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 1).await?;
    let paused = join(&store, SHORT).await?;
    let stale = eventually("a job", async || Ok(fetch(&paused, 1).await?.pop())).await?;
    let heir = join(&store, LIVELY).await?;
    let adopted = eventually("an adopted job", async || Ok(adopt(&heir).await?.pop())).await?;
    let entry = Settlement::Fail { entry: "{}".to_owned() };
    paused.settle(stale, entry).await;
    paused.finish().await?;
    paused.leave().await?;
    assert_eq!((store.failed_len().await?, counts(&store).await?), (0, (0, 0, 1)));
    heir.settle(adopted, ACK).await;
    until_counts(&store, (0, 0, 0)).await
}

async fn a_host_without_a_lease_takes_nothing_before_it_has_heard_of_it(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 2).await?;
    let host = join(&store, SHORT).await?;
    let delivery = eventually("a job", async || Ok(fetch(&host, 1).await?.pop())).await?;
    let stop = delivery.stop();
    until_lapsed(&store, &host).await?;
    assert!(fetch(&host, 1).await?.is_empty());
    assert!(stop.is_stopped(), "what ran under the old lease is told to stop");
    drop(delivery);
    host.tidy().await?;
    assert_eq!(
        fetch(&host, 2).await?.len(),
        2,
        "there is a new lease, and the first job is back"
    );
    Ok(())
}

async fn what_runs_is_stopped_before_its_lease_ends(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 1).await?;
    let host = join(&store, 4 * LIVELY).await?;
    let delivery = fetch(&host, 1).await?.remove(0);
    let stop = delivery.stop();
    eventually("the stop", async || {
        host.stop_in_time();
        Ok(stop.is_stopped().then_some(()))
    })
    .await?;
    let left = store.counts(&default_queue()).await?.hosts[host.host()].lease_left_ms;
    assert!(left > 0, "{left}");
    Ok(())
}

async fn a_live_hosts_jobs_are_left_alone(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 2).await?;
    let live = join(&store, LONG).await?;
    let kept = fetch(&live, 1).await?.remove(0);
    let dead = join(&store, SHORT).await?;
    let lost = eventually("a job", async || Ok(fetch(&dead, 1).await?.pop())).await?;
    let heir = join(&store, LIVELY).await?;
    let adopted = eventually("the dead host's job", async || Ok(adopt(&heir).await?.pop())).await?;
    assert_eq!(adopted.bytes(), lost.bytes());
    assert!(adopt(&heir).await?.is_empty());
    let hosts = store.counts(&default_queue()).await?.hosts;
    assert_eq!(hosts[live.host()].in_flight, 1);
    live.settle(kept, ACK).await;
    heir.settle(adopted, ACK).await;
    until_counts(&store, (0, 0, 0)).await
}

async fn a_host_that_leaves_settles_first_and_gives_its_lease_up(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 200).await?;
    let consumer = join(&store, LONG).await?;
    assert!(
        store
            .counts(&default_queue())
            .await?
            .hosts
            .contains_key(consumer.host())
    );
    for delivery in fetch(&consumer, 200).await? {
        consumer.settle(delivery, ACK).await;
    }
    consumer.finish().await?;
    consumer.leave().await?;
    let counts = store.counts(&default_queue()).await?;
    assert!(counts.is_empty() && counts.hosts.is_empty(), "{counts:?}");
    Ok(())
}

async fn a_dropped_delivery_goes_back_when_its_host_leaves(store: Store) -> anyhow::Result<()> {
    let pushed = push_numbered(&store, 10).await?;
    let consumer = join(&store, LONG).await?;
    let mut deliveries = fetch(&consumer, 10).await?;
    consumer.settle(deliveries.remove(0), ACK).await;
    drop(deliveries);
    consumer.finish().await?;
    consumer.leave().await?;
    assert!(store.counts(&default_queue()).await?.hosts.is_empty());
    let other = join(&store, LONG).await?;
    assert_eq!(texts(&fetch(&other, 10).await?), pushed[1..], "in their order");
    Ok(())
}

async fn hosts_that_keep_crashing_take_over_what_one_of_them_found_dead(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 1).await?;
    let dead = join(&store, SHORT).await?;
    let lost = eventually("a job", async || Ok(fetch(&dead, 1).await?.pop())).await?;
    until_lapsed(&store, &dead).await?;
    let began = Instant::now();
    // Each of them lives until the next one comes.
    let adopted = eventually("that one of them takes over", async || {
        let young = join(&store, 2 * LIVELY).await?;
        Ok(young.adopt(&default_queue()).await?.pop())
    })
    .await?;
    assert_eq!(adopted.bytes(), lost.bytes());
    assert!(began.elapsed() >= LIVELY, "the other had half a lease to come back");

    // What is found out about a lease does not hold for one that was put off since.
    push_numbered(&store, 1).await?;
    let (away, queue) = (join(&store, SHORT).await?, default_queue());
    let _held = eventually("a job", async || Ok(fetch(&away, 1).await?.pop())).await?;
    until_lapsed(&store, &away).await?;
    assert!(join(&store, LONG).await?.adopt(&queue).await?.is_empty());
    away.heartbeat().await?;
    until_lapsed(&store, &away).await?;
    // By the store's clock, the note is as old as it would have to be.
    let hourglass = join(&store, 2 * LIVELY).await?;
    until_lapsed(&store, &hourglass).await?;
    let young = join(&store, 4 * LIVELY).await?;
    assert!(
        young.adopt(&queue).await?.is_empty(),
        "it was found before it came back"
    );
    Ok(())
}

async fn a_job_whose_lease_is_over_does_not_start(store: Store) -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", "")])?;
    let plugins = open_plugins(folder.path()).await?;
    store.push(&[ready(r#"{"id":"a","name":"echo","payload":1}"#)]).await?;
    let host = Arc::new(join(&store, SHORT).await?);
    let delivery = eventually("a job", async || Ok(fetch(&host, 1).await?.pop())).await?;
    until_lapsed(&store, &host).await?;
    // No timer has fired and no answer has come: the clock alone tells.
    let draining = CancellationToken::new();
    let worker = Worker::new(Arc::clone(&host), Arc::clone(&plugins), Unknown::default(), draining);
    let line = async move { worker.process(delivery, None).await };
    plugins.guests().spawn(line).await?;
    host.tidy().await?;
    assert_eq!((store.result("a").await?, counts(&store).await?), (None, (1, 0, 0)));
    Ok(())
}

async fn a_host_whose_own_lease_is_over_takes_nothing_over(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 1).await?;
    let dead = join(&store, SHORT).await?;
    let _lost = eventually("a job", async || Ok(fetch(&dead, 1).await?.pop())).await?;
    let heir = join(&store, LIVELY).await?;
    until_lapsed(&store, &heir).await?;
    // It has been there for longer than a young host has to be patient, and has not heard that its lease is over.
    assert!(heir.adopt(&default_queue()).await?.is_empty());
    heir.heartbeat().await?;
    let adopted = eventually("the job", async || Ok(adopt(&heir).await?.pop())).await?;
    heir.settle(adopted, ACK).await;
    until_counts(&store, (0, 0, 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_whose_keys_are_of_the_wrong_type_is_named_and_keeps_no_other_from_its_lease() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let settings = settings_at(&redis.url());
    let store = Store::open(&settings).await?;
    let key = |queue: &str, what: &str| format!("{{{}:queues:{queue}}}:{what}", settings.prefix);
    let push = async |queue: &str, id: &str, ms: u32| {
        let job = format!(r#"{{"id":"{id}","name":"nap","payload":{ms}}}"#);
        let queue = QueueName::new(queue).expect("a name");
        store
            .push(&[Push {
                queue,
                job,
                due_ms: None,
            }])
            .await
    };
    let until_result = async |id: &str| eventually("a result", async || Ok(store.result(id).await?)).await;
    let _: () = redis.tell(&["SET", &key("bad", "leases"), "wrong"]).await?;
    let folder = folder_of(&[("nap", "")])?;
    let queues = [
        "--queue", "default", "--queue", "bad", "--queue", "odd", "--lease", "2s",
    ];
    let mut worker = process::Worker::start(&settings, folder.path(), &queues)?;
    let until_named = async |during: &str, queue: &str| {
        eventually("that a queue is named", async || {
            let lines = worker.lines_with("the queue cannot be worked on");
            let named = |line: &String| line.contains(during) && line.contains(&format!("queue={queue}"));
            Ok(lines.iter().any(named).then_some(()))
        })
        .await
    };
    until_named("heartbeat", "bad").await?;
    let hosts = store.counts(&default_queue()).await?.hosts;
    let host = hosts.keys().next().expect("the worker");
    let _: () = redis
        .tell(&["SET", &key("odd", &format!("inflight:{host}")), "wrong"])
        .await?;
    push("odd", "odd", 1).await?;
    push("bad", "bad", 1).await?;
    // Longer than a lease that is not kept.
    push("default", "good", 4_000).await?;
    until_result("good").await?;
    until_named("fetch", "odd").await?;
    assert_eq!(worker.lines_with("the lease").len(), 0, "{:?}", worker.lines());
    let said = worker.lines().len();
    assert!(said < 20, "{:?}", worker.lines());
    for key in [key("bad", "leases"), key("odd", &format!("inflight:{host}"))] {
        let _: u64 = redis.tell(&["DEL", &key]).await?;
    }
    until_result("odd").await?;
    until_result("bad").await?;
    worker.signal("-TERM")?;
    assert_eq!(worker.exit_code()?, Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_ends_with_an_error_where_a_queue_cannot_be_counted() -> anyhow::Result<()> {
    let settings = redis_settings();
    let odd = format!("{}:queues:odd", settings.prefix);
    let _: () = shared_redis().tell(&["SET", &odd, "wrong"]).await?;
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("nap", "")])?;
    // Longer than the queue that cannot be counted is waited for.
    push(&store, &[r#"{"id":"1","name":"nap","payload":2000}"#]).await?;
    let queues = ["--queue", "default", "--queue", "odd", "--lease", "1s", "--burst"];
    let mut worker = process::Worker::start(&settings, folder.path(), &queues)?;
    assert_eq!(worker.exit_code()?, Some(3));
    assert!(store.result("1").await?.is_some(), "what there was to do is done");
    worker.until_said("kiln: queue odd: redis: ").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_gets_no_lease_names_a_queue() -> anyhow::Result<()> {
    let settings = redis_settings();
    let leases = format!("{{{}:queues:odd}}:leases", settings.prefix);
    let _: () = shared_redis().tell(&["SET", &leases, "wrong"]).await?;
    let folder = folder_of(&[("nap", "")])?;
    let mut worker = process::Worker::start(&settings, folder.path(), &["--queue", "odd"])?;
    assert_eq!(worker.exit_code()?, Some(3));
    worker.until_said("kiln: queue odd: redis: ").await
}
