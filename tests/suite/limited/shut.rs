//! A job that its handler wants later shuts its lane until then: what refused it would refuse the others.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kiln::outcome::Settlement;
use kiln::queue::{Consumer, Push, Store};
use kiln::service::ServiceSettings;

use super::{caps, lane, queue_up, serve, served, settle};
use crate::queue::{ACK, LONG, join, ready, texts};
use crate::service::{folder_of, serve as run_service, settings};
use crate::support::{default_queue, eventually, redis_settings};

on_every_store! {
    a_shut_lane_starts_nothing_until_then_and_keeps_no_place_from_others
    a_lane_that_was_emptied_is_still_shut_for_those_that_come
    only_a_settlement_that_counts_shuts_a_lane_and_none_opens_it_early
}

const SHUT: Duration = Duration::from_secs(2);

/// Takes one more job, whose settlement shuts its lane. Returns when that was about to be.
async fn shut(host: &Consumer, caps: &[kiln::config::Cap], wait: Duration) -> anyhow::Result<Instant> {
    let mut first = served(host, caps).await?;
    first.shut_lane(wait);
    let began = Instant::now();
    settle(host, first, ACK).await?;
    Ok(began)
}

async fn a_shut_lane_starts_nothing_until_then_and_keeps_no_place_from_others(store: Store) -> anyhow::Result<()> {
    let caps = caps("[[limit]]\nkey = \"/key\"\nconcurrency = 2\n[[limit]]\nconcurrency = 1");
    let host = join(&store, LONG).await?;
    let lanes = ["/key=a|*", "/key=a|*", "/key=b|*", "/key=b|*", "/key=a|*"];
    let pushed = queue_up(&store, &host, &lanes).await?;
    let began = shut(&host, &caps, SHUT).await?;
    let mut order = Vec::new();
    for _ in 0..4 {
        let next = served(&host, &caps).await?;
        if next.lane() == Some(&lane("/key=a|*")) {
            assert!(began.elapsed() >= SHUT, "it began after {:?}", began.elapsed());
        }
        assert!(serve(&host, 9, &caps).await?.is_empty(), "there is one place");
        order.extend(texts(std::slice::from_ref(&next)));
        settle(&host, next, ACK).await?;
    }
    assert_eq!(order, [2, 3, 1, 4].map(|at| pushed[at].clone()));
    assert!(store.counts(&default_queue()).await?.is_empty());
    Ok(())
}

async fn a_lane_that_was_emptied_is_still_shut_for_those_that_come(store: Store) -> anyhow::Result<()> {
    let (host, caps) = (
        join(&store, LONG).await?,
        caps("[[limit]]\nrate = \"100/1s\"\nburst = 9"),
    );
    queue_up(&store, &host, &["*"]).await?;
    let began = shut(&host, &caps, SHUT).await?;
    queue_up(&store, &host, &["*"]).await?;
    let next = served(&host, &caps).await?;
    assert!(began.elapsed() >= SHUT, "it began after {:?}", began.elapsed());
    settle(&host, next, ACK).await
}

async fn only_a_settlement_that_counts_shuts_a_lane_and_none_opens_it_early(store: Store) -> anyhow::Result<()> {
    let (slow, caps) = (
        join(&store, Duration::from_secs(1)).await?,
        caps("[[limit]]\nconcurrency = 3"),
    );
    let heir = join(&store, LONG).await?;
    queue_up(&store, &heir, &["*"; 5]).await?;
    let mut late = served(&slow, &caps).await?;
    let adopted = eventually("it is taken over", async || {
        Ok(crate::leases::adopt(&heir).await?.pop())
    })
    .await?;
    settle(&heir, adopted, ACK).await?;
    // What another has taken over says nothing any more.
    late.shut_lane(Duration::from_mins(10));
    slow.settle(late, ACK).await;
    slow.finish().await?;
    let mut both = [served(&heir, &caps).await?, served(&heir, &caps).await?];
    both[0].shut_lane(SHUT);
    both[1].shut_lane(Duration::from_millis(1));
    let began = Instant::now();
    for each in both {
        settle(&heir, each, ACK).await?;
    }
    let next = served(&heir, &caps).await?;
    assert!(began.elapsed() >= SHUT, "it began after {:?}", began.elapsed());
    settle(&heir, next, Settlement::Requeue).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_says_retry_after_shuts_the_lane_of_its_job_and_of_no_other() -> anyhow::Result<()> {
    // It says 1500 ms each time, and the last attempt counts as the first.
    let limits = "jobs = [\"retry_after\", \"own\"]\n[[limit]]\nkey = \"\"\nconcurrency = 1\n[retry]\nattempts = 1\nmax = \"10m\"";
    let fair = "jobs = [\"fair\"]\n[[limit]]\nkey = \"\"\nfair = true\n[retry]\nattempts = 1";
    let folder = folder_of(&[("retry_after", limits)])?;
    std::fs::copy(folder.path().join("retry_after.wasm"), folder.path().join("fair.wasm"))?;
    std::fs::write(folder.path().join("fair.toml"), fair)?;
    let store = Store::open(&redis_settings()).await?;
    let job = |name: &str, id: &str, key: &str| -> Push {
        ready(&format!(r#"{{"id":"{id}","name":"{name}","payload":"{key}"}}"#))
    };
    let jobs = ["a1", "a2", "a3", "b1"].map(|id| job("retry_after", id, &id[..1]));
    store.push(&jobs).await?;
    store.push(&["f1", "f2", "f3"].map(|id| job("fair", id, "f"))).await?;
    let burst = ServiceSettings {
        burst: true,
        ..settings()
    };
    let (serving, _stop) = run_service(burst, &store, folder.path()).await?;
    serving.await??;
    let mut ended = Vec::new();
    for entry in store.failed(0, 100).await? {
        let job = entry.job().expect("a job");
        let at: Timestamp = job.times.failed_at.as_deref().expect("a time").parse()?;
        ended.push((job.id.clone(), at));
    }
    let at = |id: &str| ended.iter().find(|(ended, _)| ended == id).expect("it ended").1;
    let between = |one: &str, other: &str| at(other).duration_since(at(one)).as_millis();
    assert!(
        between("a1", "a2") >= 1_400 && between("a2", "a3") >= 1_400,
        "{ended:?}"
    );
    assert!(between("a1", "b1") < between("a1", "a3"), "{ended:?}");
    assert!(
        between("f1", "f3") < 1_400,
        "keys that only take turns shut nothing: {ended:?}"
    );
    Ok(())
}
