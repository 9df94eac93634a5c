//! Chains, follow-ups and batches while masters die and slots move.

use kiln::queue::{Store, StoreSettings};

use super::batches::any_batch;
use crate::failover::until_replicated;
use crate::process::Worker;
use crate::queue::{ready, until_counts};
use crate::servers::{Cluster, Passwords, Sentinels};
use crate::service::folder_of;
use crate::support::{eventually, settings_at};

const BOTH_QUEUES: [&str; 4] = ["--queue", "default", "--queue", "other"];

async fn until_result(store: &Store, id: &str) -> anyhow::Result<()> {
    eventually(&format!("the result of {id}"), async || {
        Ok(store.result(id).await.ok().flatten().map(drop))
    })
    .await
}

/// The first of a chain of three that goes to another queue and back, each with a follow-up of its own where it is `enqueue`.
fn chain(n: usize, more: &str) -> String {
    let then =
        format!(r#"[{{"name":"echo","id":"b{n}","queue":"other"}},{{"name":"echo","id":"c{n}","queue":"default"}}]"#);
    format!(r#"{{"id":"a{n}","name":"echo","metadata":{{"kiln":{{"then":{then}{more}}}}}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_and_follow_ups_go_on_under_the_master_that_the_sentinels_name() -> anyhow::Result<()> {
    const CHAINS: usize = 150;
    let mut sentinels = Sentinels::start(Passwords::default()).await?;
    let settings = settings_at(&sentinels.url());
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[
        ("echo", ""),
        ("enqueue", "[grants.jobs]\nnames = [\"echo\"]\nqueues = [\"other\"]"),
    ])?;
    let follow_up = |n: usize| {
        let payload = format!(r#"["echo","1","{{'id':'f{n}','queue':'other'}}"]"#);
        ready(&format!(r#"{{"id":"e{n}","name":"enqueue","payload":{payload}}}"#))
    };
    let chains = (0..CHAINS).map(|n| ready(&chain(n, "")));
    store
        .push(&chains.chain((0..CHAINS).map(follow_up)).collect::<Vec<_>>())
        .await?;
    let args = [&BOTH_QUEUES[..], &["--lease", "2s", "--concurrency", "2"]].concat();
    let _worker = Worker::start(&settings, folder.path(), &args)?;
    until_result(&store, "b20").await?;
    let master = sentinels.master_port().await?;
    until_replicated(sentinels.node(master)?).await?;
    assert_eq!(sentinels.kill_master().await?, master);
    sentinels.until_failed_over(master).await?;
    for n in 0..CHAINS {
        until_result(&store, &format!("c{n}")).await?;
        until_result(&store, &format!("f{n}")).await?;
    }
    until_counts(&store, (0, 0, 0)).await?;
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_across_queues_and_the_batch_of_their_first_jobs_end_while_slots_move() -> anyhow::Result<()> {
    const CHAINS: usize = 300;
    let cluster = Cluster::start(&[]).await?;
    for tagged in [false, true] {
        let plain = settings_at(&cluster.url());
        let prefix = if tagged {
            format!("{{{}}}", plain.prefix)
        } else {
            plain.prefix.clone()
        };
        let settings = StoreSettings {
            prefix: prefix.clone(),
            ..plain
        };
        let store = Store::open(&settings).await?;
        let folder = folder_of(&[("echo", "")])?;
        let batch = any_batch();
        let more = format!(r#","batch":{{"id":"{batch}","of":{CHAINS},"then":{{"name":"echo","queue":"other"}}}}"#);
        let _worker = Worker::start(
            &settings,
            folder.path(),
            &[&BOTH_QUEUES[..], &["--concurrency", "4"]].concat(),
        )?;
        let pushing = async {
            for n in 0..CHAINS {
                eventually("a push", async || Ok(store.push(&[ready(&chain(n, &more))]).await.ok())).await?;
            }
            anyhow::Ok(())
        };
        let moving = async {
            for key in [
                format!("{prefix}:queues:default"),
                format!("{prefix}:queues:other"),
                format!("{prefix}:batch:{batch}"),
                format!("{prefix}:queues:default"),
            ] {
                cluster.move_slot_of(&key).await?;
            }
            anyhow::Ok(())
        };
        tokio::try_join!(pushing, moving)?;
        for n in 0..CHAINS {
            until_result(&store, &format!("c{n}")).await?;
        }
        until_result(&store, &format!("batch:{batch}:then")).await?;
        let known = store.batch(&batch).await?.expect("a batch");
        assert_eq!(
            (known.sizes.total, known.sizes.done),
            (CHAINS as u64, CHAINS as u64),
            "tagged: {tagged}"
        );
        until_counts(&store, (0, 0, 0)).await?;
        assert_eq!(store.failed_len().await?, 0);
    }
    Ok(())
}
