//! What operators do beside the failed list: jobs with another payload, cancelling, schedules; and statistics.

use anyhow::Context as _;
use kiln::queue::Store;
use serde_json::{Value, json};

use super::{Dashboard, fail, is_ready, trap};
use crate::process::Worker;
use crate::service::{folder_of, push};
use crate::support::{default_queue, eventually, redis_settings};

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_is_put_back_with_another_payload_as_another_job() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    fail(&settings, &[trap("1", "a", "b"), trap("2", "a", "b")]).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let page = dashboard.get("/jobs/1")?.body;
    assert!(
        page.contains("Edit it and retry") && page.contains("action=\"/jobs/1/edit\""),
        "{page}"
    );
    let wrong = dashboard.submit("/jobs/1/edit", "payload=%7Bno")?;
    assert_eq!(wrong.status, 400, "{wrong:?}");
    let edited = dashboard.submit("/jobs/1/edit", "payload=%7B%22n%22%3A+2%7D")?;
    let path = edited.header("location").context("a page")?;
    let id = path
        .strip_prefix("/jobs/")
        .and_then(|path| path.strip_suffix("?done=edited"));
    let id = id.with_context(|| path.to_owned())?;
    assert!(is_ready(&store, id).await? && id != "1");
    let seen = store.peek(&default_queue(), kiln::queue::Place::Ready, 0, 10).await?;
    let job: Value = serde_json::from_slice(&seen[0].job.bytes)?;
    assert_eq!((&job["payload"], &job["attempts"]), (&json!({"n": 2}), &json!(0)));
    let told = dashboard.api("POST", "/failed/2/edit", &json!({"payload": [3]}))?;
    assert_eq!((told.status, &told.json()["original_deleted"]), (201, &json!(true)));
    assert_eq!(
        (store.failed_len().await?, store.counts(&default_queue()).await?.ready),
        (0, 2)
    );
    assert_eq!(
        dashboard
            .api("POST", "/failed/2/edit", &json!({"payload": [3]}))?
            .status,
        404
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_is_cancelled_and_the_cancel_undone() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    push(&store, &[r#"{"id":"c1","name":"a"}"#]).await?;
    store.note_queues(&[default_queue()]).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    dashboard
        .until("/queues", |queues| queues["items"][0]["ready"] == 1)
        .await?;
    assert!(dashboard.get("/queues/default")?.body.contains("href=\"/jobs/c1\""));
    assert!(dashboard.get("/jobs/c1")?.body.contains("action=\"/jobs/c1/cancel\""));
    let done = dashboard.submit("/jobs/c1/cancel", "")?;
    assert_eq!(
        (done.status, done.header("location")),
        (303, Some("/jobs/c1?done=cancelled"))
    );
    assert!(store.cancelled(&default_queue()).await?.marks.contains_key("c1"));
    let undone = dashboard.api("DELETE", "/jobs/c1/cancel", &json!({}))?;
    assert_eq!((undone.status, &undone.json()["was_cancelled"]), (200, &json!(true)));
    assert!(store.cancelled(&default_queue()).await?.marks.is_empty());
    let marked = dashboard.api("POST", "/jobs/c1/cancel", &json!({}))?.json();
    assert_eq!(marked["queues"], json!(["default"]));
    let too_long = format!("/jobs/{}/cancel", "x".repeat(300));
    assert_eq!(dashboard.api("POST", &too_long, &json!({}))?.status, 400);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_shown_and_run_now_and_statistics_tell_what_came_of_it() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let manifest = "[[schedule]]\nid = \"nightly\"\ncron = \"0 3 * * *\"\nzone = \"Europe/Berlin\"\n";
    let folder = folder_of(&[("echo", manifest)])?;
    let _worker = Worker::start(&settings, folder.path(), &[])?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let listed = dashboard
        .until("/schedules", |listed| listed["items"][0]["name"] == "echo/nightly")
        .await?;
    assert!(listed["items"][0]["next"][0].as_str().is_some(), "{listed}");
    let page = dashboard.get("/schedules")?.body;
    assert!(
        page.contains("echo/nightly") && page.contains("Europe/Berlin"),
        "{page}"
    );
    let run = dashboard.submit("/schedules/run", "name=echo%2Fnightly")?;
    let path = run.header("location").context("a page")?;
    let id = path
        .strip_prefix("/schedules?pushed=")
        .with_context(|| path.to_owned())?;
    assert!(dashboard.get(path)?.body.contains(id));
    assert_eq!(
        dashboard
            .api("POST", "/schedules/run", &json!({"name": "none"}))?
            .status,
        404
    );
    eventually("it ran", async || Ok(store.result(id).await?)).await?;
    let stats = dashboard
        .until("/stats?since=1h", |stats| stats["queues"]["default"]["done"] == 1)
        .await?;
    assert_eq!(stats["plugins"]["echo"]["completed"], 1, "{stats}");
    let page = dashboard.get("/stats?since=1h")?.body;
    assert!(
        page.contains("href=\"/queues/default\"") && page.contains("href=\"/plugins?text=echo#echo\""),
        "{page}"
    );
    for wrong in ["/stats?since=7", "/api/v1/stats?since=x", "/api/v1/stats?since=9601h"] {
        assert_eq!(dashboard.get(wrong)?.status, 400, "{wrong}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_asked_to_drain_ends_as_after_a_signal() -> anyhow::Result<()> {
    let settings = redis_settings();
    let folder = folder_of(&[("echo", "")])?;
    let mut worker = Worker::start(&settings, folder.path(), &[])?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let hosts = dashboard
        .until("/hosts", |hosts| hosts["items"][0]["since"].is_string())
        .await?;
    let host = hosts["items"][0]["name"].as_str().context("a name")?.to_owned();
    let path = format!(
        "/hosts/{}/drain",
        percent_encoding::utf8_percent_encode(&host, percent_encoding::NON_ALPHANUMERIC)
    );
    assert!(dashboard.get("/hosts")?.body.contains("Drain…"));
    assert_eq!(dashboard.api("POST", "/hosts/nobody/drain", &json!({}))?.status, 404);
    let asked = dashboard.submit(&path, "")?;
    assert_eq!(
        (asked.status, asked.header("location")),
        (303, Some("/hosts?done=draining"))
    );
    worker.until_said("draining, as an operator asks").await?;
    assert_eq!(worker.exit_code()?, Some(0));
    Ok(())
}
