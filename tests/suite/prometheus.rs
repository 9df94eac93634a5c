//! A real Prometheus beside a worker: it reads the metrics, and the alert rules that come with Kiln fire.

use kiln::queue::Store;

use crate::probes::listening;
use crate::servers::prometheus::{Prometheus, promtool};
use crate::service::{folder_of, push};
use crate::support::{eventually, redis_settings};

#[test]
fn the_alert_rules_pass_their_own_tests_and_the_settings_are_valid() -> anyhow::Result<()> {
    promtool(&["test", "rules", "rules_test.yml"])?;
    promtool(&["check", "config", "prometheus.yml"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_scrapes_a_worker_evaluates_every_rule_and_tells_of_first_cases() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", ""), ("fetch", "[retry]\nattempts = 1")])?;
    std::fs::write(folder.path().join("broken.wasm"), "no component")?;
    let settings = redis_settings();
    let (_worker, address) = listening(&settings, folder.path(), &[]).await?;
    let prometheus = Prometheus::scraping(address).await?;
    let until = async |expression: &str| {
        let found = async || Ok(prometheus.query(expression).ok().filter(|found| !found.is_empty()));
        eventually(expression, found).await
    };
    until("up{job='kiln'} == 1").await?;
    // A series of the denied plugin begins with this one case.
    let store = Store::open(&settings).await?;
    push(
        &store,
        &[r#"{"name":"echo"}"#, r#"{"name":"fetch","payload":"a.example"}"#],
    )
    .await?;
    until("kiln_jobs_settled_total{queue='default',fate='done'} == 1").await?;
    for alert in ["KilnPluginRefused", "KilnDenied"] {
        until(&format!("ALERTS{{alertname='{alert}',alertstate='firing'}}")).await?;
    }
    until("prometheus_rule_group_iterations_total > 5").await?;
    let failures = prometheus.query("sum(prometheus_rule_evaluation_failures_total)")?;
    assert!(failures[0].contains("=> 0 "), "{failures:?}");
    Ok(())
}
