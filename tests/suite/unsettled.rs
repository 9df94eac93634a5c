//! What the store never takes, and what it never brings: each such job comes to an end, or stays in flight, and keeps no
//! other.

use std::time::Duration;

use kiln::outcome::{FailureKind, Settlement};
use kiln::queue::{Arrival, Fate, MAX_PIECE_TRIES, QueueName, Store};
use sha2::Digest as _;

use crate::leases::adopt;
use crate::process::Worker;
use crate::proxy::Proxy;
use crate::queue::{ACK, LONG, counts, fetch, join, push_numbered, ready, until_counts};
use crate::servers::Server;
use crate::service::{folder_of, push};
use crate::state::{Bucket, counting};
use crate::support::{default_queue, eventually, settings_at};

/// Breaks each connection over which it is to go.
const POISON: &str = "POISON";

/// What is refused is given up after three.
const LEASE: Duration = Duration::from_secs(4);

fn retry(job: &str) -> Settlement {
    Settlement::Retry {
        job: job.to_owned(),
        wait: LONG,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_comes_through_is_cut_or_set_aside_whatever_its_length() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let direct = settings_at(&redis.url());
    let outside = Store::open(&direct).await?;
    let proxy = Proxy::start(redis.port())?;
    proxy.choke_on(POISON.as_bytes());
    let mut through = direct.clone();
    through.url = proxy.url();
    let consumer = join(&Store::open(&through).await?, LEASE).await?;
    push_numbered(&outside, 7).await?;
    let entry = format!(r#"{{"id":"cut","name":"a","payload":"{}{POISON}"}}"#, "x".repeat(2_000));
    let result = Some(("acked".to_owned(), format!("{POISON:?}")));
    let bucket = Bucket::of(&outside);
    let commit = Settlement::Ack { result: result.clone() }.with_writes(counting(&bucket));
    let fates = [
        retry(&format!(r#"{{"id":"aside","name":"{POISON}"}}"#)),
        Settlement::Fail { entry: entry.clone() },
        Settlement::Ack { result },
        commit,
        retry("[1]"),
        Settlement::Fail { entry: "{}".to_owned() },
        ACK,
    ];
    for (delivery, fate) in fetch(&consumer, 7).await?.into_iter().zip(fates) {
        consumer.settle(delivery, fate).await;
    }
    // Long before anything is given up.
    until_counts(&outside, (0, 1, 4)).await?;
    push_numbered(&outside, 1).await?;
    let more = eventually("another job", async || {
        consumer.heartbeat().await?;
        Ok(fetch(&consumer, 1).await?.pop())
    })
    .await?;
    consumer.settle(more, retry("[2]")).await;
    until_counts(&outside, (0, 2, 4)).await?;
    eventually("that one is set aside", async || {
        consumer.heartbeat().await?;
        Ok((consumer.aside(&default_queue()) == 1).then_some(()))
    })
    .await?;
    until_counts(&outside, (0, 2, 1)).await?;
    assert!(!consumer.empty_outboxes().await?);
    assert_eq!(
        bucket.text("done").await?.as_deref(),
        Some("1"),
        "only its result is left out"
    );
    assert_eq!(outside.result("acked").await?, None);
    let entries = outside.failed(0, 10).await?;
    let cut = entries.iter().find(|entry| entry.bytes() != b"{}").expect("an entry");
    let job = cut.job().expect("a job");
    let kept: serde_json::Value = serde_json::from_str(job.payload.get())?;
    assert_eq!((entries.len(), &*job.id), (2, "cut"));
    assert_eq!(kept["text"], entry[..1024]);
    assert_eq!(kept["sha256"], format!("{:x}", sha2::Sha256::digest(&entry)));
    // It does not go back to run again, and is there for whoever comes after this host.
    consumer.finish().await?;
    consumer.leave().await?;
    assert_eq!(counts(&outside).await?, (0, 2, 1));
    let heir = join(&outside, LEASE).await?;
    let adopted = eventually("the job", async || Ok(adopt(&heir).await?.pop())).await?;
    heir.settle(adopted, ACK).await;
    until_counts(&outside, (0, 2, 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_job_that_may_not_be_read_is_waited_for() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let mut settings = settings_at(&redis.url());
    let outside = Store::open(&settings).await?;
    redis.set_user("kiln", &["on", ">secret", "~*", "+@all"]).await?;
    settings.connection.user = Some("kiln".to_owned());
    settings.connection.password = Some("secret".to_owned());
    let consumer = join(&Store::open(&settings).await?, LONG).await?;
    let large = format!("{:?}", "x".repeat(12 * 1024 * 1024));
    outside.push(&[ready(&large)]).await?;
    let mut delivery = fetch(&consumer, 1).await?.remove(0);
    redis.set_user("kiln", &["resetkeys", "~*:leases"]).await?;
    let mended = async {
        eventually("more refusals than tries of a piece that does not come", async || {
            let info: String = redis.tell(&["INFO", "commandstats"]).await?;
            let line = info.lines().find(|line| line.starts_with("cmdstat_evalsha:"));
            let rejected = line.and_then(|line| line.split("rejected_calls=").nth(1)?.split(',').next());
            let rejected: u32 = rejected.unwrap_or("0").parse()?;
            Ok((rejected > MAX_PIECE_TRIES + 2).then_some(()))
        })
        .await?;
        redis.set_user("kiln", &["~*"]).await
    };
    let (arrival, mended) = tokio::join!(consumer.complete(&mut delivery), mended);
    mended?;
    assert!(matches!(arrival, Arrival::Whole), "{arrival:?}");
    assert_eq!(delivery.bytes().len(), large.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_for_which_there_is_no_place_fails_with_nothing_left_out() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let settings = settings_at(&redis.url());
    let store = Store::open(&settings).await?;
    let delayed = format!("{}:queues:default:delayed", settings.prefix);
    let _: () = redis.tell(&["SET", &delayed, "wrong"]).await?;
    push_numbered(&store, 2).await?;
    let consumer = join(&store, LEASE).await?;
    let job = r#"{"id":"0","name":"hello","payload":[1.0,"x"],"attempts":7}"#;
    for (delivery, fate) in fetch(&consumer, 2).await?.into_iter().zip([retry(job), ACK]) {
        consumer.settle(delivery, fate).await;
    }
    let entry = eventually("its entry", async || {
        consumer.heartbeat().await?;
        Ok(store.failed(0, 1).await?.pop())
    })
    .await?;
    assert_eq!(entry.failure().expect("a failure").kind, FailureKind::Internal);
    assert_eq!(entry.job().expect("a job").payload.get(), r#"[1.0,"x"]"#);
    assert_eq!(store.retry_failed(vec![entry]).await?, [Fate::Taken]);
    let _: u64 = redis.tell(&["DEL", &delayed]).await?;
    until_counts(&store, (1, 0, 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_for_whose_end_there_is_no_place_wedges_neither_its_worker_nor_the_next() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let settings = settings_at(&redis.url());
    let store = Store::open(&settings).await?;
    let keys = ["failed", "queues:default:delayed"].map(|key| format!("{}:{key}", settings.prefix));
    for key in &keys {
        let _: () = redis.tell(&["SET", key, "wrong"]).await?;
    }
    let folder = folder_of(&[("echo", ""), ("trap", "")])?;
    let other = QueueName::new("other").expect("a name");
    let echo = async |id: &str| {
        let job = format!(r#"{{"id":"{id}","name":"echo","payload":1}}"#);
        let mut pushes = [ready(&job), ready(&job.replace(id, &format!("{id}-other")))];
        pushes[1].queue = other.clone();
        store.push(&pushes).await?;
        for id in [id, &format!("{id}-other")] {
            eventually("a result", async || Ok(store.result(id).await?)).await?;
        }
        anyhow::Ok(())
    };
    push(&store, &[r#"{"id":"stuck","name":"trap","max_attempts":1}"#]).await?;
    let queues = ["--queue", "default", "--queue", "other", "--lease", "4s"];
    for round in ["first", "second"] {
        let mut worker = Worker::start(&settings, folder.path(), &queues)?;
        let said = worker.until_said("the store refuses settlements").await;
        assert!(
            said.is_ok(),
            "{:?} {:?}",
            worker.lines(),
            store.counts(&default_queue()).await?
        );
        echo(round).await?;
        worker.until_said("stays in flight").await?;
        assert!(worker.lines_with("stays in flight")[0].contains("queue=default id=stuck"));
        echo(&format!("{round}-after")).await?;
        worker.signal("-TERM")?;
        assert_eq!(worker.exit_code()?, Some(3), "{:?}", worker.lines());
    }
    for key in &keys {
        let _: u64 = redis.tell(&["DEL", key]).await?;
    }
    let mut worker = Worker::start(&settings, folder.path(), &[&queues[..], &["--burst"]].concat())?;
    assert_eq!(worker.exit_code()?, Some(0), "{:?}", worker.lines());
    let entry = store.failed(0, 1).await?.remove(0);
    assert_eq!(&*entry.job().expect("a job").id, "stuck");
    until_counts(&store, (0, 0, 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_never_arrives_fails_as_it_is_and_keeps_no_other() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let settings = settings_at(&redis.url());
    let store = Store::open(&settings).await?;
    let proxy = Proxy::start(redis.port())?;
    proxy.choke_on(POISON.as_bytes());
    let mut through = settings.clone();
    through.url = proxy.url();
    let folder = folder_of(&[("echo", "")])?;
    // One that breaks off in the middle, and a small one that breaks off at once.
    let filler = "x".repeat(700_000);
    let payloads = [format!("{filler}{POISON}{filler}"), POISON.to_owned()];
    for (id, payload) in ["late", "early"].iter().zip(&payloads) {
        push(
            &store,
            &[&format!(r#"{{"id":"{id}","name":"echo","payload":"{payload}"}}"#)],
        )
        .await?;
    }
    push(&store, &[r#"{"id":"behind","name":"echo","payload":1}"#]).await?;
    let other = QueueName::new("other").expect("a name");
    let mut elsewhere = ready(r#"{"id":"elsewhere","name":"echo","payload":1}"#);
    elsewhere.queue = other;
    store.push(&[elsewhere]).await?;
    let worker = Worker::start(&through, folder.path(), &["--queue", "default", "--queue", "other"])?;
    for id in ["elsewhere", "behind"] {
        eventually(id, async || Ok(store.result(id).await?)).await?;
    }
    until_counts(&store, (0, 0, 0)).await?;
    let mut entries = store.failed(0, 10).await?;
    entries.sort_by_key(|entry| entry.bytes().len());
    for (entry, payload) in entries.iter().zip(payloads.iter().rev()) {
        assert_eq!(entry.failure().expect("a failure").kind, FailureKind::Internal);
        assert_eq!(entry.job().expect("a job").payload.get(), format!("{payload:?}"));
    }
    let said = worker.lines_with("never arrive");
    assert!(
        said.len() == 2 && said.iter().all(|line| line.contains("queue=default bytes=")),
        "{said:?}"
    );
    entries.sort_by_key(kiln::queue::FailedEntry::place);
    assert_eq!(store.retry_failed(entries).await?, [Fate::Taken, Fate::Taken]);
    Ok(())
}
