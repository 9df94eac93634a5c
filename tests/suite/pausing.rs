//! Pausing queues and job names: every host hears of it at once, nothing paused starts, and nothing is asked again and
//! again meanwhile.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kiln::admin::pause::{pause, resume};
use kiln::admin::stats::since;
use kiln::outcome::Lane;
use kiln::queue::{Consumer, MAX_PAUSED_JOBS, Pausable, Pause, Push, QueueError, QueueName, Store, StoreSettings};
use kiln::service::{Drained, ServiceSettings};

use crate::process::Worker;
use crate::queue::{ACK, LONG, counts, due, fetch, join, push_numbered, texts, until_counts};
use crate::servers::Server;
use crate::service::{folder_of, push, serve, settings};
use crate::support::{default_queue, eventually, kiln, redis_settings, settings_at};

on_every_store! {
    a_paused_queue_gives_nothing_and_everything_once_it_is_resumed
    every_host_hears_of_a_pause_and_of_its_end_at_once
    a_paused_job_name_is_heard_of_on_every_queue
    what_is_paused_says_who_paused_it_and_why
    no_more_job_names_are_paused_than_hosts_can_keep
    delayed_jobs_of_a_paused_queue_fall_due_and_wait
}

/// Less than a look lasts where nothing is told.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(3);

fn queue() -> Pausable {
    Pausable::Queue(default_queue())
}

fn job(name: &str) -> Pausable {
    Pausable::job(name).expect("a name")
}

async fn order(store: &Store, what: &Pausable, paused: bool) -> anyhow::Result<()> {
    if paused {
        pause(store, what, "", "").await?;
    } else {
        resume(store, what).await?;
    }
    Ok(())
}

/// Looks at orders until something holds, and no longer than a look takes that is told of a change.
pub(crate) async fn until_heard(host: &Consumer, holds: impl Fn(&Consumer) -> bool) -> anyhow::Result<()> {
    let looking = async {
        while !holds(host) {
            host.look_at_orders().await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(AT_ONCE, looking).await?
}

async fn a_paused_queue_gives_nothing_and_everything_once_it_is_resumed(store: Store) -> anyhow::Result<()> {
    let pushed = push_numbered(&store, 3).await?;
    let consumer = join(&store, LONG).await?;
    consumer.look_at_orders().await?;
    let before = fetch(&consumer, 1).await?;
    pause(&store, &queue(), "ana", "").await?;
    assert_eq!(fetch(&consumer, 9).await?.len(), 0);
    assert!(consumer.is_paused(&default_queue()), "the fetch has told it");
    for delivery in before {
        consumer.settle(delivery, ACK).await;
    }
    until_counts(&store, (2, 0, 0)).await?;
    assert!(resume(&store, &queue()).await?.before.is_some());
    assert_eq!(texts(&fetch(&consumer, 9).await?), pushed[1..]);
    until_heard(&consumer, |host| !host.is_paused(&default_queue())).await
}

async fn every_host_hears_of_a_pause_and_of_its_end_at_once(store: Store) -> anyhow::Result<()> {
    let hosts = [join(&store, LONG).await?, join(&store, LONG).await?];
    for host in &hosts {
        host.look_at_orders().await?;
        assert!(!host.is_paused(&default_queue()));
    }
    for paused in [true, false] {
        let hears = |host: &Consumer| host.is_paused(&default_queue()) == paused;
        let queue = queue();
        let (done, one, other) = tokio::join!(
            order(&store, &queue, paused),
            until_heard(&hosts[0], hears),
            until_heard(&hosts[1], hears)
        );
        done.and(one).and(other)?;
    }
    Ok(())
}

async fn a_paused_job_name_is_heard_of_on_every_queue(store: Store) -> anyhow::Result<()> {
    let host = join(&store, LONG).await?;
    host.look_at_orders().await?;
    for paused in [true, false] {
        let hears = |host: &Consumer| host.is_job_paused("mail") == paused;
        let mail = job("mail");
        let (done, told) = tokio::join!(order(&store, &mail, paused), until_heard(&host, hears));
        done.and(told)?;
        assert!(!host.is_job_paused("other") && !host.is_paused(&default_queue()));
    }
    Ok(())
}

async fn what_is_paused_says_who_paused_it_and_why(store: Store) -> anyhow::Result<()> {
    let first = pause(&store, &queue(), "ana@web", "the database moves").await?;
    assert_eq!((first.before, first.is_known), (None, false));
    let now = first.now.expect("a pause");
    assert_eq!(store.counts(&default_queue()).await?.paused.as_ref(), Some(&now));
    assert_eq!(
        now.to_string(),
        format!("since {} by ana@web: the database moves", now.at)
    );
    let second = pause(&store, &queue(), "bob", "").await?;
    assert_eq!((second.before, second.is_known), (Some(now), true));
    pause(&store, &job("mail"), "bob", "spam").await?;
    let jobs = store.paused_jobs().await?;
    assert_eq!((jobs.len(), &*jobs["mail"].reason), (1, "spam"));
    assert!(resume(&store, &job("mail")).await?.before.is_some());
    assert_eq!(resume(&store, &job("mail")).await?.before, None);
    assert_eq!(store.paused_jobs().await?, BTreeMap::new());
    Ok(())
}

async fn no_more_job_names_are_paused_than_hosts_can_keep(store: Store) -> anyhow::Result<()> {
    let nobody = Pause::default();
    for n in 0..MAX_PAUSED_JOBS {
        store.pause(&job(&n.to_string()), &nobody).await?;
    }
    store.pause(&job("7"), &nobody).await?;
    let refused = store.pause(&job("one more"), &nobody).await;
    assert!(matches!(refused, Err(QueueError::Full { .. })), "{refused:?}");
    store.resume(&job("7")).await?;
    store.pause(&job("one more"), &nobody).await?;
    Ok(())
}

async fn delayed_jobs_of_a_paused_queue_fall_due_and_wait(store: Store) -> anyhow::Result<()> {
    store.push(&[due(r#"{"id":"1","name":"hello"}"#, 1)]).await?;
    pause(&store, &queue(), "", "").await?;
    let consumer = join(&store, LONG).await?;
    assert_eq!(store.promote(&default_queue()).await?, 1);
    assert_eq!(fetch(&consumer, 9).await?.len(), 0);
    assert_eq!(counts(&store).await?, (1, 0, 0));
    Ok(())
}

#[tokio::test]
async fn a_host_that_cannot_read_which_jobs_are_paused_does_not_take_them_for_running() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    redis.set_user("kiln", &["on", ">secret", "~*", "+@all"]).await?;
    let mut settings = settings_at(&redis.url());
    settings.connection.user = Some("kiln".to_owned());
    settings.connection.password = Some("secret".to_owned());
    let store = Store::open(&settings).await?;
    pause(&store, &job("mail"), "", "").await?;
    let host = join(&store, LONG).await?;
    redis.set_user("kiln", &["resetkeys", "~*:orders"]).await?;
    let looked = host.look_at_orders().await;
    assert!(looked.is_err(), "a first look that saw half");
    redis.set_user("kiln", &["~*"]).await?;
    host.look_at_orders().await?;
    assert!(host.is_job_paused("mail"));
    redis.set_user("kiln", &["resetkeys", "~*:orders"]).await?;
    host.look_at_orders().await?;
    assert!(host.is_job_paused("mail"), "what was read once counts on");
    Ok(())
}

/// Settings for a service that goes on until it is stopped, with so many attempts at once.
fn service(concurrency: u32) -> ServiceSettings {
    ServiceSettings {
        burst: false,
        concurrency: NonZeroU32::new(concurrency).expect("more than 0"),
        ..settings()
    }
}

async fn push_echoes(store: &Store, ids: std::ops::Range<usize>) -> anyhow::Result<Vec<String>> {
    let jobs: Vec<_> = ids
        .map(|n| format!(r#"{{"id":"{n}","name":"echo","payload":{n}}}"#))
        .collect();
    push(store, &jobs.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    Ok(jobs)
}

async fn until_result(store: &Store, id: &str) -> anyhow::Result<()> {
    eventually(&format!("the result of {id}"), async || Ok(store.result(id).await?)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_jobs_back_under_load_and_on_hosts_that_start_later() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", "")])?;
    for settings in [redis_settings(), StoreSettings::new("memory:")] {
        let store = Store::open(&settings).await?;
        let (serving, stop) = serve(service(4), &store, folder.path()).await?;
        push_echoes(&store, 0..2_000).await?;
        until_result(&store, "10").await?;
        pause(&store, &queue(), "", "").await?;
        // What was taken before runs to its end, and nothing is taken any more.
        eventually("nothing in flight", async || {
            Ok((counts(&store).await?.2 == 0).then_some(()))
        })
        .await?;
        let left = counts(&store).await?;
        assert!(left.0 > 0, "all were done before the pause");
        stop.cancel();
        serving.await??;
        // It looks at the paused queue first, and then at another one.
        let other = QueueName::new("other").map_err(anyhow::Error::msg)?;
        let both = [default_queue(), other.clone()].map(|queue| (queue, NonZeroU32::MIN));
        let later = ServiceSettings {
            queues: both.to_vec(),
            strict: true,
            ..service(4)
        };
        let (serving, stop) = serve(later, &store, folder.path()).await?;
        push_echoes(&store, 2_000..2_001).await?;
        let job = r#"{"id":"other","name":"echo","payload":1}"#.to_owned();
        store
            .push(&[Push {
                queue: other,
                job,
                due_ms: None,
            }])
            .await?;
        until_result(&store, "other").await?;
        assert_eq!(counts(&store).await?, (left.0 + 1, 0, 0));
        resume(&store, &queue()).await?;
        until_result(&store, "2000").await?;
        stop.cancel();
        assert_eq!(serving.await??, Drained::Clean);
        assert_eq!((counts(&store).await?, store.failed_len().await?), ((0, 0, 0), 0));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_paused_name_take_no_place_and_keep_their_order() -> anyhow::Result<()> {
    let folder = folder_of(&[("nap", "concurrency = 1"), ("echo", "")])?;
    let naps: Vec<_> = (0..100)
        .map(|n| format!(r#"{{"id":"nap-{n}","name":"nap","payload":1}}"#))
        .collect();
    for settings in [redis_settings(), StoreSettings::new("memory:")] {
        let store = Store::open(&settings).await?;
        pause(&store, &job("nap"), "", "").await?;
        push(&store, &naps.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        push_echoes(&store, 0..20).await?;
        let (serving, stop) = serve(service(1), &store, folder.path()).await?;
        for n in 0..20 {
            until_result(&store, &n.to_string()).await?;
        }
        let lane = Lane::of_job("nap");
        eventually("all of them in their lane", async || {
            let lanes = store.counts(&default_queue()).await?.lanes;
            Ok((lanes == BTreeMap::from([(lane.to_string(), 100)])).then_some(()))
        })
        .await?;
        resume(&store, &job("nap")).await?;
        until_result(&store, "nap-99").await?;
        assert_eq!(counts(&store).await?, (0, 0, 0), "the last comes last");
        stop.cancel();
        assert_eq!(serving.await??, Drained::Clean);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_by_itself_leaves_what_is_paused() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", ""), ("echo", "")])?;
    let (redis, echoes) = (
        redis_settings(),
        [r#"{"id":"1","name":"echo"}"#, r#"{"id":"2","name":"ok"}"#],
    );
    let store = Store::open(&redis).await?;
    let ended = async |left: (u64, u64, u64)| -> anyhow::Result<()> {
        let mut worker = Worker::start(&redis, folder.path(), &["--burst"])?;
        let code = eventually("its end", async || worker.exit_code()).await?;
        assert_eq!((code, counts(&store).await?), (0, left));
        assert_eq!(worker.lines_with("leaving jobs that are paused").len(), 1);
        Ok(())
    };
    push(&store, &echoes).await?;
    pause(&store, &job("echo"), "", "").await?;
    ended((0, 0, 0)).await?;
    assert_eq!(store.counts(&default_queue()).await?.waiting, 1);
    until_result(&store, "2").await?;
    pause(&store, &queue(), "", "").await?;
    push(&store, &echoes).await?;
    store.push(&[due(echoes[0], i64::MAX / 2)]).await?;
    ended((2, 1, 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_again_and_again_while_a_full_queue_is_paused() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let store = Store::open(&settings_at(&redis.url())).await?;
    let folder = folder_of(&[("echo", "")])?;
    let (serving, stop) = serve(service(4), &store, folder.path()).await?;
    // It is time that is measured: there is no event to wait for where nothing happens.
    let in_six_seconds = async || -> anyhow::Result<u64> {
        let before = redis.commands().await?;
        tokio::time::sleep(Duration::from_secs(6)).await;
        Ok(redis.commands().await? - before)
    };
    push_echoes(&store, 0..1).await?;
    until_result(&store, "0").await?;
    // What the worker has counted goes to the store once, at some time. From then on nothing is counted: no job ends.
    let counted = async || {
        Ok(since(&store, Duration::from_hours(1))
            .await?
            .queues
            .get("default")
            .map(|_| ()))
    };
    eventually("the job is counted", counted).await?;
    let idle = in_six_seconds().await?;
    pause(&store, &queue(), "", "").await?;
    pause(&store, &job("echo"), "", "").await?;
    push_echoes(&store, 0..500).await?;
    let paused = in_six_seconds().await?;
    assert!(
        paused <= idle + 20,
        "{paused} commands while paused, and {idle} when idle"
    );
    resume(&store, &queue()).await?;
    eventually("all in their lane", async || {
        Ok((store.counts(&default_queue()).await?.waiting == 500).then_some(()))
    })
    .await?;
    let lane = in_six_seconds().await?;
    assert!(
        lane <= idle + 20,
        "{lane} commands while a name is paused, and {idle} when idle"
    );
    stop.cancel();
    serving.await??;
    Ok(())
}

pub(crate) fn said(command: &mut Command, settings: &StoreSettings) -> anyhow::Result<(i32, String, String)> {
    let output = command
        .args(["--store", &settings.url, "--prefix", &settings.prefix])
        .output()?;
    Ok((
        output.status.code().unwrap_or(-1),
        String::from_utf8(output.stdout)?,
        String::from_utf8(output.stderr)?,
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_pauses_resumes_and_shows_what_is_paused() -> anyhow::Result<()> {
    let settings = redis_settings();
    let kiln_with = |args: &[&str]| said(kiln().args(args).env("USER", "ana"), &settings);
    let (code, told, note) = kiln_with(&["pause", "default", "--job", "mail", "--reason", "down\u{1b}"])?;
    assert_eq!((code, &*told), (0, "queue default paused\njob mail paused\n"));
    assert_eq!(note, "note: nobody serves queue default, and it holds no jobs\n");
    let (_, told, _) = kiln_with(&["queues"])?;
    assert!(
        told.contains("\n  paused since 20") && told.contains(" by ana@"),
        "{told}"
    );
    assert!(
        told.contains("\njob mail: paused since 20") && told.contains(": down\\u001b\n"),
        "{told}"
    );
    let (_, told, _) = kiln_with(&["queues", "--json"])?;
    let figures: serde_json::Value = serde_json::from_str(&told)?;
    assert_eq!(figures["queues"]["default"]["paused"]["reason"], "down\\u001b");
    assert_eq!(figures["paused_jobs"]["mail"]["reason"], "down\\u001b");
    let folder = folder_of(&[])?;
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let (plugins, cache) = (path(folder.path()), path(&folder.path().join("cache")));
    let (_, told, _) = kiln_with(&["doctor", "--plugins", &plugins, "--cache-dir", &cache])?;
    assert!(
        told.contains("queue default is paused since 20") && told.contains("job mail is paused since 20"),
        "{told}"
    );
    let (code, told, _) = kiln_with(&["resume", "default", "--json"])?;
    let resumed: serde_json::Value = serde_json::from_str(&told)?;
    assert_eq!(
        (code, &resumed[0]["queue"], &resumed[0]["now"]),
        (0, &"default".into(), &().into())
    );
    let (code, told, _) = kiln_with(&["resume", "default"])?;
    assert_eq!((code, &*told), (0, "queue default was not paused\n"));
    let (code, _, why) = kiln_with(&["pause"])?;
    assert!(code == 2 && why.contains("QUEUE"), "{why}");
    let (code, _, why) = kiln_with(&["pause", "default", "--reason", &"x".repeat(257)])?;
    assert!(code == 2 && why.contains("at most 256 are kept"), "{why}");
    Ok(())
}
