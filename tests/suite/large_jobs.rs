//! Large jobs: how many a host has in hand, and that they keep no other queue waiting.

use std::num::NonZeroU32;

use kiln::queue::{Push, QueueName, Store};
use kiln::service::{Drained, ServiceSettings};

use crate::service::{folder_of, memory, push, serve, settings};
use crate::support::{default_queue, eventually, redis_settings};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_takes_no_more_large_jobs_than_its_memory_for_jobs_holds_and_small_ones_pass_them_by()
-> anyhow::Result<()> {
    const MIB: usize = 1024 * 1024;
    let folder = folder_of(&[("patient", ""), ("echo", "")])?;
    let store = Store::open(&redis_settings()).await?;
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
    for store in [Store::open(&memory()).await?, Store::open(&redis_settings()).await?] {
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
    let store = Store::open(&redis_settings()).await?;
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
