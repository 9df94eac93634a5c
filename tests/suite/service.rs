//! The line of one job, end to end: a service on a store, real components, and what became of every job.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kiln::config::{PluginSettings, SandboxSettings, Unknown};
use kiln::events::Events;
use kiln::job::Job;
use kiln::outcome::FailureKind;
use kiln::plugins::{Plugins, Resolved, Watching};
use kiln::queue::{FailedEntry, Push, QueueError, QueueName, Store, StoreSettings};
use kiln::sandbox::Sandbox;
use kiln::service::{self, Drained, ServiceSettings};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::guests::guest;
use crate::queue::{due, ready};
use crate::support::{default_queue, eventually, plugins, redis_settings, shared_redis};

pub(crate) const CONCURRENCY: NonZeroU32 = NonZeroU32::new(16).unwrap();

pub(crate) fn memory() -> StoreSettings {
    StoreSettings::new("memory:")
}

pub(crate) fn settings() -> ServiceSettings {
    ServiceSettings {
        burst: true,
        watching: Watching::default(),
        ..ServiceSettings::new(default_queue(), CONCURRENCY)
    }
}

/// A folder with these guests as plugins, each with a manifest.
pub(crate) fn folder_of(guests: &[(&str, &str)]) -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    for (name, manifest) in guests {
        std::fs::write(folder.path().join(name).with_extension("wasm"), guest(name)?)?;
        std::fs::write(folder.path().join(name).with_extension("toml"), manifest)?;
    }
    Ok(folder)
}

pub(crate) async fn open_plugins(folder: &Path) -> anyhow::Result<Arc<Plugins>> {
    open_plugins_with(folder, PluginSettings::default()).await
}

pub(crate) async fn open_plugins_with(folder: &Path, settings: PluginSettings) -> anyhow::Result<Arc<Plugins>> {
    let sandbox = Arc::new(Sandbox::new(&SandboxSettings::new(CONCURRENCY))?);
    Ok(Plugins::open(sandbox, folder, settings, Events::default()).await?)
}

pub(crate) async fn push(store: &Store, jobs: &[&str]) -> anyhow::Result<()> {
    let push = |job: &&str| Push {
        queue: default_queue(),
        job: (*job).to_owned(),
        due_ms: None,
    };
    Ok(store.push(&jobs.iter().map(push).collect::<Vec<_>>()).await?)
}

/// Serves until nothing is left to do.
async fn burst(store: &Store, folder: &Path) -> anyhow::Result<Drained> {
    Ok(service::run(
        settings(),
        store.clone(),
        open_plugins(folder).await?,
        CancellationToken::new(),
    )
    .await?)
}

/// Serves until the token is cancelled.
pub(crate) async fn serve(
    settings: ServiceSettings,
    store: &Store,
    folder: &Path,
) -> anyhow::Result<(JoinHandle<Result<Drained, QueueError>>, CancellationToken)> {
    let stop = CancellationToken::new();
    let serving = service::run(settings, store.clone(), open_plugins(folder).await?, stop.clone());
    Ok((tokio::spawn(serving), stop))
}

pub(crate) async fn failures(store: &Store) -> anyhow::Result<BTreeMap<String, FailureKind>> {
    let entries = store.failed(0, 10_000).await?;
    Ok(entries
        .iter()
        .map(|entry| (entry.job().unwrap().id.clone(), entry.failure().unwrap().kind))
        .collect())
}

const RETRY_AT_ONCE: &str = "retry = { policy = \"fixed\", base = \"1ms\" }";

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_end_leads_where_it_should_and_nothing_is_left() -> anyhow::Result<()> {
    let at_once = |extra: &str| format!("{extra}\n{RETRY_AT_ONCE}");
    let short = at_once("timeout = \"300ms\"");
    let retry = at_once("");
    let folder = folder_of(&[
        ("ok", ""),
        ("echo", ""),
        ("retry", &retry),
        ("permanent", &retry),
        ("trap", &retry),
        ("spin", &short),
        ("grow", &retry),
    ])?;
    std::fs::write(folder.path().join("broken.wasm"), "not wasm")?;
    for store in [Store::open(&memory()).await?, Store::open(&redis_settings()).await?] {
        push(
            &store,
            &[
                r#"{"id":"ok","name":"ok"}"#,
                r#"{"id":"echo","name":"echo","payload":{"n": 9007199254741455.10}}"#,
                r#"{"id":"retry","name":"retry"}"#,
                r#"{"id":"permanent","name":"permanent"}"#,
                r#"{"id":"trap","name":"trap"}"#,
                r#"{"id":"spin","name":"spin","max_attempts":1}"#,
                r#"{"id":"grow","name":"grow"}"#,
                r#"{"id":"nobody","name":"nobody"}"#,
                r#"{"id":"broken","name":"broken","max_attempts":1}"#,
            ],
        )
        .await?;
        assert_eq!(burst(&store, folder.path()).await?, Drained::Clean);
        let expected = [
            ("retry", FailureKind::Error),
            ("permanent", FailureKind::Rejected),
            ("trap", FailureKind::Trap),
            ("spin", FailureKind::Timeout),
            ("grow", FailureKind::Memory),
            ("nobody", FailureKind::UnknownJob),
            ("broken", FailureKind::Unloadable),
        ];
        assert_eq!(
            failures(&store).await?,
            expected.map(|(id, kind)| (id.to_owned(), kind)).into()
        );
        assert!(store.counts(&default_queue()).await?.is_empty());
        assert_eq!(
            store.result("echo").await?.as_deref(),
            Some(r#"{"n": 9007199254741455.10}"#)
        );
        let entry_of =
            |entries: Vec<FailedEntry>, id: &str| entries.into_iter().find(|entry| entry.job().unwrap().id == id);
        let unknown = entry_of(store.failed(0, 100).await?, "nobody").unwrap();
        assert_eq!(
            (unknown.job().unwrap().attempts, unknown.failure().unwrap().attempt),
            (0, 0),
            "none was made"
        );
        let trapped = entry_of(store.failed(0, 100).await?, "trap").unwrap();
        let (job, failure) = (trapped.job().unwrap(), trapped.failure().unwrap());
        assert_eq!((job.attempts, failure.attempt, &*failure.handler), (3, 3, "trap"));
        assert!(failure.backtrace.is_some() && failure.digest.len() == 64);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_jobs_of_dg_queue_all_end_somewhere_with_their_payloads_unchanged() -> anyhow::Result<()> {
    let sample: Vec<&str> = include_str!("../data/dg-queue-jobs.ndjson").lines().collect();
    let folder = tempfile::tempdir()?;
    for file in ["markdown.wasm", "markdown.toml"] {
        std::fs::copy(plugins().join(file), folder.path().join(file))?;
    }
    let store = Store::open(&redis_settings()).await?;
    push(&store, &sample).await?;
    // Not every sample job belongs to the default queue by its own word; all were found on it.
    burst(&store, folder.path()).await?;
    assert!(store.counts(&default_queue()).await?.is_empty());
    let failed = store.failed(0, 1_000).await?;
    let jobs: BTreeMap<String, Job> = sample
        .iter()
        .map(|line| Job::decode(line.as_bytes()).unwrap())
        .map(|job| (job.id.clone(), job))
        .collect();
    let unhandled = jobs.values().filter(|job| job.name != "markdown").count();
    assert_eq!(failed.len(), unhandled, "the others are acknowledged");
    for entry in &failed {
        let job = entry.job().unwrap();
        assert_eq!(entry.failure().unwrap().kind, FailureKind::UnknownJob);
        assert_eq!(job.payload.get(), jobs[&job.id].payload.get());
    }
    for job in jobs.values().filter(|job| job.name == "markdown") {
        assert!(
            store
                .result(&job.id)
                .await?
                .is_some_and(|result| result.contains("html")),
            "{}",
            job.id
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_runs_what_is_pushed_and_what_falls_due() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", "")])?;
    let store = Store::open(&redis_settings()).await?;
    let (serving, stop) = serve(
        ServiceSettings {
            burst: false,
            ..settings()
        },
        &store,
        folder.path(),
    )
    .await?;
    eventually("a host", async || {
        Ok((!store.counts(&default_queue()).await?.hosts.is_empty()).then_some(()))
    })
    .await?;
    push(&store, &[r#"{"id":"now","name":"echo","payload":1}"#]).await?;
    eventually("the result of a job pushed", async || Ok(store.result("now").await?)).await?;
    let due_ms = jiff::Timestamp::now().as_millisecond() + 200;
    let later = r#"{"id":"later","name":"echo","payload":2}"#.to_owned();
    store
        .push(&[Push {
            queue: default_queue(),
            job: later,
            due_ms: Some(due_ms),
        }])
        .await?;
    eventually("the result of a delayed job", async || {
        Ok(store.result("later").await?)
    })
    .await?;
    assert!(jiff::Timestamp::now().as_millisecond() >= due_ms, "not before its time");
    stop.cancel();
    assert_eq!(serving.await??, Drained::Clean);
    assert!(store.counts(&default_queue()).await?.hosts.is_empty(), "it left");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_grace_period_leaves_goes_back_uncounted() -> anyhow::Result<()> {
    let folder = folder_of(&[("spin", "concurrency = 1")])?;
    let store = Store::open(&redis_settings()).await?;
    let job = r#"{"id":"spin","name":"spin","attempts":1}"#;
    push(&store, &[job]).await?;
    let settings = ServiceSettings {
        burst: false,
        grace: Duration::from_millis(50),
        ..settings()
    };
    let (stop, plugins) = (CancellationToken::new(), open_plugins(folder.path()).await?);
    let serving = service::run(settings, store.clone(), Arc::clone(&plugins), stop.clone());
    let serving = tokio::spawn(serving);
    eventually("a job that has taken its plugin's only turn", async || {
        let Resolved::Plugin(plugin) = plugins.resolve("spin") else {
            anyhow::bail!("it is loaded")
        };
        Ok(plugin.handler.try_permit().is_none().then_some(()))
    })
    .await?;
    stop.cancel();
    assert_eq!(serving.await??, Drained::Interrupted(1));
    let counts = store.counts(&default_queue()).await?;
    assert_eq!((counts.ready, counts.in_flight, counts.hosts.len()), (1, 0, 0));
    let other = kiln::queue::Consumer::join(
        store.clone(),
        vec![default_queue()],
        Duration::from_mins(1),
        Events::default(),
    )
    .await?;
    assert_eq!(other.fetch(&default_queue(), 1).await?[0].bytes(), job.as_bytes());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_hosts_share_a_queue_and_every_job_completes() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", "")])?;
    let store = Store::open(&redis_settings()).await?;
    let ids: BTreeSet<String> = (0..3_000).map(|n| n.to_string()).collect();
    let jobs: Vec<_> = ids
        .iter()
        .map(|id| format!(r#"{{"id":"{id}","name":"echo","payload":{id}}}"#))
        .collect();
    push(&store, &jobs.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let (one, two, three) = tokio::join!(
        burst(&store, folder.path()),
        burst(&store, folder.path()),
        burst(&store, folder.path())
    );
    assert_eq!([one?, two?, three?], [Drained::Clean; 3]);
    assert!(store.counts(&default_queue()).await?.is_empty());
    assert_eq!(store.failed_len().await?, 0);
    for id in &ids {
        assert_eq!(store.result(id).await?.as_ref(), Some(id));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_job_waits_for_a_plugin_that_handles_it() -> anyhow::Result<()> {
    let folder = folder_of(&[])?;
    let store = Store::open(&redis_settings()).await?;
    push(
        &store,
        &[r#"{"id":"early","name":"echo","payload":1,"max_attempts":1}"#],
    )
    .await?;
    let settings = ServiceSettings {
        burst: false,
        watching: Watching {
            by_itself: true,
            ..Watching::default()
        },
        unknown: Unknown::Hold(Duration::from_millis(50)),
        ..settings()
    };
    let (serving, stop) = serve(settings, &store, folder.path()).await?;
    eventually("the job is held", async || {
        Ok((store.counts(&default_queue()).await?.delayed == 1).then_some(()))
    })
    .await?;
    assert_eq!(store.failed_len().await?, 0);
    let new = folder.path().join("echo.new");
    std::fs::write(&new, guest("echo")?)?;
    std::fs::rename(new, folder.path().join("echo.wasm"))?;
    eventually("its result", async || Ok(store.result("early").await?)).await?;
    stop.cancel();
    assert_eq!(serving.await??, Drained::Clean);
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_on_two_queues_drains_both() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    let store = Store::open(&redis_settings()).await?;
    let queues = ["low", "high"].map(|name| QueueName::new(name).unwrap());
    let jobs: Vec<_> = (0..200)
        .map(|n| Push {
            queue: queues[n % 2].clone(),
            job: r#"{"name":"ok"}"#.to_owned(),
            due_ms: None,
        })
        .collect();
    store.push(&jobs).await?;
    let weights = [1, 5].map(|weight| NonZeroU32::new(weight).unwrap());
    let settings = ServiceSettings {
        queues: queues.iter().cloned().zip(weights).collect(),
        ..settings()
    };
    service::run(
        settings,
        store.clone(),
        open_plugins(folder.path()).await?,
        CancellationToken::new(),
    )
    .await?;
    for queue in &queues {
        assert!(store.counts(queue).await?.is_empty());
    }
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}

/// dg-queue scores a delayed job by whole seconds, so that it is due up to one before its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_job_of_dg_queues_does_not_start_before_its_time() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", "")])?;
    for store in [Store::open(&memory()).await?, Store::open(&redis_settings()).await?] {
        let made = Timestamp::now() - SignedDuration::from_secs(5);
        let at = Timestamp::now() + SignedDuration::from_millis(900);
        let job = format!(
            r#"{{"id":"a","name":"echo","delay":5900000000,"available_at":"{at}","created_at":"{made}","updated_at":"{made}"}}"#
        );
        let score = at.as_second() * 1000;
        let push = Push {
            queue: default_queue(),
            job,
            due_ms: Some(score),
        };
        store.push(&[push]).await?;
        burst(&store, folder.path()).await?;
        assert!(Timestamp::now() >= at, "it ran early");
        assert!(store.result("a").await?.is_some() && store.failed_len().await? == 0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_whose_keys_are_of_the_wrong_type_slow_no_other() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", "")])?;
    let on_redis = redis_settings();
    let (store, redis) = (Store::open(&on_redis).await?, shared_redis());
    let key = |suffix: &str| format!("{}:queues:{suffix}", on_redis.prefix);
    for wrong in ["wrong-list", "wrong-set:delayed", "wrong-target"] {
        let _: () = redis.tell(&["SET", &key(wrong), "wrong"]).await?;
    }
    let _: u64 = redis.tell(&["ZADD", &key("wrong-target:delayed"), "1", "{}"]).await?;
    let names = ["default", "wrong-list", "wrong-set", "wrong-target"];
    let settings = ServiceSettings {
        queues: names
            .map(|name| (QueueName::new(name).unwrap(), NonZeroU32::MIN))
            .to_vec(),
        burst: false,
        ..settings()
    };
    let (serving, stop) = serve(settings, &store, folder.path()).await?;
    // One after the other, half of them delayed: to wait for the others' faults would take most of a second each.
    let in_a_row = async {
        for n in 0..60 {
            let job = format!(r#"{{"id":"{n}","name":"echo","payload":{n}}}"#);
            store
                .push(&[if n % 2 == 0 { ready(&job) } else { due(&job, 1_000) }])
                .await?;
            eventually("a result", async || Ok(store.result(&n.to_string()).await?)).await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(20), in_a_row).await??;
    let _: u64 = redis.tell(&["DEL", &key("wrong-list")]).await?;
    let _: u64 = redis
        .tell(&[
            "RPUSH",
            &key("wrong-list"),
            r#"{"id":"mended","name":"echo","payload":1}"#,
        ])
        .await?;
    eventually("the mended queue's result", async || Ok(store.result("mended").await?)).await?;
    stop.cancel();
    assert_eq!(serving.await??, Drained::Clean);
    Ok(())
}
