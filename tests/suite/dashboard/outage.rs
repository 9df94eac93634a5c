//! A store that goes away and comes back, and one that is there but not as it should be.

use kiln::queue::Store;

use super::Dashboard;
use crate::servers::Server;
use crate::service::push;
use crate::support::{default_queue, redis_settings, settings_at};

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_logged_once_and_one_that_nobody_watched_is_not_shown() -> anyhow::Result<()> {
    let mut server = Server::start(&[])?;
    let settings = settings_at(&server.url());
    let dashboard = Dashboard::start(&settings, &[])?;
    assert_eq!(dashboard.get("/api/v1/overview")?.status, 200);
    server.kill();
    dashboard.until_said("the store does not answer").await?;
    server.restart()?;
    dashboard.until("/overview", |_| true).await?;
    dashboard.until_said("the store answers again").await?;
    // Until nobody has looked for a while.
    tokio::time::sleep(kiln::web::KEPT_AWAKE + 2 * kiln::web::SAMPLE_INTERVAL).await;
    server.restart()?;
    for path in ["/api/v1/audit", "/api/v1/overview", "/api/v1/jobs/none", "/queues"] {
        let answer = dashboard.get(path)?;
        assert!(
            answer.status < 500 && !answer.body.contains("does not answer"),
            "{path}: {answer:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_type_is_told_as_such_and_hides_nothing_else() -> anyhow::Result<()> {
    for (key, shows) in [
        ("failed", "the failed list cannot be read"),
        ("paused-jobs", "paused job names cannot be read"),
        ("queues:default", "cannot be counted"),
        ("queue-names", "queues cannot be looked for"),
        ("hosts", "what hosts report cannot be read"),
    ] {
        let settings = redis_settings();
        let store = Store::open(&settings).await?;
        push(&store, &[r#"{"name":"a"}"#]).await?;
        store.note_queues(&[default_queue()]).await?;
        let client = redis::Client::open(settings.url.as_str())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let name = format!("{}:{key}", settings.prefix);
        redis::cmd("SET")
            .arg(&name)
            .arg("x")
            .exec_async(&mut connection)
            .await?;
        let dashboard = Dashboard::start(&settings, &[])?;
        let page = dashboard.get("/queues")?;
        assert!(!page.body.contains("does not answer"), "{key}: {}", page.body);
        assert_eq!(dashboard.get("/api/v1/overview")?.status, 200, "{key}");
        let overview = dashboard.get("/")?.body;
        assert!(overview.contains(shows), "{key}: {overview}");
    }
    Ok(())
}
