//! Workers as processes of their own, under limits across hosts.
//!
//! `KILN_LIMIT_WORKERS` and `KILN_LIMIT_KILLS` say how many there are and how many are killed that hold a place, and `KILN_LIMIT_LEASE_MS` how
//! long their leases are: `KILN_LIMIT_WORKERS=20 KILN_LIMIT_KILLS=40 cargo test --test suite limited::workers -- --nocapture`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kiln::queue::{CANCELLED_FOR, Store};
use tokio::io::{AsyncWriteExt as _, copy, sink};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::failover::until_replicated;
use crate::process::Worker;
use crate::queue::ready;
use crate::servers::http::HttpServer;
use crate::servers::{Passwords, Sentinels};
use crate::service::folder_of;
use crate::support::{default_queue, eventually, number_from, redis_settings, settings_at, shared_redis};

const LIMIT: usize = 5;

/// How long places may be empty after a kill beyond the lease: two seconds, and what a machine adds that does much else. Where
/// workers get no processor time for as long as their leases last, these run out and are begun anew.
const SLACK: Duration = Duration::from_secs(45);

/// How long a request takes.
const REQUEST: Duration = Duration::from_millis(200);

/// Requests that are being answered.
#[derive(Default)]
pub(super) struct Open {
    pub(super) now: AtomicUsize,
    pub(super) most: AtomicUsize,
    pub(super) done: AtomicUsize,
}

impl Open {
    fn is_full(&self) -> bool {
        self.now.load(Ordering::SeqCst) == LIMIT
    }

    pub(super) async fn until_full(&self) -> anyhow::Result<()> {
        eventually("all places are taken", async || Ok(self.is_full().then_some(()))).await
    }
}

/// A server that takes its time for each request, all the time while it is held, and counts those whose clients still wait.
pub(super) async fn slow_server(open: &Arc<Open>, held: &watch::Receiver<bool>) -> anyhow::Result<HttpServer> {
    let (open, held) = (Arc::clone(open), held.clone());
    HttpServer::start(move |_, mut connection| {
        let (open, mut held) = (Arc::clone(&open), held.clone());
        async move {
            open.most
                .fetch_max(open.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let in_time = async {
                // Nobody holds it any more once the test has ended.
                let _ = held.wait_for(|held| !held).await;
                sleep(REQUEST).await;
            };
            // It comes to the end once the client is gone.
            let mut nothing = sink();
            let gone = tokio::select! {
                _ = copy(&mut connection, &mut nothing) => true,
                () = in_time => false,
            };
            open.now.fetch_sub(1, Ordering::SeqCst);
            open.done.fetch_add(usize::from(!gone), Ordering::SeqCst);
            Ok(connection
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await?)
        }
    })
    .await
}

/// A folder whose plugin asks that server, so many jobs at once.
pub(super) fn folder_for(server: &HttpServer) -> anyhow::Result<(tempfile::TempDir, String)> {
    let origin = format!("127.0.0.1:{}", server.port);
    let manifest = format!(
        "[[limit]]\nconcurrency = {LIMIT}\n[[grants.http]]\norigin = \"http://{origin}\"\nprivate = true\n[retry]\nbase = \"1ms\""
    );
    Ok((folder_of(&[("fetch", &manifest)])?, origin))
}

pub(super) async fn push_jobs(store: &Store, origin: &str, ids: std::ops::Range<usize>) -> anyhow::Result<()> {
    let job = |n| ready(&format!(r#"{{"id":"{n}","name":"fetch","payload":"{origin}"}}"#));
    Ok(store.push(&ids.map(job).collect::<Vec<_>>()).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_over_workers_that_are_killed_and_is_reached_again_once_a_lease_is_over() -> anyhow::Result<()> {
    let workers = number_from("KILN_LIMIT_WORKERS", 4)?;
    let kills = number_from("KILN_LIMIT_KILLS", 3)?;
    let lease = Duration::from_millis(number_from("KILN_LIMIT_LEASE_MS", 3_000)? as u64);
    let (settings, open, (hold, is_held)) = (redis_settings(), Arc::<Open>::default(), watch::channel(false));
    let (store, server) = (Store::open(&settings).await?, slow_server(&open, &is_held).await?);
    let (folder, origin) = folder_for(&server)?;
    push_jobs(&store, &origin, 0..1_000 + 500 * kills).await?;
    let lease_arg = format!("{}ms", lease.as_millis());
    let worker = || Worker::start(&settings, folder.path(), &["--lease", &lease_arg, "--concurrency", "4"]);
    let mut workers = (0..workers).map(|_| worker()).collect::<Result<Vec<_>, _>>()?;
    let mut empty_for = Vec::new();
    while empty_for.len() < kills {
        // For a while jobs end and others begin, wherever it may be. Then what runs goes on running.
        hold.send(false)?;
        sleep(REQUEST).await;
        hold.send(true)?;
        open.until_full().await?;
        let victim = workers.remove(fastrand::usize(..workers.len()));
        victim.signal("-KILL")?;
        let killed = Instant::now();
        drop(victim);
        workers.push(worker()?);
        sleep(Duration::from_millis(50)).await;
        if open.is_full() {
            // It held no place.
            continue;
        }
        open.until_full().await?;
        let empty = killed.elapsed();
        assert!(empty < lease + SLACK, "places were empty for {empty:?}");
        empty_for.push(empty);
    }
    empty_for.sort_unstable();
    println!("a lease of {lease:?}; after {kills} kills all places were taken again after {empty_for:?}");
    assert_eq!(open.most.load(Ordering::SeqCst), LIMIT);
    assert!(open.done.load(Ordering::SeqCst) > 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_place_of_a_killed_worker_is_taken_back_though_nothing_waits_for_it() -> anyhow::Result<()> {
    let (open, (hold, is_held)) = (Arc::<Open>::default(), watch::channel(true));
    let (settings, server) = (redis_settings(), slow_server(&open, &is_held).await?);
    let (store, (folder, origin)) = (Store::open(&settings).await?, folder_for(&server)?);
    let pattern = format!("{{{}:queues:default}}:limits:fetch:held:*", settings.prefix);
    let places = async || shared_redis().tell::<Vec<String>>(&["KEYS", &pattern]).await;
    let worker = || Worker::start(&settings, folder.path(), &["--lease", "2s"]);
    let victim = worker()?;
    let unique = r#""metadata":{"kiln":{"unique":{"key":"a","mode":"latest"}}}"#;
    store
        .push(&[ready(&format!(
            r#"{{"id":"1","name":"fetch","payload":"{origin}",{unique}}}"#
        ))])
        .await?;
    let many_open = async |many: usize| {
        eventually("requests", async || {
            Ok((open.now.load(Ordering::SeqCst) == many).then_some(()))
        })
        .await
    };
    many_open(1).await?;
    assert_eq!(places().await?.len(), 2, "of the limit and of the key");
    victim.signal("-KILL")?;
    many_open(0).await?;
    // It never runs again, so that nothing else frees what it held.
    store.cancel(&default_queue(), &["1".to_owned()], CANCELLED_FOR).await?;
    let _heir = worker()?;
    eventually("it fails", async || Ok((store.failed_len().await? == 1).then_some(()))).await?;
    assert_eq!(places().await?, Vec::<String>::new());
    hold.send(false)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_behind_sentinels_while_the_master_and_a_worker_die() -> anyhow::Result<()> {
    const JOBS: usize = 60;
    let (open, (hold, is_held)) = (Arc::<Open>::default(), watch::channel(true));
    let mut sentinels = Sentinels::start(Passwords::default()).await?;
    let settings = settings_at(&sentinels.url());
    let (store, server) = (Store::open(&settings).await?, slow_server(&open, &is_held).await?);
    let (folder, origin) = folder_for(&server)?;
    push_jobs(&store, &origin, 0..JOBS).await?;
    let worker = || Worker::start(&settings, folder.path(), &["--lease", "3s", "--concurrency", "4"]);
    let mut workers = (0..3).map(|_| worker()).collect::<Result<Vec<_>, _>>()?;
    open.until_full().await?;
    let master = sentinels.master_port().await?;
    // From here on nothing starts and nothing ends: the replicas know of every place that is taken.
    until_replicated(sentinels.node(master)?).await?;
    assert_eq!(sentinels.kill_master().await?, master);
    sentinels.until_failed_over(master).await?;
    let victim = workers.remove(0);
    victim.signal("-KILL")?;
    workers.push(worker()?);
    hold.send(false)?;
    for id in 0..JOBS {
        eventually(&format!("the result of {id}"), async || {
            Ok(store.result(&id.to_string()).await.ok().flatten())
        })
        .await?;
    }
    assert_eq!(open.most.load(Ordering::SeqCst), LIMIT);
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}
