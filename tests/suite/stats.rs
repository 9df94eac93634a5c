//! Statistics: what jobs came to, added up over all workers, by the minute, the hour and the day.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use kiln::admin::stats::since;
use kiln::queue::{MAX_SUMS, OTHER, Of, Span, Store, StoreSettings, Sum, Sums};
use serde_json::Value;

use crate::servers::Server;
use crate::service::{folder_of, push, serve, settings};
use crate::support::{eventually, kiln, redis_settings, settings_at};

on_every_store! {
    what_hosts_add_is_summed_up_by_the_minute_the_hour_and_the_day
    no_more_sums_are_kept_than_may_be_and_the_rest_together
    a_worker_adds_what_its_jobs_came_to_before_it_ends
}

fn sum(of: Of, name: &str, what: &str) -> Sum {
    let (name, what) = (name.to_owned(), what.to_owned());
    Sum { of, name, what }
}

async fn what_hosts_add_is_summed_up_by_the_minute_the_hour_and_the_day(store: Store) -> anyhow::Result<()> {
    // In the middle of a day, an hour and a minute, so that the times below are in the same or in others as they say.
    let noon = Span::Day.begin(Span::Day.number(store.now().await?) - 1) + SignedDuration::from_hours(12);
    let (odd, plain) = (sum(Of::Plugin, "a:b", "trap"), sum(Of::Queue, "mail:eu", "done"));
    let more = Sums::from([(odd.clone(), 1), (plain.clone(), 10)]);
    let times = [10, 50, 70, 3_610, 90_000].map(|second| noon + SignedDuration::from_secs(second));
    try_join_all(times.iter().map(async |at| store.add_up(*at, &more).await)).await?;
    let counted = async |span: Span| {
        let spans = store.sums(span, span.number(noon), 3).await?;
        let counts = spans
            .iter()
            .map(|sums| (sums.get(&odd).copied(), sums.get(&plain).copied()));
        anyhow::Ok(counts.collect::<Vec<_>>())
    };
    let times = |n: u64| (Some(n), Some(10 * n));
    assert_eq!(counted(Span::Minute).await?, [times(2), times(1), (None, None)]);
    assert_eq!(counted(Span::Hour).await?, [times(3), times(1), (None, None)]);
    assert_eq!(counted(Span::Day).await?, [times(4), times(1), (None, None)]);
    Ok(())
}

async fn no_more_sums_are_kept_than_may_be_and_the_rest_together(store: Store) -> anyhow::Result<()> {
    let now = store.now().await?;
    let names = |range: std::ops::Range<usize>| -> Sums {
        let one = |n| (sum(Of::Queue, &format!("q{n:05}"), "done"), 1);
        range.map(one).collect()
    };
    store.add_up(now, &names(0..MAX_SUMS)).await?;
    store.add_up(now, &names(MAX_SUMS - 1..MAX_SUMS + 3)).await?;
    // Waits take no room of theirs.
    let wait = sum(Of::Wait, "mail", "le_5");
    store.add_up(now, &Sums::from([(wait.clone(), 7)])).await?;
    let hour = Span::Hour.number(now);
    assert_eq!(store.wait_sums(Span::Hour, hour, 1).await?, [Sums::from([(wait, 7)])]);
    let sums = store.sums(Span::Hour, hour, 1).await?.remove(0);
    let of = |name: &str| sums.get(&sum(Of::Queue, name, "done")).copied();
    assert_eq!(
        (sums.len(), of(OTHER), of("q03999"), of("q04000")),
        (MAX_SUMS + 1, Some(3), Some(2), None)
    );
    Ok(())
}

async fn a_worker_adds_what_its_jobs_came_to_before_it_ends(store: Store) -> anyhow::Result<()> {
    let folder = folder_of(&[
        ("ok", ""),
        ("permanent", ""),
        ("retry", "retry = { policy = \"fixed\", base = \"1ms\" }"),
    ])?;
    for _ in 0..2 {
        let jobs = [r#"{"name":"ok"}"#; 20].into_iter().chain([
            r#"{"name":"permanent"}"#,
            r#"{"name":"retry"}"#,
            r#"{"name":"nobody"}"#,
        ]);
        push(&store, &jobs.collect::<Vec<_>>()).await?;
        let (serving, _) = serve(settings(), &store, folder.path()).await?;
        serving.await??;
    }
    let stats = since(&store, Duration::from_mins(30)).await?;
    assert_eq!(stats.step_s, 60);
    let queue = &stats.queues["default"];
    assert_eq!((queue.done, queue.failed, queue.retried), (40, 6, 4));
    assert_eq!((queue.steps.len(), queue.steps.iter().sum::<u64>()), (31, 46));
    let plugin = |name: &str| {
        let plugin = &stats.plugins[name];
        assert_eq!(plugin.steps.iter().sum::<u64>(), plugin.attempts());
        (plugin.completed, plugin.failures.clone())
    };
    let failures = |kind: &str, count| BTreeMap::from([(kind.to_owned(), count)]);
    assert_eq!(plugin("ok"), (40, BTreeMap::new()));
    assert_eq!(plugin("permanent"), (0, failures("rejected", 2)));
    assert_eq!(plugin("retry"), (0, failures("error", 6)));
    assert!(stats.plugins["ok"].ran_us > 0 && stats.plugins.len() == 3);
    let waits = kiln::admin::waits::waits(&store, Duration::from_mins(30)).await?;
    let of_queue = &waits.queues["default"];
    assert_eq!(
        (of_queue.count(), &waits.all),
        (4, of_queue),
        "those that say when they were due: the retries"
    );
    assert!(
        of_queue
            .percentile(0.95)
            .is_some_and(|most| most < Duration::from_hours(1))
    );
    // By the hour and the day as well.
    for (back, step_s) in [(24, 3_600), (40 * 24, 86_400)] {
        let stats = since(&store, Duration::from_hours(back)).await?;
        assert_eq!((stats.step_s, stats.queues["default"].done), (step_s, 40));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_are_kept_in_two_keys_of_each_span_however_many_jobs_there_were_and_expire() -> anyhow::Result<()> {
    let server = Server::start(&[])?;
    let settings_of = settings_at(&server.url());
    let store = Store::open(&settings_of).await?;
    let folder = folder_of(&[("ok", "")])?;
    push(&store, &[r#"{"name":"ok","available_at":"2026-01-01T00:00:00Z"}"#; 500]).await?;
    let (serving, _) = serve(settings(), &store, folder.path()).await?;
    serving.await??;
    let mut keys: Vec<String> = server
        .tell(&["KEYS", &format!("{}:stats:*", settings_of.prefix)])
        .await?;
    keys.sort();
    let spans: Vec<_> = keys
        .iter()
        .map(|key| &key[settings_of.prefix.len() + 7..][..1])
        .collect();
    // As many more if a minute, an hour or a day has just ended.
    assert!(
        (6..=12).contains(&keys.len()) && ["d", "h", "m"].iter().all(|span| spans.contains(span)),
        "{keys:?}"
    );
    for key in &keys {
        let left_ms: i64 = server.tell(&["PTTL", key]).await?;
        let kept = match &key[settings_of.prefix.len() + 7..][..1] {
            "m" => Span::Minute,
            "h" => Span::Hour,
            _ => Span::Day,
        };
        let kept_ms = i64::try_from(kept.kept().as_millis())?;
        assert!(left_ms <= kept_ms && left_ms > kept_ms - 60_000, "{key}: {left_ms}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_a_table_and_a_chart_that_fits() -> anyhow::Result<()> {
    let settings = redis_settings();
    let asked = |args: &[&str]| {
        let store = ["--store", &settings.url, "--prefix", &settings.prefix];
        let output = kiln().arg("stats").args(args).args(store).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        anyhow::Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
    };
    let (code, text, _) = asked(&[])?;
    assert!(
        code == Some(0) && text.ends_with(", by the hour\nno job has ended\n"),
        "{text}"
    );
    let store = Store::open(&settings).await?;
    let now = store.now().await?;
    let hour = |n: i64| now - SignedDuration::from_hours(n);
    for (at, done) in [(hour(20), 1_000), (hour(3), 250_000), (now, 4_000)] {
        let sums = [
            (sum(Of::Queue, "default", "done"), done),
            (sum(Of::Queue, "default", "failed"), 1),
            (sum(Of::Plugin, "hello", "completed"), done),
            (sum(Of::Plugin, "hello", "trap"), 1),
            (sum(Of::Plugin, "hello", "cpu_us"), done * 300),
            (sum(Of::Plugin, "hello", "ran_us"), done * 2_000),
            // What another version of Kiln may count.
            (sum(Of::Queue, "default", "praised"), 7),
        ];
        store.add_up(at, &Sums::from(sums)).await?;
    }
    let (_, text, _) = asked(&[])?;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[2..5],
        [
            "queue                           done    failed   retried   dropped",
            "default                      255,000         3         0         0",
            "      ▁                █  ▁  up to 250,001 in one hour",
        ]
        .map(|line| line),
        "{text}"
    );
    assert_eq!(
        lines[6],
        "plugin                     completed    failed    cpu, mean   time, mean"
    );
    assert_eq!(
        lines[7],
        "hello                        255,000         3       299 µs       2.0 ms"
    );
    assert_eq!(lines[8], "  trap 3");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{text}");
    let (_, text, _) = asked(&["--json", "--since", "2h"])?;
    let stats: Value = serde_json::from_str(&text)?;
    assert_eq!(
        (&stats["step_s"], &stats["queues"]["default"]["done"]),
        (&60.into(), &4_000.into())
    );
    assert_eq!(stats["plugins"]["hello"]["failures"]["trap"], 1);
    let (code, _, told) = asked(&["--since", "401 days"])?;
    assert_eq!(code, Some(2), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_worker_adds_up_every_ten_seconds() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    let store = Store::open(&StoreSettings::new("memory:")).await?;
    let settings = kiln::service::ServiceSettings {
        burst: false,
        ..settings()
    };
    let (serving, stop) = serve(settings, &store, folder.path()).await?;
    push(&store, &[r#"{"name":"ok"}"#; 3]).await?;
    let began = Timestamp::now();
    eventually("three are counted", async || {
        let stats = since(&store, Duration::from_hours(1)).await?;
        Ok(stats.queues.get("default").filter(|queue| queue.done == 3).map(|_| ()))
    })
    .await?;
    assert!(began.duration_since(Timestamp::now()).abs() < SignedDuration::from_secs(30));
    stop.cancel();
    serving.await??;
    Ok(())
}
