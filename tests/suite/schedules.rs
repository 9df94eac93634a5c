//! Schedules: which instants they have, that each is fired once however many workers there are, and what operators see.

mod commands;
mod failover;
mod instants;
mod model;
mod simulated;

use std::time::Duration;

use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use kiln::admin::pause::{pause, resume};
use kiln::config::{Manifest, Schedule};
use kiln::job::Job;
use kiln::outcome::Settlement;
use kiln::queue::{Firing, Instant, Pausable, Store, StoreSettings};
use kiln::service::{Drained, ServiceSettings};

use crate::process::Worker;
use crate::queue::{ACK, LONG, counts, fetch, join, ready, texts, until_counts};
use crate::service::{folder_of, serve, settings};
use crate::support::{default_queue, eventually, redis_settings};

on_every_store! {
    a_schedule_that_is_new_is_remembered_and_fires_nothing
    an_instant_is_fired_once_whoever_asks_and_however_often
    an_instant_waits_until_it_has_come_by_the_stores_clock
    hosts_with_other_rules_of_a_zone_fire_a_time_of_day_once
    what_passes_without_a_job_passes_for_every_host
    workers_that_start_after_an_outage_make_up_for_it_once_in_all
    a_schedule_that_skips_fires_again_once_the_job_before_has_ended
    a_job_that_nobody_has_heard_of_for_a_day_holds_up_no_schedule
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// The schedule with these lines.
pub(crate) fn one(lines: &str) -> Schedule {
    let manifest = Manifest::parse(&format!("[[schedule]]\n{lines}")).expect(lines);
    manifest.schedules.into_iter().next().expect("one")
}

fn firing(schedule: &str, instants: Vec<Instant>) -> Firing {
    Firing {
        schedule: schedule.to_owned(),
        shift: SignedDuration::ZERO,
        skips: false,
        instants,
    }
}

fn instant(at: Timestamp, label: &str) -> Instant {
    Instant {
        at,
        label: label.to_owned(),
        job: Some(format!(r#"{{"id":"{at}","name":"hello"}}"#)),
    }
}

/// Has the store remember a schedule as if it had been new so long ago.
async fn remember(store: &Store, schedule: &str, ago: SignedDuration) -> anyhow::Result<Timestamp> {
    let new = Firing {
        shift: ago,
        ..firing(schedule, Vec::new())
    };
    let (_, fired) = store.fire(&default_queue(), &[new]).await?;
    Ok(fired[0].last.expect("remembered"))
}

/// So many instants, a second apart, after a time.
fn seconds_after(time: Timestamp, count: i64) -> Vec<Instant> {
    let second = |n| time + SignedDuration::from_secs(n);
    (1..=count).map(|n| instant(second(n), "")).collect()
}

async fn a_schedule_that_is_new_is_remembered_and_fires_nothing(store: Store) -> anyhow::Result<()> {
    let queue = default_queue();
    let before = store.now().await?;
    let past = vec![instant(before - SignedDuration::from_secs(5), "")];
    let (now, fired) = store
        .fire(&queue, &[firing("a/new", past), firing("a/other", vec![])])
        .await?;
    assert_eq!(fired.iter().map(|fired| fired.jobs).collect::<Vec<_>>(), [0, 0]);
    let names = ["a/new", "a/other", "a/unknown"].map(str::to_owned);
    let last = store.last_fired(&queue, &names).await?;
    let off = |time: Option<Timestamp>| (time.expect("known").duration_since(now)).abs() < SignedDuration::from_secs(1);
    assert!(off(last[0]) && off(last[1]) && last[2].is_none(), "{last:?}");
    assert_eq!(counts(&store).await?, (0, 0, 0));
    Ok(())
}

async fn an_instant_is_fired_once_whoever_asks_and_however_often(store: Store) -> anyhow::Result<()> {
    let queue = default_queue();
    let last = remember(&store, "a/tick", SignedDuration::from_secs(200)).await?;
    let all = seconds_after(last, 100);
    let asks = (0..8).map(async |host| {
        // Each knows another part of what was fired before.
        for begin in [host, 0, 50, host * 10] {
            store.fire(&queue, &[firing("a/tick", all[begin..].to_vec())]).await?;
        }
        anyhow::Ok(())
    });
    // Somebody fires the first of all, or it would count as passed.
    store.fire(&queue, &[firing("a/tick", all[..8].to_vec())]).await?;
    try_join_all(asks).await?;
    let consumer = join(&store, LONG).await?;
    let jobs = texts(&fetch(&consumer, 200).await?);
    let wanted: Vec<_> = all.iter().filter_map(|instant| instant.job.clone()).collect();
    assert_eq!(jobs, wanted);
    Ok(())
}

async fn an_instant_waits_until_it_has_come_by_the_stores_clock(store: Store) -> anyhow::Result<()> {
    let queue = default_queue();
    let last = remember(&store, "a/tick", SignedDuration::from_secs(10)).await?;
    let now = store.now().await?;
    let hour = now + SignedDuration::from_hours(1);
    let both = vec![instant(last + SignedDuration::from_secs(1), ""), instant(hour, "")];
    for jobs in [1, 0] {
        let (_, fired) = store.fire(&queue, &[firing("a/tick", both.clone())]).await?;
        assert_eq!((fired[0].jobs, fired[0].last), (jobs, Some(both[0].at)));
    }
    // Jitter counts as well.
    let shifted = Firing {
        shift: SignedDuration::from_hours(1),
        ..firing("a/tick", vec![instant(now, "")])
    };
    assert_eq!(store.fire(&queue, &[shifted]).await?.1[0].jobs, 0);
    Ok(())
}

async fn hosts_with_other_rules_of_a_zone_fire_a_time_of_day_once(store: Store) -> anyhow::Result<()> {
    let queue = default_queue();
    let last = remember(&store, "a/daily", SignedDuration::from_hours(72)).await?;
    let hours = |n| last + SignedDuration::from_hours(n);
    let mut fired = Vec::new();
    for (at, label) in [
        (hours(1), "2026-10-25T03:00:00[Europe/Berlin]"),
        (hours(2), "2026-10-25T03:00:00[Europe/Berlin]"),
        (hours(25), "2026-10-26T03:00:00[Europe/Berlin]"),
        (hours(26), "2026-10-26T03:00:00[Europe/Berlin]"),
        // The same wall clock, but another schedule by now.
        (hours(27), "2026-10-26T03:00:00[Asia/Tokyo]"),
    ] {
        let (_, answer) = store
            .fire(&queue, &[firing("a/daily", vec![instant(at, label)])])
            .await?;
        assert_eq!(answer[0].last, Some(at), "it goes on from there");
        fired.push(answer[0].jobs);
    }
    assert_eq!(fired, [1, 0, 1, 0, 1]);
    Ok(())
}

async fn what_passes_without_a_job_passes_for_every_host(store: Store) -> anyhow::Result<()> {
    let queue = default_queue();
    let last = remember(&store, "a/late", SignedDuration::from_hours(5)).await?;
    let passes = Instant {
        job: None,
        ..instant(last + SignedDuration::from_hours(1), "")
    };
    let with_job = instant(passes.at, "");
    for instant in [passes, with_job] {
        let at = instant.at;
        let (_, fired) = store.fire(&queue, &[firing("a/late", vec![instant])]).await?;
        assert_eq!((fired[0].jobs, fired[0].last), (0, Some(at)));
    }
    Ok(())
}

/// Fires one instant of a schedule that skips. Returns how many jobs were pushed, and how many were not.
async fn fire_skipping(store: &Store, at: Timestamp) -> anyhow::Result<(usize, usize)> {
    let job = Some(format!(r#"{{"id":"cron:a:b/slow:{at}","name":"hello"}}"#));
    let instant = Instant { job, ..instant(at, "") };
    let one = Firing {
        skips: true,
        ..firing("a:b/slow", vec![instant])
    };
    let (_, fired) = store.fire(&default_queue(), &[one]).await?;
    assert_eq!(fired[0].last, Some(at), "it passes in any case");
    Ok((fired[0].jobs, fired[0].skipped))
}

async fn a_schedule_that_skips_fires_again_once_the_job_before_has_ended(store: Store) -> anyhow::Result<()> {
    let begin = remember(&store, "a:b/slow", SignedDuration::from_secs(1_000)).await?;
    let mut seconds = 0;
    let mut fire = async || {
        seconds += 1;
        fire_skipping(&store, begin + SignedDuration::from_secs(seconds)).await
    };
    let consumer = join(&store, LONG).await?;
    let take = async || anyhow::Ok(fetch(&consumer, 9).await?.pop().expect("a job"));
    assert_eq!(fire().await?, (1, 0));
    assert_eq!(fire().await?, (0, 1), "it waits");
    let delivery = take().await?;
    assert_eq!(fire().await?, (0, 1), "it runs");
    let job = texts(std::slice::from_ref(&delivery)).remove(0);
    let wait = Duration::ZERO;
    consumer
        .settle(delivery, Settlement::Retry { job: job.clone(), wait })
        .await;
    eventually("it is due again", async || {
        Ok((store.promote(&default_queue()).await? == 1).then_some(()))
    })
    .await?;
    assert_eq!(fire().await?, (0, 1), "it is to run again");
    drop(take().await?);
    let delivery = take().await?;
    assert_eq!(fire().await?, (0, 1), "it went back");
    consumer.settle(delivery, Settlement::Fail { entry: job }).await;
    until_counts(&store, (0, 0, 0)).await?;

    // Each way in which a job can end.
    for way in ["a result", "none", "a commit"] {
        assert_eq!((fire().await?, fire().await?), ((1, 0), (0, 1)), "before {way}");
        let delivery = take().await?;
        let job = delivery.decode()?;
        delivery.starts(&job);
        let settlement = match way {
            "a result" => Settlement::Ack {
                result: Some((job.id.clone(), "1".to_owned())),
            },
            "none" => ACK,
            _ => Settlement::Commit(r#"{"writes":[]}"#.to_owned()),
        };
        consumer.settle(delivery, settlement).await;
        until_counts(&store, (0, 0, 0)).await?;
    }
    assert_eq!(fire().await?, (1, 0));
    // What ends now is not what the schedule waits for.
    let other = format!(r#"{{"id":"cron:a:b/slow:{begin}","name":"hello"}}"#);
    store.push(&[ready(&other)]).await?;
    let held = fetch(&consumer, 9).await?;
    for delivery in held {
        let job = delivery.decode()?;
        if job.id.ends_with(&begin.to_string()) {
            consumer
                .settle(delivery, Settlement::Fail { entry: other.clone() })
                .await;
        }
    }
    until_counts(&store, (0, 0, 1)).await?;
    assert_eq!(fire().await?, (0, 1));
    Ok(())
}

async fn a_job_that_nobody_has_heard_of_for_a_day_holds_up_no_schedule(store: Store) -> anyhow::Result<()> {
    let begin = remember(&store, "a:b/slow", SignedDuration::from_hours(30)).await?;
    let hours = |n| begin + SignedDuration::from_hours(n);
    assert_eq!(fire_skipping(&store, hours(5)).await?, (1, 0));
    assert_eq!(fire_skipping(&store, hours(20)).await?, (1, 0));
    assert_eq!(fire_skipping(&store, hours(28)).await?, (0, 1));
    Ok(())
}

/// A service that goes on until it is stopped.
fn service() -> ServiceSettings {
    ServiceSettings {
        burst: false,
        ..settings()
    }
}

const TICK: &str = "[[schedule]]\nid = \"tick\"\nevery = \"1s\"\ncatch_up = \"all\"\npayload = { n = 7 }\n";

/// The ids of all jobs that are ready, which are then taken.
async fn take_ids(store: &Store) -> anyhow::Result<Vec<String>> {
    let consumer = join(store, LONG).await?;
    // Held until the end: what is dropped goes back.
    let mut held = Vec::new();
    while counts(store).await?.0 > 0 {
        held.extend(fetch(&consumer, 100).await?);
    }
    let jobs = texts(&held);
    Ok(jobs.iter().map(|job| Job::decode(job.as_bytes()).unwrap().id).collect())
}

/// The ids of the jobs of so many instants, a second apart, after a time.
fn ids_after(schedule: &str, time: Timestamp, count: usize) -> Vec<String> {
    let first = time.as_second() + 1;
    let second = |n: usize| Timestamp::from_second(first + i64::try_from(n).unwrap()).unwrap();
    (0..count).map(|n| format!("cron:{schedule}:{}", second(n))).collect()
}

async fn workers_that_start_after_an_outage_make_up_for_it_once_in_all(store: Store) -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", TICK)])?;
    let last = remember(&store, "echo/tick", SignedDuration::from_secs(60)).await?;
    // Paused, so that what was pushed can be looked at.
    pause(&store, &Pausable::Queue(default_queue()), "", "").await?;
    let mut services = Vec::new();
    for _ in 0..3 {
        services.push(serve(service(), &store, folder.path()).await?);
    }
    eventually("60 instants are made up for", async || {
        Ok((counts(&store).await?.0 >= 60).then_some(()))
    })
    .await?;
    for (_, stop) in &services {
        stop.cancel();
    }
    for (serving, _) in services {
        assert_eq!(serving.await??, Drained::Clean);
    }
    resume(&store, &Pausable::Queue(default_queue())).await?;
    let ids = take_ids(&store).await?;
    assert_eq!(
        ids,
        ids_after("echo/tick", last, ids.len()),
        "each once, in order, and none left out"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_workers_that_are_killed_and_started_again_fire_each_instant_once() -> anyhow::Result<()> {
    let names = ["one", "two", "three", "four", "five"];
    let manifest = names.map(|name| TICK.replace("tick", name)).concat();
    let folder = folder_of(&[("echo", &manifest)])?;
    let (settings, queue) = (redis_settings(), default_queue());
    let store = Store::open(&settings).await?;
    let mut begin = Vec::new();
    for name in names {
        begin.push(remember(&store, &format!("echo/{name}"), SignedDuration::from_secs(95)).await?);
    }
    pause(&store, &Pausable::Queue(queue.clone()), "", "").await?;
    let start = || Worker::start(&settings, folder.path(), &[]);
    let mut workers = (0..10).map(|_| start()).collect::<anyhow::Result<Vec<_>>>()?;
    let last = async || anyhow::Ok(store.last_fired(&queue, &["echo/one".to_owned()]).await?[0]);
    // At each instant one is killed, and another starts.
    for killed in &mut workers {
        let before = last().await?;
        eventually("another instant", async || Ok((last().await? > before).then_some(()))).await?;
        killed.signal("-KILL")?;
        *killed = start()?;
    }
    drop(workers);
    resume(&store, &Pausable::Queue(queue)).await?;
    let ids = take_ids(&store).await?;
    assert!(ids.len() >= 500, "{}", ids.len());
    for (name, begin) in names.iter().zip(begin) {
        let of_this = ids.iter().filter(|id| id.starts_with(&format!("cron:echo/{name}:")));
        let of_this: Vec<_> = of_this.cloned().collect();
        assert_eq!(of_this, ids_after(&format!("echo/{name}"), begin, of_this.len()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_drains_or_only_empties_its_queues_fires_nothing() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", TICK)])?;
    for settings_of in [redis_settings(), StoreSettings::new("memory:")] {
        let store = Store::open(&settings_of).await?;
        let last = remember(&store, "echo/tick", SignedDuration::from_secs(5)).await?;
        let (burst, _) = serve(settings(), &store, folder.path()).await?;
        assert_eq!(burst.await??, Drained::Clean);
        let known = store.last_fired(&default_queue(), &["echo/tick".to_owned()]).await?;
        assert_eq!(known, [Some(last)], "nothing was fired");

        let nap = folder_of(&[("nap", TICK)])?;
        remember(&store, "nap/tick", SignedDuration::from_secs(5)).await?;
        let (serving, stop) = serve(service(), &store, nap.path()).await?;
        let of_nap = async || anyhow::Ok(store.last_fired(&default_queue(), &["nap/tick".to_owned()]).await?[0]);
        stop.cancel();
        serving.await??;
        let drained = of_nap().await?;
        let next = drained.expect("known") + SignedDuration::from_secs(2);
        eventually("two seconds more", async || {
            Ok((store.now().await? > next).then_some(()))
        })
        .await?;
        assert_eq!(of_nap().await?, drained);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_comes_and_goes_with_the_manifest_of_its_plugin() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", "")])?;
    let store = Store::open(&StoreSettings::new("memory:")).await?;
    let watching = kiln::plugins::Watching {
        by_itself: true,
        ..Default::default()
    };
    let settings = ServiceSettings { watching, ..service() };
    let (serving, stop) = serve(settings, &store, folder.path()).await?;
    let known = async || anyhow::Ok(store.last_fired(&default_queue(), &["echo/tick".to_owned()]).await?[0]);
    std::fs::write(folder.path().join("echo.toml"), TICK)?;
    let new = eventually("the schedule is known", known).await?;
    let fired = eventually("it fires", async || Ok(known().await?.filter(|last| *last > new))).await?;
    assert!(fired.as_millisecond() % 1000 == 0 && fired.duration_since(new) <= SignedDuration::from_secs(2));
    // A manifest that cannot be used changes nothing.
    std::fs::write(folder.path().join("echo.toml"), TICK.replace("1s", "soon"))?;
    let later = async || {
        Ok(known()
            .await?
            .filter(|last| *last >= fired + SignedDuration::from_secs(2)))
    };
    eventually("it goes on", later).await?;
    std::fs::write(folder.path().join("echo.toml"), "")?;
    let mut before = known().await?;
    let quiet = async || {
        let now = store.now().await?;
        let last = known().await?;
        before = before.max(last);
        Ok((now.duration_since(before.expect("known")) > SignedDuration::from_millis(2_500)).then_some(()))
    };
    eventually("it has ended", quiet).await?;
    stop.cancel();
    serving.await??;
    Ok(())
}
