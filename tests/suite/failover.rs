//! A new master in the middle of work: what waits in a lane, and what jobs write with their acknowledgement.

use std::time::Duration;

use kiln::queue::{StateStore, Store, StoreSettings};
use kiln::service::{Drained, ServiceSettings};
use kiln::state::{BucketId, Keeper as _};

use crate::process::Worker;
use crate::queue::until_counts;
use crate::servers::{Cluster, Passwords, Sentinels, Server};
use crate::service::{folder_of, push, serve, settings};
use crate::support::{default_queue, eventually, settings_at};

/// Waits until every replica has what this master has now.
pub(crate) async fn until_replicated(master: &Server) -> anyhow::Result<()> {
    let offsets = async |key: &str| {
        let info: String = master.tell(&["INFO", "replication"]).await?;
        let numbers = info
            .lines()
            .filter_map(|line| line.split_once(key)?.1.split(',').next()?.parse().ok());
        anyhow::Ok(numbers.collect::<Vec<u64>>())
    };
    let now = offsets("master_repl_offset:").await?[0];
    eventually("the replicas have it", async || {
        let replicas = offsets(",offset=").await?;
        let have_it = !replicas.is_empty() && replicas.iter().all(|offset| *offset >= now);
        Ok(have_it.then_some(()))
    })
    .await
}

async fn until_result(store: &Store, id: &str) -> anyhow::Result<()> {
    let what = format!("the result of {id}");
    eventually(&what, async || Ok(store.result(id).await.ok().flatten().map(drop))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_wait_in_a_lane_start_under_the_master_that_the_sentinels_name() -> anyhow::Result<()> {
    let mut sentinels = Sentinels::start(Passwords::default()).await?;
    let store = Store::open(&settings_at(&sentinels.url())).await?;
    let folder = folder_of(&[("nap", "concurrency = 1")])?;
    let service = ServiceSettings {
        burst: false,
        lease: Duration::from_secs(2),
        ..settings()
    };
    let (serving, stop) = serve(service, &store, folder.path()).await?;
    push(&store, &[r#"{"id":"first","name":"nap","payload":5000}"#]).await?;
    until_counts(&store, (0, 0, 1)).await?;
    let ids: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    for id in &ids {
        push(&store, &[&format!(r#"{{"id":"{id}","name":"nap","payload":0}}"#)]).await?;
    }
    eventually("all wait", async || {
        Ok((store.counts(&default_queue()).await?.waiting == 20).then_some(()))
    })
    .await?;
    let master = sentinels.master_port().await?;
    until_replicated(sentinels.node(master)?).await?;
    assert_eq!(sentinels.kill_master().await?, master);
    sentinels.until_failed_over(master).await?;
    for id in ids.iter().map(String::as_str).chain(["first"]) {
        until_result(&store, id).await?;
    }
    until_counts(&store, (0, 0, 0)).await?;
    let counts = store.counts(&default_queue()).await?;
    assert!(counts.is_empty(), "{counts:?}");
    stop.cancel();
    assert_eq!(serving.await??, Drained::Clean);
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_jobs_add_to_on_completion_is_exact_after_a_failover_in_a_cluster() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&[]).await?;
    let plain = settings_at(&cluster.url());
    // Queue and bucket in one slot: the new master has of both what it had at one moment.
    let settings = StoreSettings {
        prefix: format!("{{{}}}", plain.prefix),
        ..plain
    };
    let ready = format!("{}:queues:default", settings.prefix);
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("state", "[grants.state.counts]")])?;
    let worker = Worker::start(&settings, folder.path(), &["--lease", "2s"])?;
    let push_some = async |from: usize, to: usize| {
        for id in from..to {
            let job = format!(r#"{{"id":"{id}","name":"state","payload":"later counts n"}}"#);
            eventually("a push", async || Ok(push(&store, &[&job]).await.ok())).await?;
        }
        anyhow::Ok(())
    };
    push_some(0, 600).await?;
    until_result(&store, "50").await?;
    let master = cluster.master_of(&ready).await?;
    until_replicated(cluster.node(master)?).await?;
    assert_eq!(cluster.kill_master_of(&ready).await?, master);
    cluster.until_failed_over(&ready, master).await?;
    push_some(600, 700).await?;
    for id in 0..700 {
        until_result(&store, &id.to_string()).await?;
    }
    until_counts(&store, (0, 0, 0)).await?;
    let kept = StateStore::beside(&store, &settings);
    let found = kept
        .get(&BucketId::of_plugin("state", "counts"), &["n".to_owned()], 100)
        .await?;
    let number = found[0].as_ref().map(|entry| String::from_utf8_lossy(&entry.value));
    assert_eq!(number.as_deref(), Some("700"), "{:?}", worker.lines());
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}
