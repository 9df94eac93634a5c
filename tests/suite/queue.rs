//! Every transition of a job's state (the table in `host/queue/mod.rs`), over every kind of store.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kiln::config::{Backoff, RetryPolicy};
use kiln::events::Events;
use kiln::job::KEPT_BYTES;
use kiln::outcome::{Failure, FailureKind, Outcome, RetryHint, Settlement};
use kiln::queue::{Arrival, Consumer, Delivery, Fate, MAX_BATCH_BYTES, MAX_TAKEN_BYTES, Push, Retention, Store};
use kiln::retry::{self, Moment};

use crate::support::{default_queue, eventually};

on_every_store! {
    jobs_are_fetched_in_order_and_in_flight_until_settled
    equal_jobs_are_settled_one_by_one
    equal_jobs_are_delayed_side_by_side
    due_jobs_are_promoted_once_by_any_number_of_hosts
    a_job_due_later_stays_delayed
    a_retry_is_due_by_the_stores_clock_whatever_its_hosts_says
    a_requeued_job_is_next_and_unchanged
    a_failed_job_can_be_read_put_back_and_deleted
    malformed_bytes_come_back_as_they_were
    what_is_too_large_to_be_brought_ends_as_a_small_failed_entry
    a_job_larger_than_a_message_comes_whole
    a_job_that_never_came_fails_where_it_is
    waiting_ends_with_a_push_and_takes_nothing
    a_completed_jobs_result_is_kept
    a_failed_job_goes_back_to_the_queue_it_was_found_on
    the_failed_list_keeps_what_is_asked_and_counts_what_it_drops
    a_result_is_kept_only_for_the_host_that_holds_the_job
}

/// Long enough not to end during a test.
pub(crate) const LONG: Duration = Duration::from_mins(10);
/// Less than a wait lasts without a push.
const AT_ONCE: Duration = Duration::from_secs(3);
pub(crate) async fn join(store: &Store, lease: Duration) -> anyhow::Result<Consumer> {
    Ok(Consumer::join(store.clone(), vec![default_queue()], lease, Events::default()).await?)
}

pub(crate) fn ready(job: &str) -> Push {
    Push {
        queue: default_queue(),
        job: job.to_owned(),
        due_ms: None,
    }
}

pub(crate) fn due(job: &str, due_ms: i64) -> Push {
    Push {
        due_ms: Some(due_ms),
        ..ready(job)
    }
}

pub(crate) async fn push_numbered(store: &Store, count: usize) -> anyhow::Result<Vec<String>> {
    let jobs: Vec<_> = (0..count)
        .map(|n| format!(r#"{{"id":"{n}","name":"hello"}}"#))
        .collect();
    store
        .push(&jobs.iter().map(|job| ready(job)).collect::<Vec<_>>())
        .await?;
    Ok(jobs)
}

pub(crate) async fn fetch(consumer: &Consumer, count: usize) -> anyhow::Result<Vec<Delivery>> {
    Ok(consumer.fetch(&default_queue(), count).await?)
}

pub(crate) fn texts(deliveries: &[Delivery]) -> Vec<String> {
    deliveries
        .iter()
        .map(|delivery| String::from_utf8_lossy(delivery.bytes()).into_owned())
        .collect()
}

/// Ready, delayed and in flight.
pub(crate) async fn counts(store: &Store) -> anyhow::Result<(u64, u64, u64)> {
    let counts = store.counts(&default_queue()).await?;
    Ok((counts.ready, counts.delayed, counts.in_flight))
}

pub(crate) async fn until_counts(store: &Store, wanted: (u64, u64, u64)) -> anyhow::Result<()> {
    eventually(&format!("counts of {wanted:?}"), async || {
        Ok((counts(store).await? == wanted).then_some(()))
    })
    .await
}

pub(crate) const ACK: Settlement = Settlement::Ack { result: None };

async fn jobs_are_fetched_in_order_and_in_flight_until_settled(store: Store) -> anyhow::Result<()> {
    let pushed = push_numbered(&store, 5).await?;
    let consumer = join(&store, LONG).await?;
    let mut deliveries = fetch(&consumer, 3).await?;
    assert_eq!(texts(&deliveries), pushed[..3]);
    assert_eq!(counts(&store).await?, (2, 0, 3));
    deliveries.extend(fetch(&consumer, 100).await?);
    assert_eq!(texts(&deliveries), pushed);
    for delivery in deliveries {
        consumer.settle(delivery, ACK).await;
    }
    until_counts(&store, (0, 0, 0)).await?;
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}

async fn equal_jobs_are_settled_one_by_one(store: Store) -> anyhow::Result<()> {
    store
        .push(&[ready(r#"{"name":"hello"}"#), ready(r#"{"name":"hello"}"#)])
        .await?;
    let consumer = join(&store, LONG).await?;
    let mut deliveries = fetch(&consumer, 2).await?;
    consumer.settle(deliveries.remove(0), ACK).await;
    until_counts(&store, (0, 0, 1)).await?;
    consumer.settle(deliveries.remove(0), Settlement::Requeue).await;
    until_counts(&store, (1, 0, 0)).await
}

async fn equal_jobs_are_delayed_side_by_side(store: Store) -> anyhow::Result<()> {
    let job = r#"{"name":"hello"}"#;
    store
        .push(&[ready(job), ready(job), due(job, 1_000), due(job, 2_000)])
        .await?;
    let consumer = join(&store, LONG).await?;
    for delivery in fetch(&consumer, 2).await? {
        consumer
            .settle(
                delivery,
                Settlement::Retry {
                    job: job.to_owned(),
                    wait: Duration::ZERO,
                },
            )
            .await;
    }
    until_counts(&store, (0, 4, 0)).await?;
    assert_eq!(store.promote(&default_queue()).await?, 4);
    for delivery in fetch(&consumer, 4).await? {
        assert_eq!(delivery.decode()?.name, "hello");
    }
    Ok(())
}

async fn due_jobs_are_promoted_once_by_any_number_of_hosts(store: Store) -> anyhow::Result<()> {
    let jobs: Vec<_> = (0..2_000)
        .map(|n| due(&format!(r#"{{"id":"{n}","name":"hello"}}"#), 1_000 + n))
        .collect();
    store.push(&jobs).await?;
    let hosts = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut moved = 0;
            loop {
                match store.promote(&default_queue()).await? {
                    0 => return anyhow::Ok(moved),
                    more => moved += more,
                }
            }
        })
    });
    let mut moved = 0;
    for host in hosts.collect::<Vec<_>>() {
        moved += host.await??;
    }
    assert_eq!((moved, counts(&store).await?), (2_000, (2_000, 0, 0)));
    let consumer = join(&store, LONG).await?;
    let mut held = Vec::new();
    loop {
        let deliveries = fetch(&consumer, 256).await?;
        if deliveries.is_empty() {
            break;
        }
        held.extend(deliveries);
    }
    let ids: BTreeSet<_> = held
        .iter()
        .map(|delivery| delivery.decode().expect("a job").id)
        .collect();
    assert_eq!(held.len(), 2_000, "none twice");
    assert_eq!(ids.len(), 2_000);
    Ok(())
}

async fn a_job_due_later_stays_delayed(store: Store) -> anyhow::Result<()> {
    let now = || jiff::Timestamp::now().as_millisecond();
    store.push(&[due(r#"{"name":"hello"}"#, now() + 3_600_000)]).await?;
    let consumer = join(&store, LONG).await?;
    assert_eq!(store.promote(&default_queue()).await?, 0);
    assert_eq!(counts(&store).await?, (0, 1, 0));
    let soon = now() + 300;
    store.push(&[due(r#"{"name":"hello"}"#, soon)]).await?;
    eventually("a due job", async || Ok(consumer.wait_due().await?.pop())).await?;
    assert!(now() >= soon, "told too early");
    assert_eq!(store.promote(&default_queue()).await?, 1);
    assert_eq!(counts(&store).await?, (1, 1, 0));
    Ok(())
}

async fn a_retry_is_due_by_the_stores_clock_whatever_its_hosts_says(store: Store) -> anyhow::Result<()> {
    let consumer = join(&store, LONG).await?;
    let base = Duration::from_millis(400);
    let policy = RetryPolicy {
        policy: Backoff::Fixed,
        base,
        jitter: 0.0,
        ..RetryPolicy::default()
    };
    for ahead_s in [-120, 120] {
        push_numbered(&store, 1).await?;
        let delivery = fetch(&consumer, 1).await?.remove(0);
        let outcome = Outcome::Failed {
            failure: Failure::new(FailureKind::Error, "no"),
            retry: RetryHint::ByPolicy,
        };
        let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(ahead_s);
        let at = Moment { now, luck: 0.5 };
        let settlement = retry::settle(&policy, delivery.decode()?, outcome, at);
        let settled = Instant::now();
        consumer.settle(delivery, settlement).await;
        until_counts(&store, (0, 1, 0)).await?;
        eventually("a promoted job", async || {
            Ok((store.promote(&default_queue()).await? == 1).then_some(()))
        })
        .await?;
        // The store counts in whole milliseconds.
        let waited = settled.elapsed() + Duration::from_millis(2);
        assert!(waited >= base, "a clock that is {ahead_s} s ahead");
        consumer.settle(fetch(&consumer, 1).await?.remove(0), ACK).await;
        until_counts(&store, (0, 0, 0)).await?;
    }
    Ok(())
}

async fn a_requeued_job_is_next_and_unchanged(store: Store) -> anyhow::Result<()> {
    let odd = "{\"name\" : \"hello\", \"payload\":9007199254741455.10 }";
    store.push(&[ready(odd), ready(r#"{"name":"other"}"#)]).await?;
    let consumer = join(&store, LONG).await?;
    let first = fetch(&consumer, 1).await?.remove(0);
    consumer.settle(first, Settlement::Requeue).await;
    until_counts(&store, (2, 0, 0)).await?;
    assert_eq!(texts(&fetch(&consumer, 1).await?), [odd]);
    Ok(())
}

/// Fails the one job that is ready, as a handler's rejection would.
pub(crate) async fn fail_one(store: &Store, consumer: &Consumer) -> anyhow::Result<()> {
    let delivery = fetch(consumer, 1).await?.remove(0);
    let failure = Failure::new(FailureKind::Rejected, "no");
    let outcome = kiln::outcome::Outcome::Failed {
        failure,
        retry: kiln::outcome::RetryHint::Never,
    };
    let at = kiln::retry::Moment {
        now: jiff::Timestamp::now(),
        luck: 0.5,
    };
    let settlement = kiln::retry::settle(&kiln::config::RetryPolicy::default(), delivery.decode()?, outcome, at);
    let before = store.failed_len().await?;
    consumer.settle(delivery, settlement).await;
    eventually("a failed entry", async || {
        Ok((store.failed_len().await? > before).then_some(()))
    })
    .await
}

async fn a_failed_job_can_be_read_put_back_and_deleted(store: Store) -> anyhow::Result<()> {
    let consumer = join(&store, LONG).await?;
    store
        .push(&[ready(r#"{"id":"a","name":"hello","payload":[1.0],"max_attempts":2}"#)])
        .await?;
    fail_one(&store, &consumer).await?;
    let entry = store.failed(0, 10).await?.remove(0);
    assert_eq!(entry.failure().expect("a failure").kind, FailureKind::Rejected);
    assert_eq!(entry.job().expect("a job").error.as_deref(), Some("rejected: no"));

    assert_eq!(store.retry_failed(vec![entry]).await?, [Fate::Taken]);
    assert_eq!((store.failed_len().await?, counts(&store).await?), (0, (1, 0, 0)));
    let delivery = fetch(&consumer, 1).await?.remove(0);
    let job = delivery.decode()?;
    assert_eq!(
        (&*job.id, job.payload.get(), job.attempts, job.max_attempts, &job.error),
        ("a", "[1.0]", 0, 2, &None)
    );
    assert!(job.extra("failure").is_none());
    consumer.settle(delivery, Settlement::Requeue).await;
    until_counts(&store, (1, 0, 0)).await?;

    fail_one(&store, &consumer).await?;
    let (first, second) = (store.failed(0, 1).await?.remove(0), store.failed(0, 1).await?.remove(0));
    assert_eq!(store.delete_failed(vec![first]).await?, [Fate::Taken]);
    assert_eq!(store.delete_failed(vec![second]).await?, [Fate::Gone]);
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}

async fn malformed_bytes_come_back_as_they_were(store: Store) -> anyhow::Result<()> {
    let consumer = join(&store, LONG).await?;
    store.push(&[ready("no \"job\"\n")]).await?;
    fail_malformed(&consumer, fetch(&consumer, 1).await?.remove(0)).await;
    eventually("a failed entry", async || {
        Ok((store.failed_len().await? == 1).then_some(()))
    })
    .await?;
    let entry = store.failed(0, 1).await?.remove(0);
    assert_eq!(entry.failure().expect("a failure").kind, FailureKind::Malformed);
    assert_eq!(store.retry_failed(vec![entry]).await?, [Fate::Taken]);
    assert_eq!(texts(&fetch(&consumer, 1).await?), ["no \"job\"\n"]);
    Ok(())
}

/// Decides about a delivery as a worker does that is handed no job.
pub(crate) async fn fail_malformed(consumer: &Consumer, delivery: Delivery) {
    let err = delivery.decode().expect_err("no job");
    let entry = kiln::worker::malformed(&delivery, &err, jiff::Timestamp::now());
    consumer.settle(delivery, entry).await;
}

async fn what_is_too_large_to_be_brought_ends_as_a_small_failed_entry(store: Store) -> anyhow::Result<()> {
    let consumer = join(&store, LONG).await?;
    // Grows sixfold where it is quoted.
    let large = "\u{1}".repeat(MAX_TAKEN_BYTES + 1);
    store.push(&[due(&large, 1_000)]).await?;
    assert_eq!(store.promote(&default_queue()).await?, 1);
    store.push(&[ready("\u{2}"), ready(r#"{"name":"next"}"#)]).await?;
    while !counts(&store).await?.eq(&(0, 0, 0)) {
        for delivery in fetch(&consumer, 3).await? {
            assert!(delivery.bytes().len() <= MAX_BATCH_BYTES && !delivery.is_incomplete());
            match delivery.decode() {
                Ok(_) => consumer.settle(delivery, ACK).await,
                Err(_) => fail_malformed(&consumer, delivery).await,
            }
        }
    }
    let mut entries = store.failed(0, 10).await?;
    let small = entries.pop().expect("two entries");
    let entry = entries.pop().expect("two entries");
    assert!(entry.bytes().len() < 2 * KEPT_BYTES, "{}", entry.bytes().len());
    let failure = entry.failure().expect("a failure");
    let said = format!("job is too large: {} bytes", large.len());
    assert!(failure.message.starts_with(&said), "{}", failure.message);
    assert!(failure.message.ends_with("only the first 65536 bytes are kept"));
    assert_eq!(
        store.retry_failed(vec![entry, small]).await?,
        [Fate::Stays, Fate::Taken],
        "what is left of the large one is no job"
    );
    assert_eq!(texts(&fetch(&consumer, 1).await?), ["\u{2}"]);
    Ok(())
}

async fn a_job_larger_than_a_message_comes_whole(store: Store) -> anyhow::Result<()> {
    let job = |id: u8| {
        let filler = char::from(b'a' + id).to_string().repeat(2 * MAX_BATCH_BYTES - 1_000);
        format!(r#"{{"id":"{id}","name":"hello","payload":"{filler}"}}"#)
    };
    store.push(&[ready(&job(0)), ready(&job(1))]).await?;
    let consumer = join(&store, LONG).await?;
    for id in [0, 1] {
        let mut delivery = fetch(&consumer, 10).await?.remove(0);
        if delivery.is_incomplete() {
            delivery.decode().expect_err("half a job");
            assert!(matches!(consumer.complete(&mut delivery).await, Arrival::Whole));
        }
        assert!(texts(std::slice::from_ref(&delivery)) == [job(id)]);
        consumer.settle(delivery, ACK).await;
    }
    until_counts(&store, (0, 0, 0)).await
}

async fn a_job_that_never_came_fails_where_it_is(store: Store) -> anyhow::Result<()> {
    let jobs = [r#"{"id":"a","name":"hello","payload":[1.0]}"#, "no job"];
    store.push(&jobs.map(ready)).await?;
    let consumer = join(&store, LONG).await?;
    for delivery in fetch(&consumer, 2).await? {
        let fate = Settlement::FailThere {
            head: r#"{"error":"it never came","#.to_owned(),
            otherwise: "what came".to_owned(),
        };
        consumer.settle(delivery, fate).await;
    }
    until_counts(&store, (0, 0, 0)).await?;
    let entries = store.failed(0, 10).await?;
    let made = br#"{"error":"it never came","id":"a","name":"hello","payload":[1.0]}"#.as_slice();
    let made = [made, b"what came"].contains(&entries[0].bytes());
    assert!(
        made && entries.len() == 2 && entries[1].bytes() == b"what came",
        "{entries:?}"
    );
    Ok(())
}

async fn waiting_ends_with_a_push_and_takes_nothing(store: Store) -> anyhow::Result<()> {
    let consumer = join(&store, LONG).await?;
    {
        // One that is dropped, however far it has come, must not swallow a job either.
        let mut abandoned = Box::pin(consumer.wait_ready());
        let _ = futures::poll!(&mut abandoned);
    }
    let (waited, pushed) = tokio::join!(
        tokio::time::timeout(AT_ONCE, consumer.wait_ready()),
        push_numbered(&store, 2)
    );
    waited??;
    let (waited, pushed) = (tokio::time::timeout(AT_ONCE, consumer.wait_ready()).await??, pushed?);
    let () = waited;
    assert_eq!(texts(&fetch(&consumer, 10).await?), pushed);
    Ok(())
}

async fn a_completed_jobs_result_is_kept(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 1).await?;
    let consumer = join(&store, LONG).await?;
    let delivery = fetch(&consumer, 1).await?.remove(0);
    consumer
        .settle(
            delivery,
            Settlement::Ack {
                result: Some(("0".to_owned(), "{\"a\":1}".to_owned())),
            },
        )
        .await;
    until_counts(&store, (0, 0, 0)).await?;
    assert_eq!(store.result("0").await?.as_deref(), Some("{\"a\":1}"));
    assert_eq!(store.result("1").await?, None);
    Ok(())
}

async fn a_failed_job_goes_back_to_the_queue_it_was_found_on(store: Store) -> anyhow::Result<()> {
    let consumer = join(&store, LONG).await?;
    for job in [
        r#"{"name":"a","queue":"other"}"#,
        r#"{"name":"a","queue":"not a name"}"#,
        r#"{"name":"a"}"#,
    ] {
        store.push(&[ready(job)]).await?;
        fail_one(&store, &consumer).await?;
        let entries = store.failed(0, 1).await?;
        assert_eq!(store.retry_failed(entries).await?, [Fate::Taken], "{job}");
        until_counts(&store, (1, 0, 0)).await?;
        let delivery = fetch(&consumer, 1).await?.remove(0);
        consumer.settle(delivery, ACK).await;
        until_counts(&store, (0, 0, 0)).await?;
    }
    Ok(())
}

async fn the_failed_list_keeps_what_is_asked_and_counts_what_it_drops(store: Store) -> anyhow::Result<()> {
    let consumer = join(&store, LONG).await?;
    push_numbered(&store, 8).await?;
    for (n, delivery) in fetch(&consumer, 8).await?.into_iter().enumerate() {
        // One for each of the last eight days.
        let entry = format!(
            r#"{{"id":"{n}","name":"a","failed_at":"2026-06-0{}T12:00:00+02:00"}}"#,
            n + 1
        );
        consumer.settle(delivery, Settlement::Fail { entry }).await;
    }
    until_counts(&store, (0, 0, 0)).await?;
    let now = "2026-06-08T11:00:00Z".parse()?;
    let left = async || -> anyhow::Result<Vec<String>> {
        let entries = store.failed(0, 100).await?;
        Ok(entries
            .iter()
            .map(|entry| entry.job().expect("a job").id.clone())
            .collect())
    };
    let retain = async |max: Option<u64>, days: Option<u64>| {
        let max_age = days.map(|days| Duration::from_hours(24 * days));
        store.retain_failed(&Retention { max, max_age }, now).await
    };
    assert_eq!(retain(None, None).await?, 0);
    assert_eq!(retain(Some(8), Some(8)).await?, 0);
    assert_eq!((retain(None, Some(5)).await?, left().await?.len()), (3, 5));
    assert_eq!(
        (retain(Some(3), Some(5)).await?, left().await?),
        (2, vec!["5".into(), "6".into(), "7".into()])
    );
    assert_eq!(retain(Some(0), None).await?, 3);
    assert_eq!((store.failed_len().await?, store.failed_dropped().await?), (0, 8));
    Ok(())
}

async fn a_result_is_kept_only_for_the_host_that_holds_the_job(store: Store) -> anyhow::Result<()> {
    let result = |json: &str| Settlement::Ack {
        result: Some(("0".to_owned(), json.to_owned())),
    };
    let slow = join(&store, Duration::from_millis(500)).await?;
    push_numbered(&store, 1).await?;
    let late = eventually("a job", async || Ok(fetch(&slow, 1).await?.pop())).await?;
    let heir = join(&store, Duration::from_secs(2)).await?;
    let taken_over = eventually("a job to take over", async || {
        heir.heartbeat().await?;
        Ok(heir.adopt(&default_queue()).await?.pop())
    })
    .await?;
    heir.settle(taken_over, result("\"the heir's\"")).await;
    until_counts(&store, (0, 0, 0)).await?;
    slow.settle(late, result("\"late\"")).await;
    slow.finish().await?;
    assert_eq!(store.result("0").await?.as_deref(), Some("\"the heir's\""));
    Ok(())
}
