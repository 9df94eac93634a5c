//! Traces: what a receiver of OTLP is told of attempts, over the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};
use kiln::queue::{Store, StoreSettings};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::process::Worker;
use crate::receivers::{OK, as_the_protocol_has_it};
use crate::servers::HttpServer;
use crate::service::{folder_of, push};
use crate::support::{eventually, redis_settings};

/// A job's metadata that names its producer's span.
const PRODUCER: &str =
    r#"{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","tracestate":"shop=7"}"#;

/// Runs jobs until none is left, with these flags, and returns the worker as it ended.
async fn run(settings: &StoreSettings, jobs: &[&str], flags: &[&str]) -> anyhow::Result<Worker> {
    let folder = folder_of(&[("echo", ""), ("trap", "[retry]\nattempts = 1"), ("nap", "")])?;
    push(&Store::open(settings).await?, jobs).await?;
    let mut worker = Worker::start(settings, folder.path(), &[&["--burst"], flags].concat())?;
    let code = eventually("its end", async || worker.exit_code()).await?;
    ensure!(code == 0, "{code}: {:?}", worker.lines());
    Ok(worker)
}

/// All spans that a receiver has got, by the id of their job.
pub(crate) fn spans(receiver: &HttpServer) -> anyhow::Result<Vec<(String, Value)>> {
    let mut all = Vec::new();
    for asked in receiver.asked() {
        let request: Value = serde_json::from_slice(&asked.body)?;
        let spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"].clone();
        for span in spans.as_array().context("spans")? {
            let id = attribute(span, "messaging.message.id")["stringValue"].as_str();
            all.push((id.context("an id")?.to_owned(), span.clone()));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().expect("attributes");
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    found.map_or(&Value::Null, |found| &found["value"])
}

fn job(id: &str, name: &str, metadata: &str) -> String {
    format!(r#"{{"id":"{id}","name":"{name}","payload":20,"metadata":{metadata}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_links_to_its_producers_or_is_its_child_by_choice() -> anyhow::Result<()> {
    for child in [false, true] {
        let receiver = HttpServer::answering(OK).await?;
        let url = format!("http://127.0.0.1:{}", receiver.port);
        let (with, without) = (job("1", "echo", PRODUCER), job("2", "trap", "{}"));
        let header = "authorization=Bearer tea, milk";
        let flags = ["--traces", &url, "--trace-share", "100%", "--trace-header", header];
        let choice: &[&str] = if child { &["--trace-child"] } else { &[] };
        run(&redis_settings(), &[&with, &without], &[&flags, choice].concat()).await?;
        let asked = receiver.asked();
        assert!(asked.iter().all(|asked| asked.path == "/v1/traces"
            && asked.header("content-type") == Some("application/json")
            && asked.header("authorization") == Some("Bearer tea, milk")));
        for asked in &asked {
            as_the_protocol_has_it("trace", &asked.body)?;
        }
        let spans = spans(&receiver)?;
        let [(_, linked), (_, failed)] = &spans[..] else {
            panic!("{spans:?}")
        };
        assert_eq!(
            (&linked["name"], &linked["kind"]),
            (&"process default".into(), &5.into())
        );
        assert_eq!(attribute(linked, "kiln.outcome")["stringValue"], "completed");
        assert_eq!(attribute(linked, "kiln.attempt")["intValue"], "1");
        let [start, end] = ["startTimeUnixNano", "endTimeUnixNano"].map(|key| {
            linked[key]
                .as_str()
                .expect("nanoseconds")
                .parse::<u64>()
                .expect("a number")
        });
        assert!(start < end && end - start < 60_000_000_000, "{start} {end}");
        if child {
            assert_eq!(linked["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
            assert_eq!(linked["parentSpanId"], "00f067aa0ba902b7");
            assert_eq!(linked["traceState"], "shop=7");
        } else {
            assert_ne!(linked["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
            let link = &linked["links"][0];
            assert_eq!(link["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
            assert_eq!(
                (&link["spanId"], &link["traceState"]),
                (&"00f067aa0ba902b7".into(), &"shop=7".into())
            );
        }
        assert_eq!(failed["status"]["code"], 2);
        assert_eq!(attribute(failed, "error.type")["stringValue"], "trap");
        assert_eq!(failed["links"].as_array().map(Vec::len), Some(0));
        assert_ne!(linked["spanId"], failed["spanId"]);
    }
    Ok(())
}

/// A server that a handler calls, what it was told of the trace, and the span of the attempt.
async fn called(
    grant: &str,
    flags: &[&str],
    metadata: &str,
) -> anyhow::Result<(Option<String>, Option<String>, Value)> {
    let (server, receiver) = (HttpServer::answering(OK).await?, HttpServer::answering(OK).await?);
    let (at, url) = (
        format!("http://127.0.0.1:{}", server.port),
        format!("http://127.0.0.1:{}", receiver.port),
    );
    let manifest = format!("[[grants.http]]\norigin = \"{at}\"\nprivate = true\n{grant}");
    let folder = folder_of(&[("exchange", &manifest)])?;
    let settings = redis_settings();
    let job = format!(r#"{{"id":"1","name":"exchange","payload":"GET {at}/ 0 1","metadata":{metadata}}}"#);
    push(&Store::open(&settings).await?, &[&job]).await?;
    let all = [&["--burst", "--trace-share", "0%", "--traces", &url][..], flags].concat();
    let mut worker = Worker::start(&settings, folder.path(), &all)?;
    let code = eventually("its end", async || worker.exit_code()).await?;
    ensure!(code == 0, "{code}: {:?}", worker.lines());
    let asked = server.asked().into_iter().next().context("it was not called")?;
    let told = |name| asked.header(name).map(str::to_owned);
    let span = spans(&receiver)?.pop().map_or(Value::Null, |(_, span)| span);
    Ok((told("traceparent"), told("tracestate"), span))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_carry_the_attempts_span_where_the_manifest_says_so() -> anyhow::Result<()> {
    let parent = |span: &Value| {
        let id = |key: &str| span[key].as_str().unwrap_or_default().to_owned();
        Some(format!("00-{}-{}-01", id("traceId"), id("spanId")))
    };
    // Of no share is any kept, but for that: the producer keeps its own.
    let (told, state, span) = called("trace = true", &[], PRODUCER).await?;
    assert_eq!((told, state), (parent(&span), None), "{span}");
    assert_eq!(span["links"][0]["spanId"], "00f067aa0ba902b7");
    let (told, state, span) = called("trace = true", &["--trace-child"], PRODUCER).await?;
    assert_eq!((told, state.as_deref()), (parent(&span), Some("shop=7")), "{span}");
    assert_eq!(
        (&span["traceId"], &span["parentSpanId"]),
        (&"4bf92f3577b34da6a3ce929d0e0e4736".into(), &"00f067aa0ba902b7".into())
    );
    for (grant, metadata) in [("", PRODUCER), ("trace = true", "{}")] {
        let (told, state, span) = called(grant, &[], metadata).await?;
        assert_eq!((told, state, span), (None, None, Value::Null), "{grant} {metadata}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_or_took_long_is_kept_whatever_the_share() -> anyhow::Result<()> {
    let receiver = HttpServer::answering(OK).await?;
    let url = format!("http://127.0.0.1:{}/v1/traces", receiver.port);
    let jobs = [
        job("failed", "trap", "{}"),
        job("quick", "echo", PRODUCER),
        job("slow", "nap", "{}"),
    ];
    let flags = ["--traces", &url, "--trace-share", "0%", "--trace-slow", "15ms"];
    run(&redis_settings(), &jobs.each_ref().map(String::as_str), &flags).await?;
    let kept: Vec<_> = spans(&receiver)?.into_iter().map(|(id, _)| id).collect();
    assert_eq!(kept, ["failed", "slow"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_has_no_time_is_asked_again_and_one_that_is_away_stops_nothing() -> anyhow::Result<()> {
    let times = Arc::new(AtomicU32::new(0));
    let busy_once = Arc::clone(&times);
    let receiver = HttpServer::start(move |_, mut connection| {
        let answer = match busy_once.fetch_add(1, Ordering::SeqCst) {
            0 => "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            _ => OK,
        };
        async move { Ok(connection.write_all(answer.as_bytes()).await?) }
    })
    .await?;
    let url = format!("http://127.0.0.1:{}", receiver.port);
    let jobs = [job("1", "trap", "{}")];
    let jobs = jobs.each_ref().map(String::as_str);
    let worker = run(&redis_settings(), &jobs, &["--traces", &url]).await?;
    let asked = receiver.asked();
    assert_eq!((asked.len(), asked[0].body == asked[1].body), (2, true));
    assert!(worker.lines_with("spans").is_empty(), "{:?}", worker.lines());
    drop(receiver);
    let worker = run(&redis_settings(), &jobs, &["--traces", &url]).await?;
    assert_eq!(worker.lines_with("the receiver of traces takes none").len(), 1);
    let told = worker.lines_with("spans were dropped:");
    assert!(told.len() == 1 && told[0].ends_with("dropped=1"), "{told:?}");
    Ok(())
}
