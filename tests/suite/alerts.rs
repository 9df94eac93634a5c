//! Alerts: what is told, to whom, and that it is told once for all workers.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kiln::admin::pause::pause;
use kiln::events::{Event, Events, Subscriber};
use kiln::observe::{AlertSettings, Alerts, Vitals};
use kiln::outcome::Settlement;
use kiln::queue::{Consumer, Pausable, Push, QueueName, Store, StoreSettings};
use kiln::service::ServiceSettings;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::process::Worker;
use crate::queue::{LONG, ready};
use crate::servers::HttpServer;
use crate::service::{folder_of, serve, settings};
use crate::support::{default_queue, eventually, redis_settings};

on_every_store! {
    an_alert_is_claimed_once_until_it_is_over_or_given_up
    a_schedule_that_is_new_counts_as_a_success_and_later_ones_are_noted
}

async fn an_alert_is_claimed_once_until_it_is_over_or_given_up(store: Store) -> anyhow::Result<()> {
    assert!(store.claim_alert("failed", LONG).await?);
    assert!(!store.claim_alert("failed", LONG).await?);
    assert!(store.claim_alert("oldest:a:b", Duration::from_millis(1)).await?);
    store.hold_alert("failed", Duration::ZERO).await?;
    assert!(store.claim_alert("failed", LONG).await?);
    eventually("the end of the other", async || {
        Ok(store.claim_alert("oldest:a:b", LONG).await?.then_some(()))
    })
    .await
}

async fn a_schedule_that_is_new_counts_as_a_success_and_later_ones_are_noted(store: Store) -> anyhow::Result<()> {
    let (queue, names) = (default_queue(), ["p/a".to_owned(), "p/b".to_owned()]);
    let began = store.now().await?;
    let first = store.successes(&queue, &names).await?;
    assert!(
        first.iter().all(|at| at.as_millisecond() >= began.as_millisecond()),
        "{first:?}"
    );
    let later = eventually("a later time", async || {
        Ok(Some(store.now().await?).filter(|now| now.as_millisecond() > first[1].as_millisecond()))
    })
    .await?;
    store.note_successes(&queue, &names[1..]).await?;
    let second = store.successes(&queue, &names).await?;
    assert_eq!(second[0], first[0]);
    assert!(second[1].as_millisecond() >= later.as_millisecond(), "{second:?}");
    Ok(())
}

/// A server that answers everything with this status.
async fn server(status: &str) -> anyhow::Result<HttpServer> {
    HttpServer::answering(format!(
        "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    ))
    .await
}

/// What came to a path, in its order: alerts, or nothing for a ping.
fn told(server: &HttpServer, path: &str) -> Vec<Value> {
    let asked = server.asked().into_iter().filter(|asked| asked.path == path);
    asked
        .map(|asked| serde_json::from_slice(&asked.body).unwrap_or_default())
        .collect()
}

/// How often the length of the failed list was asked for.
#[derive(Default)]
struct Looks(AtomicUsize);

impl Subscriber for Looks {
    fn on(&self, event: &Event<'_>) {
        if matches!(
            event,
            Event::StoreAsked {
                operation: "failed_len",
                ..
            }
        ) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A worker that looks for what is wrong every few milliseconds.
struct Looking {
    stop: CancellationToken,
    ended: Vec<tokio::task::JoinHandle<()>>,
}

impl Looking {
    async fn start(store: &Store, manifest: &str, alerts: AlertSettings) -> anyhow::Result<Self> {
        let folder = folder_of(&[("echo", manifest)])?;
        let vitals = Arc::<Vitals>::default();
        let service = ServiceSettings {
            burst: false,
            vitals: Arc::clone(&vitals),
            ..settings()
        };
        let (serving, stop) = serve(service, store, folder.path()).await?;
        let alerts = Alerts::new(alerts).expect("URLs").expect("somebody to tell");
        let watching = alerts.looking_every(Duration::from_millis(20));
        let watching = watching.watch(store.clone(), vitals, stop.clone());
        let keep = async move {
            let _ = serving.await;
            drop(folder);
        };
        let ended = vec![tokio::spawn(watching), tokio::spawn(keep)];
        Ok(Self { stop, ended })
    }

    async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        for task in self.ended {
            task.await?;
        }
        Ok(())
    }
}

fn told_at(server: &HttpServer) -> AlertSettings {
    let url = |path: &str| Some(format!("http://127.0.0.1:{}/{path}", server.port));
    AlertSettings {
        webhook: url("alert"),
        heartbeat: url("ping"),
        cooldown: LONG,
        ..AlertSettings::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_once_by_one_of_all_workers_and_the_heartbeat_stops() -> anyhow::Result<()> {
    let (looks, events) = (Arc::<Looks>::default(), Events::default());
    events.subscribe(&looks);
    let store = Store::open(&redis_settings()).await?.watched(events);
    let hears = server("200 OK").await?;
    let alerts = AlertSettings {
        failed: Some((2, Duration::from_mins(10))),
        ..told_at(&hears)
    };
    let workers = [
        Looking::start(&store, "", alerts.clone()).await?,
        Looking::start(&store, "", alerts).await?,
    ];
    eventually("two pings", async || {
        Ok((told(&hears, "/ping").len() >= 2).then_some(()))
    })
    .await?;
    assert!(told(&hears, "/alert").is_empty());
    let other = QueueName::new("other").expect("a name");
    let consumer = Consumer::join(store.clone(), vec![other.clone()], LONG, Events::default()).await?;
    for n in 0..3 {
        let job = format!(r#"{{"id":"{n}","name":"hello"}}"#);
        let queue = other.clone();
        store
            .push(&[Push {
                queue,
                job,
                due_ms: None,
            }])
            .await?;
        let delivery = consumer.fetch(&other, 1).await?.remove(0);
        let entry = String::from_utf8_lossy(delivery.bytes()).into_owned();
        consumer.settle(delivery, Settlement::Fail { entry }).await;
    }
    let alert = eventually("the alert", async || Ok(told(&hears, "/alert").first().cloned())).await?;
    assert_eq!(alert["alert"], "failed");
    let text = alert["text"].as_str().expect("a sentence");
    assert!(
        text.starts_with("the failed list grew by ") && text.ends_with("within 10m"),
        "{text}"
    );
    // Many looks later it was told once, and nobody pings.
    let (pings, before) = (told(&hears, "/ping").len(), looks.0.load(Ordering::Relaxed));
    eventually("twenty looks more", async || {
        Ok((looks.0.load(Ordering::Relaxed) > before + 20).then_some(()))
    })
    .await?;
    assert_eq!((told(&hears, "/alert").len(), told(&hears, "/ping").len()), (1, pings));
    for worker in workers {
        worker.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_job_and_a_schedule_without_success_are_told_of_and_what_cannot_be_told_is_tried_again()
-> anyhow::Result<()> {
    let store = Store::open(&redis_settings()).await?;
    pause(&store, &Pausable::Queue(default_queue()), "", "").await?;
    store
        .push(&[ready(
            r#"{"id":"1","name":"echo","available_at":"2020-01-01T00:00:00Z"}"#,
        )])
        .await?;
    let deaf = server("503 Busy").await?;
    let alerts = AlertSettings {
        oldest: Some(Duration::from_mins(5)),
        ..told_at(&deaf)
    };
    let worker = Looking::start(&store, "", alerts.clone()).await?;
    eventually("three tries", async || {
        Ok((told(&deaf, "/alert").len() >= 3).then_some(()))
    })
    .await?;
    assert!(told(&deaf, "/ping").is_empty(), "all is not well");
    worker.end().await?;
    // It may have been stopped while it told: then its claim is over in a while.
    store.hold_alert("oldest:default", Duration::ZERO).await?;
    let (hears, expected) = (
        server("204 No Content").await?,
        "[[schedule]]\nid = \"a\"\nevery = \"24h\"\nexpect = \"10s\"\n",
    );
    let alerts = AlertSettings {
        oldest: alerts.oldest,
        ..told_at(&hears)
    };
    let worker = Looking::start(&store, expected, alerts).await?;
    let both = eventually("both alerts", async || {
        Ok(Some(told(&hears, "/alert")).filter(|told| told.len() == 2))
    })
    .await?;
    assert_eq!(
        (&both[0]["alert"], &both[1]["alert"]),
        (&"oldest:default".into(), &"schedule:echo/a".into())
    );
    assert!(
        both[1]["text"]
            .as_str()
            .is_some_and(|text| text.contains("one is expected every 10s")),
        "{both:?}"
    );
    worker.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_schedule_that_completes_is_noted_as_its_success() -> anyhow::Result<()> {
    for settings_of in [redis_settings(), StoreSettings::new("memory:")] {
        let store = Store::open(&settings_of).await?;
        let manifest =
            "[[schedule]]\nid = \"a\"\nevery = \"1h\"\nexpect = \"2h\"\n[[schedule]]\nid = \"b\"\nevery = \"1h\"\n";
        let folder = folder_of(&[("echo", manifest)])?;
        let names = ["echo/a".to_owned(), "echo/b".to_owned()];
        let before = store.successes(&default_queue(), &names).await?;
        let service = ServiceSettings {
            burst: false,
            ..settings()
        };
        let (serving, stop) = serve(service, &store, folder.path()).await?;
        let job = |id: &str| {
            ready(&format!(
                r#"{{"id":"cron:echo/{id}:2026-01-01T00:00:00Z","name":"echo","payload":1}}"#
            ))
        };
        eventually("a success that is noted", async || {
            store.push(&[job("a"), job("b")]).await?;
            let now = store.successes(&default_queue(), &names).await?;
            assert_eq!(now[1], before[1], "nobody expects anything of it");
            Ok((now[0] > before[0]).then_some(()))
        })
        .await?;
        stop.cancel();
        serving.await??;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_the_alert_and_the_file_of_settings_names_it() -> anyhow::Result<()> {
    let (settings, folder, place) = (redis_settings(), folder_of(&[("ok", "")])?, tempfile::tempdir()?);
    let store = Store::open(&settings).await?;
    let (script, out) = (place.path().join("tell"), place.path().join("told"));
    std::fs::write(
        &script,
        format!(
            "#!/bin/sh\n(echo \"$KILN_ALERT\"; cat) > {}.new && mv {0}.new {0}\n",
            out.display()
        ),
    )?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let config = place.path().join("kiln.toml");
    std::fs::write(
        &config,
        format!("[alert]\ncommand = \"{}\"\nfailed = \"1/10m\"\n", script.display()),
    )?;
    let worker = Worker::start(&settings, folder.path(), &["--config", &config.to_string_lossy()])?;
    worker.until_said("worker started").await?;
    let told = eventually("the command", async || {
        if store.failed_len().await? < 3 {
            store.push(&[ready(r#"{"name":"nobody"}"#)]).await?;
        }
        Ok(std::fs::read_to_string(&out).ok())
    })
    .await?;
    let (first, json) = told.split_once('\n').expect("two lines");
    let alert: Value = serde_json::from_str(json)?;
    assert_eq!((first, &alert["alert"]), ("failed", &"failed".into()));
    Ok(())
}
