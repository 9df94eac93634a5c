//! Workers as processes of their own, under limits across hosts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kiln::queue::Store;
use tokio::io::{AsyncWriteExt as _, copy, sink};
use tokio::time::{sleep, timeout};

use crate::process::Worker;
use crate::queue::ready;
use crate::servers::http::HttpServer;
use crate::service::folder_of;
use crate::support::{eventually, redis_settings};

/// How long places may be empty after a kill beyond the lease: two seconds, and what a machine adds that does much else.
const SLACK: Duration = Duration::from_secs(15);

/// Requests that are being answered.
#[derive(Default)]
struct Open {
    now: AtomicUsize,
    most: AtomicUsize,
    done: AtomicUsize,
}

/// A server that takes its time for each request, and counts those whose clients still wait.
async fn slow_server(open: &Arc<Open>) -> anyhow::Result<HttpServer> {
    let open = Arc::clone(open);
    HttpServer::start(move |_, mut connection| {
        let open = Arc::clone(&open);
        async move {
            open.most
                .fetch_max(open.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // It comes to the end once the client is gone.
            let mut nothing = sink();
            let gone = timeout(Duration::from_millis(200), copy(&mut connection, &mut nothing))
                .await
                .is_ok();
            open.now.fetch_sub(1, Ordering::SeqCst);
            open.done.fetch_add(usize::from(!gone), Ordering::SeqCst);
            Ok(connection
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await?)
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_over_workers_that_are_killed_and_is_reached_again_once_a_lease_is_over() -> anyhow::Result<()> {
    const LIMIT: usize = 5;
    let lease = Duration::from_secs(3);
    let (settings, open) = (redis_settings(), Arc::<Open>::default());
    let (store, server) = (Store::open(&settings).await?, slow_server(&open).await?);
    let origin = format!("127.0.0.1:{}", server.port);
    let manifest = format!(
        "[[limit]]\nconcurrency = {LIMIT}\n[[grants.http]]\norigin = \"http://{origin}\"\nprivate = true\n[retry]\nbase = \"1ms\""
    );
    let folder = folder_of(&[("fetch", &manifest)])?;
    let job = |n| ready(&format!(r#"{{"id":"{n}","name":"fetch","payload":"{origin}"}}"#));
    store.push(&(0..2_000).map(job).collect::<Vec<_>>()).await?;
    let worker = || Worker::start(&settings, folder.path(), &["--lease", "3s", "--concurrency", "8"]);
    let mut workers = (0..4).map(|_| worker()).collect::<Result<Vec<_>, _>>()?;
    let all_places = async || {
        eventually("all places are taken", async || {
            Ok((open.now.load(Ordering::SeqCst) == LIMIT).then_some(()))
        })
        .await
    };
    all_places().await?;
    for round in 0..3 {
        let victim = workers.remove(0);
        victim.signal("-KILL")?;
        let killed = Instant::now();
        workers.push(worker()?);
        // What the victim held is gone at once, if it held anything.
        sleep(Duration::from_millis(100)).await;
        all_places().await?;
        let empty = killed.elapsed();
        assert!(empty < lease + SLACK, "round {round}: places were empty for {empty:?}");
        println!("round {round}: all places were taken again after {empty:?}");
    }
    assert_eq!(open.most.load(Ordering::SeqCst), LIMIT);
    eventually("some are done", async || {
        Ok((open.done.load(Ordering::SeqCst) > 0).then_some(()))
    })
    .await?;
    Ok(())
}
