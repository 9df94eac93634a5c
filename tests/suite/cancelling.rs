//! Cancelling jobs: every host hears of it at once, and what is cancelled ends as that, wherever it is.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kiln::admin::AdminError;
use kiln::admin::cancel::{Filter, Looked, cancel, cancel_matching, undo, undo_all};
use kiln::outcome::{FailureKind, Lane, Settlement};
use kiln::queue::{CANCELLED_FOR, Consumer, MAX_CANCELLED, Part, Push, QueueError, QueueName, Store, StoreSettings};
use kiln::service::{Drained, ServiceSettings};

use crate::pausing::{AT_ONCE, said, until_heard};
use crate::queue::{ACK, LONG, counts, due, fail_one, fetch, join, push_numbered, ready, until_counts};
use crate::service::{failures, folder_of, push, serve, settings};
use crate::support::{default_queue, eventually, kiln, redis_settings};

on_every_store! {
    what_is_fetched_after_its_cancel_is_known_to_be_cancelled
    every_host_hears_of_a_cancel_and_of_its_undo_at_once
    a_cancel_tells_whether_it_is_news
    no_more_jobs_are_cancelled_than_hosts_can_keep
    a_host_that_joins_later_knows_what_is_cancelled
    an_acknowledgement_that_came_first_wins
    a_job_that_is_put_back_is_cancelled_no_longer
    a_cancel_outlasts_the_longest_delay
    jobs_are_read_where_they_lie_and_stay_there
    jobs_are_cancelled_by_name_and_age_wherever_they_lie
    cancelling_by_name_says_where_no_more_fit_and_goes_on_once_there_is_room
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

async fn cancel_now(store: &Store, of: &[&str]) -> anyhow::Result<()> {
    cancel(store, &[default_queue()], &ids(of)).await?;
    Ok(())
}

fn cancelled_of(host: &Consumer, ids: std::ops::Range<usize>) -> Vec<usize> {
    let ids = ids.filter(|id| host.is_cancelled(&default_queue(), &id.to_string()));
    ids.collect()
}

async fn what_is_fetched_after_its_cancel_is_known_to_be_cancelled(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 4).await?;
    let consumer = join(&store, LONG).await?;
    let first = fetch(&consumer, 1).await?;
    cancel_now(&store, &["1", "3"]).await?;
    assert_eq!(cancelled_of(&consumer, 0..4), [0; 0], "nobody has told it");
    let mut fetched = fetch(&consumer, 1).await?;
    assert_eq!(cancelled_of(&consumer, 0..4), [1, 3]);
    undo(&store, &[default_queue()], &ids(&["3"])).await?;
    cancel_now(&store, &["2"]).await?;
    fetched.extend(fetch(&consumer, 9).await?);
    assert_eq!(cancelled_of(&consumer, 0..4), [1, 2]);
    for delivery in first.into_iter().chain(fetched) {
        consumer.settle(delivery, ACK).await;
    }
    until_counts(&store, (0, 0, 0)).await
}

async fn every_host_hears_of_a_cancel_and_of_its_undo_at_once(store: Store) -> anyhow::Result<()> {
    let hosts = [join(&store, LONG).await?, join(&store, LONG).await?];
    for host in &hosts {
        host.look_at_orders().await?;
    }
    for cancelled in [true, false, true] {
        let hears = |host: &Consumer| host.is_cancelled(&default_queue(), "7") == cancelled;
        let order = async {
            let queues = [default_queue()];
            if cancelled {
                cancel(&store, &queues, &ids(&["7"])).await
            } else {
                undo(&store, &queues, &ids(&["7"])).await
            }
        };
        let (done, one, other) = tokio::join!(order, until_heard(&hosts[0], hears), until_heard(&hosts[1], hears));
        done?;
        one.and(other)?;
    }
    Ok(())
}

async fn a_cancel_tells_whether_it_is_news(store: Store) -> anyhow::Result<()> {
    let queue = default_queue();
    let told = store.cancel(&queue, &ids(&["b", "a", "b"]), CANCELLED_FOR).await?;
    assert_eq!(told, [false; 3]);
    let told = store.cancel(&queue, &ids(&["c", "a"]), CANCELLED_FOR).await?;
    assert_eq!(told, [false, true]);
    assert_eq!(
        store.uncancel(&queue, &ids(&["d", "b", "a"])).await?,
        [false, true, true]
    );
    let left = store.cancelled(&queue).await?;
    assert_eq!(left.marks.keys().collect::<Vec<_>>(), ["c"]);
    assert_eq!(undo_all(&store, std::slice::from_ref(&queue)).await?, 1);
    assert_eq!(store.cancelled(&queue).await?.marks, BTreeMap::new());
    // A mark that has ended is none.
    store.cancel(&queue, &ids(&["e"]), Duration::ZERO).await?;
    assert_eq!(store.cancel(&queue, &ids(&["e"]), CANCELLED_FOR).await?, [false]);
    Ok(())
}

async fn no_more_jobs_are_cancelled_than_hosts_can_keep(store: Store) -> anyhow::Result<()> {
    let (queue, other) = (default_queue(), QueueName::new("other").expect("a name"));
    let all: Vec<_> = (0..MAX_CANCELLED).map(|n| n.to_string()).collect();
    store.cancel(&queue, &all, CANCELLED_FOR).await?;
    assert_eq!(store.cancel(&queue, &ids(&["7"]), CANCELLED_FOR).await?, [true]);
    let refused = store.cancel(&queue, &ids(&["one more"]), CANCELLED_FOR).await;
    assert!(matches!(refused, Err(QueueError::Full { .. })), "{refused:?}");
    store.cancel(&other, &ids(&["one more"]), CANCELLED_FOR).await?;
    store.uncancel(&queue, &ids(&["7"])).await?;
    store.cancel(&queue, &ids(&["one more"]), CANCELLED_FOR).await?;
    let host = join(&store, LONG).await?;
    host.look_at_orders().await?;
    assert!(host.is_cancelled(&queue, "9999") && host.is_cancelled(&queue, "one more"));
    assert!(!host.is_cancelled(&queue, "7"));
    Ok(())
}

async fn a_host_that_joins_later_knows_what_is_cancelled(store: Store) -> anyhow::Result<()> {
    cancel_now(&store, &["1"]).await?;
    push_numbered(&store, 2).await?;
    let (looks, takes) = (join(&store, LONG).await?, join(&store, LONG).await?);
    looks.look_at_orders().await?;
    assert_eq!(cancelled_of(&looks, 0..2), [1]);
    let fetched = fetch(&takes, 9).await?;
    assert_eq!((fetched.len(), cancelled_of(&takes, 0..2)), (2, vec![1]));
    Ok(())
}

async fn an_acknowledgement_that_came_first_wins(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 1).await?;
    let consumer = join(&store, LONG).await?;
    let delivery = fetch(&consumer, 1).await?.remove(0);
    let result = Some(("0".to_owned(), "7".to_owned()));
    consumer.settle(delivery, Settlement::Ack { result }).await;
    until_counts(&store, (0, 0, 0)).await?;
    let marked = cancel(&store, &[default_queue()], &ids(&["0"])).await?.remove(0);
    assert!(marked.has_completed && !marked.was_cancelled);
    assert_eq!(store.result("0").await?.as_deref(), Some("7"));
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}

async fn a_job_that_is_put_back_is_cancelled_no_longer(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 1).await?;
    let consumer = join(&store, LONG).await?;
    fail_one(&store, &consumer).await?;
    let entry = store.failed(0, 1).await?.remove(0);
    let id = entry.job().expect("a job").id.clone();
    cancel_now(&store, &[&id, "other"]).await?;
    store.retry_failed(vec![entry]).await?;
    assert_eq!(fetch(&consumer, 9).await?.len(), 1);
    let known = [&*id, "other"].map(|id| consumer.is_cancelled(&default_queue(), id));
    assert_eq!(known, [false, true]);
    Ok(())
}

async fn cancelling_by_name_says_where_no_more_fit_and_goes_on_once_there_is_room(store: Store) -> anyhow::Result<()> {
    const LEFT: usize = 600;
    const JOBS: usize = 700;
    let queue = default_queue();
    let others: Vec<_> = (0..MAX_CANCELLED - LEFT).map(|n| format!("other-{n}")).collect();
    store.cancel(&queue, &others, CANCELLED_FOR).await?;
    push_numbered(&store, JOBS).await?;
    let filter = Filter {
        name: Some("hello".to_owned()),
        ..Filter::default()
    };
    let queues = [queue.clone()];
    let mut told = Looked::default();
    let go_on = |looked| {
        told = looked;
        ControlFlow::Continue(())
    };
    let full = cancel_matching(&store, &queues, &filter, false, go_on).await;
    let Err(AdminError::Store(QueueError::MarksFull { marked, .. })) = full else {
        panic!("{full:?}");
    };
    // In whole steps: what was told of is done, and nothing else.
    assert_eq!((marked as u64, marked > 0 && marked <= LEFT), (told.matching, true));
    assert_eq!(
        store.cancelled(&queue).await?.marks.len(),
        MAX_CANCELLED - LEFT + marked
    );
    store.uncancel(&queue, &others).await?;
    let looked = cancel_matching(&store, &queues, &filter, false, |_| ControlFlow::Continue(())).await?;
    assert_eq!(
        (looked.matching, store.cancelled(&queue).await?.marks.len()),
        (JOBS as u64, JOBS)
    );
    Ok(())
}

async fn a_cancel_outlasts_the_longest_delay(store: Store) -> anyhow::Result<()> {
    let now_ms = store.now().await?.as_millisecond();
    let days = |days: i64| now_ms + days * 24 * 3_600_000;
    let job = |id: usize| format!(r#"{{"id":"{id}","name":"hello"}}"#);
    // More than are read at once, so that the search has to go on to the next page.
    let mut jobs: Vec<_> = (0..1_200).map(|n| due(&job(n), days(9))).collect();
    jobs.extend([due(&job(2_000), days(3)), due(&job(2_001), now_ms)]);
    store.push(&jobs).await?;
    cancel_now(&store, &["0", "2000", "2001"]).await?;
    let marks = store.cancelled(&default_queue()).await?.marks;
    let ends = ["0", "2000", "2001"].map(|id| (marks[id] - now_ms) / 3_600_000);
    assert_eq!(ends, [10 * 24, 4 * 24, 24], "{marks:?}");
    cancel_now(&store, &["0"]).await?;
    let again = store.cancelled(&default_queue()).await?.marks;
    assert!(again["0"] >= marks["0"], "a later cancel does not end it sooner");
    Ok(())
}

/// All jobs of a part, by their ids, page by page.
async fn read(store: &Store, part: &Part) -> anyhow::Result<(Vec<String>, usize)> {
    let (mut ids, mut pages, mut from) = (Vec::new(), 0, None);
    loop {
        let page = store.jobs(&default_queue(), part, from.as_deref()).await?;
        pages += 1;
        for seen in &page.jobs {
            let text = String::from_utf8_lossy(&seen.job.bytes).into_owned();
            let id = text.split('"').nth(3).unwrap_or_default();
            ids.push(id.to_owned());
        }
        from = page.next;
        if from.is_none() {
            return Ok((ids, pages));
        }
    }
}

async fn jobs_are_read_where_they_lie_and_stay_there(store: Store) -> anyhow::Result<()> {
    let consumer = join(&store, LONG).await?;
    push_numbered(&store, 1_102).await?;
    let held = fetch(&consumer, 2).await?;
    let lane = Lane::of_plugin("slow");
    for delivery in fetch(&consumer, 1).await? {
        let lane = lane.clone();
        consumer.settle(delivery, Settlement::Wait { lane }).await;
    }
    let long = format!(
        r#"{{"id":"long","name":"hello","payload":"{}"}}"#,
        "x".repeat(9_000_000)
    );
    let job = |n: usize| format!(r#"{{"id":"d{n}","name":"hello"}}"#);
    // Many of one time, so that a page ends among them.
    let times = (0..1_300).map(|n| {
        due(
            &job(n),
            if n < 1_100 {
                5_000_000
            } else {
                1_000 * i64::try_from(n).unwrap()
            },
        )
    });
    let mut delayed: Vec<Push> = times.collect();
    delayed.push(due(&long, 9_000_000));
    store.push(&delayed).await?;
    until_counts(&store, (1_099, 1_301, 2)).await?;
    let (ready, pages) = read(&store, &Part::Ready).await?;
    assert_eq!(
        (ready.len(), pages, &*ready[0], &*ready[1_098]),
        (1_099, 3, "1101", "3")
    );
    let (delayed, pages) = read(&store, &Part::Delayed).await?;
    let different: BTreeSet<_> = delayed.iter().collect();
    assert_eq!((delayed.len(), different.len()), (1_301, 1_301));
    assert!(delayed[0] == "long" && pages >= 3, "{pages}");
    assert_eq!(read(&store, &Part::Lane(lane)).await?.0, ["2"]);
    assert_eq!(
        read(&store, &Part::InFlight(consumer.host().to_owned())).await?.0,
        ["0", "1"]
    );
    assert_eq!(counts(&store).await?, (1_099, 1_301, 2));
    drop(held);
    Ok(())
}

async fn jobs_are_cancelled_by_name_and_age_wherever_they_lie(store: Store) -> anyhow::Result<()> {
    let consumer = join(&store, LONG).await?;
    let now = store.now().await?;
    let job = |id: &str, name: &str, hours: i64| {
        let at = now - jiff::SignedDuration::from_hours(hours);
        format!(r#"{{"id":"{id}","name":"{name}","created_at":"{at}"}}"#)
    };
    let jobs = [
        job("held", "mail", 5),
        job("lane", "mail", 5),
        job("old", "mail", 2),
        job("new", "mail", 0),
        job("other", "report", 9),
        r#"{"id":"ageless","name":"mail"}"#.to_owned(),
        format!(r#"{{"name":"mail","created_at":"{}"}}"#, Timestamp::UNIX_EPOCH),
        "no job".to_owned(),
    ];
    store
        .push(&jobs.iter().map(|job| ready(job)).collect::<Vec<_>>())
        .await?;
    let due_ms = now.as_millisecond() + 48 * 3_600_000;
    store.push(&[due(&job("late", "mail", 3), due_ms)]).await?;
    let held = fetch(&consumer, 1).await?;
    for delivery in fetch(&consumer, 1).await? {
        let lane = Lane::of_plugin("slow");
        consumer.settle(delivery, Settlement::Wait { lane }).await;
    }
    until_counts(&store, (6, 1, 1)).await?;
    let filter = |name: Option<&str>, hours: Option<u64>| Filter {
        name: name.map(str::to_owned),
        older_than_ms: hours.map(|hours| hours * 3_600_000),
    };
    let queues = [default_queue()];
    let go_on = |_: Looked| ControlFlow::Continue(());
    let old_mail = filter(Some("mail"), Some(1));
    let counted = cancel_matching(&store, &queues, &old_mail, true, go_on).await?;
    assert_eq!(
        (counted.seen, counted.of, counted.matching, counted.untold),
        (9, 9, 4, 2)
    );
    assert_eq!(
        store.cancelled(&default_queue()).await?.version,
        0,
        "it was only counted"
    );
    let done = cancel_matching(&store, &queues, &old_mail, false, go_on).await?;
    assert_eq!(done, counted);
    let marks = store.cancelled(&default_queue()).await?.marks;
    assert_eq!(marks.keys().collect::<Vec<_>>(), ["held", "lane", "late", "old"]);
    assert!(marks["late"] > due_ms && marks["old"] < due_ms, "{marks:?}");
    let all = cancel_matching(&store, &queues, &filter(None, Some(0)), true, go_on).await?;
    assert_eq!((all.matching, all.untold), (6, 2), "what is no job is left alone");
    let first = cancel_matching(&store, &queues, &filter(Some("report"), None), false, |_| {
        ControlFlow::Break(())
    })
    .await?;
    assert!(first.broken_off && first.matching == 0, "{first:?}");
    drop(held);
    Ok(())
}

fn service(concurrency: u32) -> ServiceSettings {
    ServiceSettings {
        burst: false,
        concurrency: NonZeroU32::new(concurrency).expect("more than 0"),
        ..settings()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_ends_as_that_wherever_it_is() -> anyhow::Result<()> {
    let folder = folder_of(&[
        ("spin", ""),
        ("sleep", "concurrency = 1"),
        ("echo", ""),
        ("retry", "retry = { policy = \"fixed\", base = \"2s\" }"),
    ])?;
    for settings in [redis_settings(), StoreSettings::new("memory:")] {
        let store = Store::open(&settings).await?;
        let (serving, stop) = serve(service(4), &store, folder.path()).await?;
        let job = |id: &str, name: &str| format!(r#"{{"id":"{id}","name":"{name}","timeout":60000000000}}"#);
        let jobs = [
            job("spins", "spin"),
            job("sleeps", "sleep"),
            job("waits", "sleep"),
            job("retried", "retry"),
        ];
        push(&store, &jobs.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let soon_ms = store.now().await?.as_millisecond() + 1_500;
        store.push(&[due(&job("delayed", "echo"), soon_ms)]).await?;
        eventually("each in its place", async || {
            let counts = store.counts(&default_queue()).await?;
            Ok((counts.in_flight == 2 && counts.waiting == 1 && counts.delayed == 2).then_some(()))
        })
        .await?;
        let asked = Instant::now();
        cancel_now(&store, &["spins", "sleeps", "waits", "retried", "delayed", "not-yet"]).await?;
        until_counts(&store, (0, 2, 0)).await?;
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
        push(&store, &[&job("not-yet", "echo"), &job("never", "echo")]).await?;
        eventually("all ended", async || {
            let is_done = store.counts(&default_queue()).await?.is_empty() && store.result("never").await?.is_some();
            Ok(is_done.then_some(()))
        })
        .await?;
        stop.cancel();
        assert_eq!(serving.await??, Drained::Clean);
        let failed = failures(&store).await?;
        let ids: Vec<_> = failed.keys().map(String::as_str).collect();
        assert_eq!(ids, ["delayed", "not-yet", "retried", "sleeps", "spins", "waits"]);
        assert!(
            failed.values().all(|kind| *kind == FailureKind::Cancelled),
            "{failed:?}"
        );
        for entry in store.failed(0, 9).await? {
            let (job, failure) = (entry.job().expect("a job"), entry.failure().expect("Kiln's"));
            let ran = matches!(&*job.id, "spins" | "sleeps");
            assert_eq!(failure.attempt, u32::from(ran), "{}", job.id);
            assert_eq!(job.attempts, u32::from(ran || job.id == "retried"), "{}", job.id);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_whose_host_dies_is_not_tried_again() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", "")])?;
    for settings in [redis_settings(), StoreSettings::new("memory:")] {
        let store = Store::open(&settings).await?;
        push_numbered(&store, 1).await?;
        let dead = join(&store, Duration::from_millis(100)).await?;
        std::mem::forget(fetch(&dead, 1).await?);
        cancel_now(&store, &["0"]).await?;
        let (serving, stop) = serve(service(1), &store, folder.path()).await?;
        eventually("its end", async || Ok((store.failed_len().await? == 1).then_some(()))).await?;
        stop.cancel();
        serving.await??;
        assert_eq!(failures(&store).await?["0"], FailureKind::Cancelled);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_cancels_and_undoes() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let kiln_with = |args: &[&str]| said(kiln().args(args), &settings);
    let (code, _, why) = kiln_with(&["cancel", "a"])?;
    assert_eq!((code, &*why), (5, "kiln: no queue is known; name one with --queue\n"));
    let old = r#"{"id":"old","name":"mail","created_at":"2020-01-01T00:00:00Z"}"#;
    store.push(&[ready(old), ready(r#"{"name":"mail"}"#)]).await?;
    let (code, told, _) = kiln_with(&["cancel", "a", "b\u{1b}", "--queue", "default"])?;
    let until = "any job of this id ends, for 24 hours at least";
    assert_eq!(
        (code, told),
        (0, format!("a marked: {until}\nb\\u001b marked: {until}\n"))
    );
    let (_, told, _) = kiln_with(&["cancel", "a", "--json"])?;
    let expected = r#"[{"id":"a","queues":["default"],"was_cancelled":true,"has_completed":false}]"#;
    assert_eq!(told.trim(), expected);
    let (_, told, note) = kiln_with(&["cancel", "--name", "mail", "--older-than", "1h", "--dry-run"])?;
    assert_eq!(told, "1 job would be cancelled of 2 jobs\n");
    let left_out = "note: 1 job was left out, without an id or a time of creation, or too large to be looked through\n";
    assert_eq!(note, left_out);
    let (_, told, _) = kiln_with(&["cancel", "--older-than", "1h", "--json"])?;
    let looked: serde_json::Value = serde_json::from_str(&told)?;
    assert_eq!((&looked["matching"], &looked["broken_off"]), (&1.into(), &false.into()));
    let (_, told, _) = kiln_with(&["cancel", "--undo", "a", "c"])?;
    assert_eq!(told, "a is cancelled no longer\nc was not cancelled\n");
    let (code, told, _) = kiln_with(&["cancel", "--undo", "--all"])?;
    assert_eq!((code, &*told), (0, "2 jobs are cancelled no longer\n"));
    let long = "x".repeat(257);
    for wrong in [
        &["cancel"][..],
        &["cancel", &long],
        &["cancel", "--all"],
        &["cancel", "--dry-run", "a"],
        &["cancel", "--name", "mail", "--all"],
        &["cancel", "--older-than", "1h", "--all"],
    ] {
        assert_eq!(kiln_with(wrong)?.0, 2, "{wrong:?}");
    }
    let others: Vec<_> = (0..MAX_CANCELLED - 1_500).map(|n| n.to_string()).collect();
    store.cancel(&default_queue(), &others, CANCELLED_FOR).await?;
    let many = (0..2_001).map(|n| format!("m{n}")).collect::<Vec<_>>();
    let mut args = vec!["cancel", "--queue", "aside", "--queue", "default"];
    args.extend(many.iter().map(String::as_str));
    let (code, told, why) = kiln_with(&args)?;
    let full = "kiln: queue default has no room for so many cancelled jobs: it keeps 10000 at most; 1000 of 2001 ids were marked \
                there before, all of them in aside\n";
    assert_eq!((code, &*told, &*why), (1, "", full));
    assert_eq!(
        store.cancelled(&default_queue()).await?.marks.len(),
        MAX_CANCELLED - 500
    );
    Ok(())
}
