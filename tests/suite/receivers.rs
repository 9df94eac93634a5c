//! Metrics sent to a receiver of OTLP, over the wire.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};
use kiln::queue::Store;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::metrics::Scrape;
use crate::probes::listening;
use crate::process::Worker;
use crate::servers::HttpServer;
use crate::servers::http::get;
use crate::service::{folder_of, push};
use crate::support::{eventually, redis_settings};

/// What a receiver answers that takes everything.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";

/// The messages of OTLP, as their authors publish them, take this. `what` is `trace` or `metrics`.
pub(crate) fn as_the_protocol_has_it(what: &str, body: &[u8]) -> anyhow::Result<()> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers/bin/python3");
    let script = "import sys, importlib
from google.protobuf import json_format
what = sys.argv[1]
service = importlib.import_module(f'opentelemetry.proto.collector.{what}.v1.{what}_service_pb2')
json_format.Parse(sys.stdin.read(), getattr(service, f'Export{what.capitalize()}ServiceRequest')())";
    let mut parse = Command::new(python)
        .args(["-c", script, what])
        .stdin(Stdio::piped())
        .spawn()?;
    std::io::Write::write_all(&mut parse.stdin.take().context("stdin")?, body)?;
    ensure!(parse.wait()?.success(), "{}", String::from_utf8_lossy(body));
    Ok(())
}

/// The metrics of a request.
fn metrics(body: &[u8]) -> anyhow::Result<Vec<Value>> {
    let request: Value = serde_json::from_slice(body)?;
    let metrics = request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array();
    Ok(metrics.context("metrics")?.clone())
}

fn points(metric: &Value) -> &[Value] {
    let kinds = ["sum", "gauge", "histogram"].map(|kind| metric[kind]["dataPoints"].as_array());
    kinds.into_iter().flatten().next().expect("points")
}

/// Each series as a scrape writes it, with its value.
fn as_scraped(metrics: &[Value]) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    let number = |value: &Value| value.as_str().map_or_else(|| value.as_f64(), |text| text.parse().ok());
    for metric in metrics {
        let name = metric["name"].as_str().expect("a name");
        for point in points(metric) {
            let attributes = point["attributes"].as_array().expect("attributes").iter();
            let labels: Vec<_> = attributes
                .map(|label| {
                    format!(
                        "{}={}",
                        label["key"].as_str().expect("a key"),
                        label["value"]["stringValue"]
                    )
                })
                .collect();
            let key = |suffix: &str, more: &[String]| match [&labels, more].concat().join(",") {
                none if none.is_empty() => format!("{name}{suffix}"),
                labels => format!("{name}{suffix}{{{labels}}}"),
            };
            let mut add = |key: String, value: &Value| all.insert(key, number(value).expect("a number"));
            if metric["histogram"].is_null() {
                let is_whole = !point["asInt"].is_null();
                add(key("", &[]), &point[if is_whole { "asInt" } else { "asDouble" }]);
                continue;
            }
            add(key("_sum", &[]), &point["sum"]);
            add(key("_count", &[]), &point["count"]);
            let bounds = point["explicitBounds"].as_array().expect("bounds").iter();
            let bounds = bounds.map(|bound| format!("{:?}", bound.as_f64().expect("a bound")));
            let counts = point["bucketCounts"].as_array().expect("counts");
            let mut below = 0.0;
            for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(counts) {
                below += number(count).expect("a count");
                add(key("_bucket", &[format!("le={bound:?}")]), &below.into());
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_gets_what_a_scrape_tells_under_the_same_names() -> anyhow::Result<()> {
    let (receiver, settings) = (HttpServer::answering(OK).await?, redis_settings());
    let url = format!("http://127.0.0.1:{}", receiver.port);
    let folder = folder_of(&[("echo", "version = \"1.2\""), ("fetch", "[retry]\nattempts = 1")])?;
    let header = "authorization=Bearer tea, milk";
    let flags = ["--metrics", &url, "--metric-header", header, "--metric-interval", "1s"];
    let (mut worker, address) = listening(&settings, folder.path(), &flags).await?;
    eventually("a first request", async || Ok(receiver.asked().pop())).await?;
    let jobs = [r#"{"name":"echo"}"#, r#"{"name":"fetch","payload":"a.example"}"#];
    push(&Store::open(&settings).await?, &jobs).await?;
    let scrape = eventually("all settled", async || {
        let scrape = Scrape::of(&get(address, "/metrics")?.1);
        let [done, failed] =
            ["done", "failed"].map(|fate| scrape.sum("kiln_jobs_settled_total", &[&format!("fate=\"{fate}\"")]));
        Ok((done + failed > 1.5).then_some(scrape))
    })
    .await?;
    worker.signal("-TERM")?;
    ensure!(worker.exit_code()? == Some(0), "{:?}", worker.lines());
    let asked = receiver.asked();
    assert!(asked.iter().all(|asked| asked.path == "/v1/metrics"
        && asked.header("content-type") == Some("application/json")
        && asked.header("authorization") == Some("Bearer tea, milk")));
    let (first, last) = (&asked[0].body, &asked.last().context("requests")?.body);
    for body in [first, last] {
        as_the_protocol_has_it("metrics", body)?;
    }
    // The last request is made once all has ended: what moves no more is as it was, and nothing is missing.
    let told = metrics(last)?;
    let series = as_scraped(&told);
    for (key, value) in &scrape.0 {
        let found = series.get(key).with_context(|| format!("{key}: {series:#?}"))?;
        if ["kiln_jobs_", "kiln_attempt", "kiln_start", "kiln_denials"]
            .iter()
            .any(|name| key.starts_with(name))
        {
            assert!((found - value).abs() < 1e-9, "{key}: {found}, scraped {value}");
        }
    }
    assert!((series["kiln_draining"] - 1.0).abs() < 1e-9);
    // All is counted from one and the same start on.
    let since = points(&metrics(first)?[0])[0]["startTimeUnixNano"].clone();
    for metric in &told {
        let sums = [&metric["sum"], &metric["histogram"]]
            .into_iter()
            .filter(|sum| !sum.is_null());
        for sum in sums {
            assert_eq!(sum["aggregationTemporality"], 2, "{metric}");
        }
        assert!(
            points(metric).iter().all(|point| point["startTimeUnixNano"] == since),
            "{metric}"
        );
    }
    let units = |name| &told.iter().find(|metric| metric["name"] == name).expect("a metric")["unit"];
    assert_eq!(
        (units("kiln_attempt_seconds"), units("kiln_attempt_peak_memory_bytes")),
        (&"s".into(), &"By".into())
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_away_misses_nothing_that_was_counted() -> anyhow::Result<()> {
    let times = Arc::new(AtomicU32::new(0));
    let refuses_once = Arc::clone(&times);
    let receiver = HttpServer::start(move |_, mut connection| {
        let answer = match refuses_once.fetch_add(1, Ordering::SeqCst) {
            0 => "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            _ => OK,
        };
        async move { Ok(connection.write_all(answer.as_bytes()).await?) }
    })
    .await?;
    let url = format!("http://127.0.0.1:{}/v1/metrics", receiver.port);
    let (settings, folder) = (redis_settings(), folder_of(&[("echo", "")])?);
    push(&Store::open(&settings).await?, &[r#"{"name":"echo"}"#]).await?;
    let flags = ["--metrics", &url, "--metric-interval", "1s"];
    let mut worker = Worker::start(&settings, folder.path(), &flags)?;
    worker.until_said("the receiver of metrics takes them again").await?;
    assert_eq!(worker.lines_with("the receiver of metrics takes none").len(), 1);
    eventually("the job is told of", async || {
        let series = as_scraped(&metrics(&receiver.asked().pop().context("a request")?.body)?);
        let done = series.get(r#"kiln_jobs_settled_total{queue="default",fate="done"}"#);
        Ok(done.filter(|done| **done > 0.5).copied())
    })
    .await?;
    // Nobody is there at the end.
    drop(receiver);
    worker.signal("-TERM")?;
    ensure!(worker.exit_code()? == Some(0), "{:?}", worker.lines());
    Ok(())
}
