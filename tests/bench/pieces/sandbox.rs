//! A fresh instance and one call, one after the other: what an attempt costs without a queue.

use std::num::NonZeroU32;

use criterion::Criterion;
use kiln::config::{Grants, Limits, Manifest, SandboxSettings};
use kiln::job::Job;
use kiln::outcome::Outcome;
use kiln::plugins::read_plugin;
use kiln::sandbox::{AttemptContext, Handler, Sandbox};
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::guests::guest;
use crate::support::plugins;
use crate::timed;

/// A PNG of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

pub(crate) fn sandbox(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let sandbox = Sandbox::new(&SandboxSettings::new(NonZeroU32::new(8).unwrap())).unwrap();
    let receiver = runtime.block_on(receiver());
    let noop = sandbox
        .load("noop", &guest("ok").unwrap(), &Manifest::default())
        .unwrap();
    let mut handlers = vec![("noop", noop, "null".to_owned())];
    for (name, payload) in [
        ("hello", r#"{"to":"World"}"#.to_owned()),
        ("markdown", r##"{"markdown":"# Hello\n\nWorld *and* all."}"##.to_owned()),
        ("thumbnail", format!(r#"{{"image":"{PIXEL}"}}"#)),
        ("webhook", format!(r#"{{"url":"{receiver}/","body":{{"n":1}}}}"#)),
    ] {
        handlers.push((name, bundled(&sandbox, name, &receiver), payload));
    }
    let mut group = c.benchmark_group("instantiate and call");
    for (name, handler, payload) in handlers {
        let job = Job::new(name, "default", RawValue::from_string(payload).unwrap());
        let context = AttemptContext::default();
        let outcome = runtime.block_on(handler.run(&job, "default", &context)).outcome;
        assert!(matches!(outcome, Outcome::Completed { .. }), "{name}: {outcome:?}");
        group.bench_function(name, |b| {
            b.iter_custom(|times| {
                timed(&runtime, times, async || {
                    handler.run(&job, "default", &context).await;
                })
            });
        });
    }
    group.finish();
}

fn bundled(sandbox: &Sandbox, name: &str, receiver: &str) -> Handler {
    let wasm = plugins().join(name).with_extension("wasm");
    let (bytes, mut manifest) = read_plugin(&wasm, &Limits::default()).unwrap();
    manifest.grants = Grants::of(&format!("[[grants.http]]\norigin = \"{receiver}\"\nprivate = true"));
    sandbox.load(name, &bytes, &manifest).unwrap()
}

/// A server that thanks for whatever it is sent.
async fn receiver() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                // One read holds all of such a small request, or the next one its end.
                while matches!(stream.read(&mut request).await, Ok(1..)) {
                    let thanks = b"HTTP/1.1 204 No Content\r\n\r\n";
                    if stream.write_all(thanks).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    origin
}
