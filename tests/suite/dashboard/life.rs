//! One job by its id, wherever it is.

use kiln::queue::Store;
use serde_json::json;

use super::Dashboard;
use crate::process::Worker;
use crate::service::{folder_of, push};
use crate::support::{default_queue, eventually, redis_settings};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_told_of_from_the_push_to_its_result_and_is_waited_for() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let first = r#"{"id":"first","name":"echo"}"#;
    push(&store, &[first, r#"{"id":"w","name":"echo","payload":7}"#]).await?;
    store.note_queues(&[default_queue()]).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let waits = dashboard.get("/api/v1/jobs/w")?.json();
    assert_eq!(
        (&waits["state"], &waits["found"][0]["before"]),
        (&json!("ready"), &json!(1)),
        "{waits}"
    );
    let page = dashboard.get("/jobs/w")?.body;
    assert!(page.contains(">ready<") && page.contains("1 job<"), "{page}");
    assert_eq!(dashboard.get("/api/v1/jobs/none")?.status, 404);
    assert!(dashboard.get("/jobs/none")?.body.contains("No queue holds it"));
    for wrong in ["wait=x", "wait", "wiat=1s"] {
        assert_eq!(
            dashboard.get(&format!("/api/v1/jobs/w?{wrong}"))?.status,
            400,
            "{wrong}"
        );
    }
    let folder = folder_of(&[("echo", "")])?;
    let _worker = Worker::start(&settings, folder.path(), &[])?;
    let done = dashboard.get("/api/v1/jobs/w?wait=30s")?.json();
    assert_eq!(
        (&done["state"], &done["result"]),
        (&json!("completed"), &json!(7)),
        "{done}"
    );
    let page = dashboard.get("/jobs/w")?.body;
    assert!(
        page.contains(">completed<") && !page.contains("/jobs/w/cancel"),
        "{page}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attempts_of_a_failed_job_stand_side_by_side() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("trap", "[retry]\nbase = \"1ms\"\n")])?;
    let worker = Worker::start(&settings, folder.path(), &[])?;
    push(&store, &[r#"{"id":"t","name":"trap","max_attempts":2}"#]).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let rows = |page: &str| page.matches("<th scope=\"row\">").count();
    let page = eventually("two attempts", async || {
        let page = dashboard.get("/jobs/t")?.body;
        Ok((page.contains("Its life") && rows(&page) == 2).then_some(page))
    })
    .await?;
    assert!(page.contains("<h2>Attempts</h2>") && page.contains(">trap<"), "{page}");
    drop(worker);
    Ok(())
}
