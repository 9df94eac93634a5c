//! A real Prometheus beside a worker: it reads the metrics, and the alert rules that come with Kiln fire.

use anyhow::ensure;
use kiln::queue::Store;

use crate::probes::listening;
use crate::receivers::{OK, as_the_protocol_has_it};
use crate::servers::HttpServer;
use crate::servers::prometheus::{Prometheus, promtool};
use crate::service::{folder_of, push};
use crate::support::{eventually, redis_settings};
use crate::traces::spans;

/// Jobs that take an unoptimised worker a few scrapes.
const LOAD: usize = 1_000;

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
    push(&store, &[r#"{"name":"fetch","payload":"a.example"}"#]).await?;
    // It is scraped while it has much to do.
    for _ in 0..LOAD / 100 {
        push(&store, &[r#"{"name":"echo"}"#; 100]).await?;
    }
    until(&format!(
        "kiln_jobs_settled_total{{queue='default',fate='done'}} == {LOAD}"
    ))
    .await?;
    for alert in ["KilnPluginRefused", "KilnDenied"] {
        until(&format!("ALERTS{{alertname='{alert}',alertstate='firing'}}")).await?;
    }
    until("prometheus_rule_group_iterations_total > 5").await?;
    let failures = prometheus.query("sum(prometheus_rule_evaluation_failures_total)")?;
    assert!(failures[0].contains("=> 0 "), "{failures:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_an_attempt_that_became_a_span_leads_to_its_trace() -> anyhow::Result<()> {
    let (receiver, other, folder) = (
        HttpServer::answering(OK).await?,
        HttpServer::answering(OK).await?,
        folder_of(&[("echo", "")])?,
    );
    let [traces, metrics] = [&receiver, &other].map(|server| format!("http://127.0.0.1:{}", server.port));
    let settings = redis_settings();
    let flags = ["--traces", &traces, "--trace-share", "100%", "--metrics", &metrics];
    let (mut worker, address) = listening(&settings, folder.path(), &flags).await?;
    let prometheus = Prometheus::scraping(address).await?;
    push(&Store::open(&settings).await?, &[r#"{"name":"echo"}"#]).await?;
    let (_, span) = eventually("its span", async || Ok(spans(&receiver)?.pop())).await?;
    let trace = span["traceId"].as_str().unwrap_or_default().to_owned();
    ensure!(trace.len() == 32, "{span}");
    eventually("its exemplar in Prometheus", async || {
        let found = prometheus.exemplars("kiln_attempt_seconds_bucket")?;
        Ok(found.contains(&format!("\"trace_id\":\"{trace}\"")).then_some(()))
    })
    .await?;
    worker.signal("-TERM")?;
    ensure!(worker.exit_code()? == Some(0), "{:?}", worker.lines());
    let told = other.asked().pop().map(|asked| asked.body).unwrap_or_default();
    as_the_protocol_has_it("metrics", &told)?;
    let told = String::from_utf8(told)?;
    ensure!(told.contains(&format!("\"traceId\":\"{trace}\"")), "{told}");
    Ok(())
}
