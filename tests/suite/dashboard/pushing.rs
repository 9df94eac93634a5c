//! Jobs pushed over the API.

use kiln::queue::Store;
use serde_json::{Value, json};

use super::{Dashboard, is_ready};
use crate::support::{default_queue, redis_settings};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_pushed_under_the_id_that_its_producer_gives_it() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let pushed = dashboard.api("POST", "/jobs", &json!({"id": "order-17", "name": "a"}))?;
    assert_eq!((pushed.status, pushed.json()), (201, json!({"id": "order-17"})));
    assert!(is_ready(&store, "order-17").await?);
    for id in [json!(""), json!(17), json!("x".repeat(257))] {
        let refused = dashboard.api("POST", "/jobs", &json!({"id": id, "name": "a"}))?;
        assert_eq!(refused.status, 400, "{refused:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_key_pushes_once_however_often_it_is_made() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let ask = |key: &str, body: &Value| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        dashboard.ask("POST", "/api/v1/jobs", &headers, &body.to_string())
    };
    let batch = json!([{"name": "a"}, {"name": "b", "id": "own"}]);
    let first = ask("k1", &batch)?;
    assert_eq!(first.status, 201, "{first:?}");
    let again = ask("k1", &batch)?;
    assert_eq!((again.status, again.json()), (201, first.json()));
    assert_eq!(first.json()["items"][1]["id"], "own");
    assert_eq!(store.counts(&default_queue()).await?.ready, 2);
    assert_eq!(ask("k1", &json!({"name": "other"}))?.status, 422);
    let other = ask("k2", &json!({"name": "a"}))?;
    assert_eq!(other.status, 201);
    assert_ne!(other.json()["id"], first.json()["items"][0]["id"]);
    assert_eq!(store.counts(&default_queue()).await?.ready, 3);
    for wrong in ["", &"k".repeat(256)] {
        assert_eq!(ask(wrong, &batch)?.status, 400);
    }
    Ok(())
}
