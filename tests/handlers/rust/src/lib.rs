//! Does what its payload says, as the conformance handlers of all languages do: `{"do": "echo"}`.

mod files;

use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_handler::{Failure, Job, OrFail, config, handler, http, is_cancelled, flow, log, progress, remaining, state};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

handler!(handle);

/// Calls since the instance was made.
static COUNT: AtomicU32 = AtomicU32::new(0);

fn handle(job: Job<Box<RawValue>>) -> Result<Option<Box<RawValue>>, Failure> {
    // An array would pass for a struct.
    if !job.payload.get().starts_with('{') {
        return Ok(Some(job.payload));
    }
    let act = match job.payload_as::<Act>()?.act.as_deref() {
        None | Some("echo") => return Ok(Some(job.payload)),
        Some(act) => act.to_owned(),
    };
    let with: With = job.payload_as()?;
    let wait = Duration::from_millis(with.ms);
    let result = match act.as_str() {
        "none" => return Ok(None),
        "retry" => return Err(Failure::retry(with.message)),
        "retry-after" => return Err(Failure::retry_after(with.message, wait)),
        "permanent" => return Err(Failure::permanent(with.message)),
        "crash" => panic!("{}", with.message),
        "error" => Err(std::io::Error::other(with.message))?,
        "describe" => describe(&job)?,
        "log" => {
            log(&with.message);
            return Ok(None);
        }
        "progress" => {
            progress(50, "half way");
            json!({ "remaining": !remaining().is_zero(), "cancelled": is_cancelled() })
        }
        "config" => json!({ "value": config(&with.key) }),
        "env" => json!({ "value": std::env::var(with.name).ok() }),
        "typed" => return Ok(Some(to_raw_value(&measure(job.payload_as()?))?)),
        "random" => json!({ "value": rand::random_range(0..1_u64 << 48) }),
        "clock" => json!({ "ms": ms(SystemTime::now())? }),
        "count" => json!({ "count": COUNT.fetch_add(1, Ordering::Relaxed) + 1 }),
        "nap" => {
            std::thread::sleep(wait);
            return Ok(None);
        }
        "http" => request(job.payload_as()?)?,
        "at_once" => at_once(with.urls)?,
        "files" => files::work()?,
        "enqueue" => enqueue_all(&with)?,
        "state" => remember(&with.key)?,
        "share" => share(&with)?,
        "decline" => state::once("things", &with.key, || Err(Failure::permanent(with.message)))?,
        "bulk" => json!({ "text": "x".repeat(with.size) }),
        unknown => return Err(Failure::permanent(format!("unknown: {unknown}"))),
    };
    Ok(Some(to_raw_value(&result)?))
}

#[derive(Deserialize)]
struct Act {
    #[serde(rename = "do")]
    act: Option<String>,
}

/// What the acts take.
#[derive(Default, Deserialize)]
#[serde(default)]
struct With {
    message: String,
    ms: u64,
    key: String,
    name: String,
    text: String,
    n: i64,
    size: usize,
    urls: Vec<String>,
}

fn describe(job: &Job<Box<RawValue>>) -> Result<Value, Failure> {
    let metadata: Map<String, Value> = job.metadata_as()?;
    Ok(json!({
        "id": job.id,
        "name": job.name,
        "queue": job.queue,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "created_at_ms": job.created_at.map(ms).transpose()?.unwrap_or(0),
        "metadata": metadata,
    }))
}

fn enqueue_all(with: &With) -> Result<Value, Failure> {
    let first = flow::enqueue("after", &json!({"text": with.text, "n": with.n}))?;
    let options = json!({
        "queue": "other", "delay": "90s", "id": "mine", "max_attempts": 2, "metadata": {"who": with.text},
    });
    let second = flow::enqueue_with("after", &[with.n], &options)?;
    let refused = flow::try_enqueue("after", &(), Some(&json!({"queue": "a b"})));
    let refused = refused.is_err_and(|err| err.kind() == flow::ErrorKind::Invalid);
    Ok(json!({ "ids": [first, second], "refused": refused }))
}

fn share(with: &With) -> Result<Value, Failure> {
    let (things, key) = (state::bucket("things"), &with.key);
    let before: Option<Value> = things.get(key)?;
    things.set(key, &json!({"text": with.text, "n": with.n}))?;
    let sum = things.add(&format!("{key}/n"), with.n)?;
    let once = state::once("things", &format!("{key}/once"), || Ok(with.text.clone()))?;
    Ok(json!({ "before": before, "sum": sum, "once": once }))
}

fn remember(key: &str) -> Result<Value, Failure> {
    let (things, number) = (state::bucket("things"), format!("{key}/n"));
    let before: Option<Value> = things.get(key)?;
    things.set(key, &json!({"text": "tea ☕", "n": 1}))?;
    let read = things.get_versioned::<Value>(key)?.or_retry("no value")?;
    let absent = things.set_if_absent(key, &0, None)?;
    let swapped = things.swap(key, read.version, &[1])?.is_some();
    let stale = things.swap(key, read.version, &[2])?.is_some();
    things.add(&number, 40)?;
    let counted = things.add(&number, 2)?;
    let keys = things.keys(key, None)?;
    things.delete(key)?;
    let gone: Option<Value> = things.get(key)?;
    let mut calls = 0;
    let mut work = || {
        state::once("things", &format!("{key}/once"), || {
            calls += 1;
            Ok("done".to_owned())
        })
    };
    let once = [work()?, work()?];
    things.add_on_completion("jobs", 1)?;
    Ok(json!({
        "before": before, "read": read.value, "absent": absent, "swapped": swapped, "stale": stale, "counted": counted,
        "keys": keys, "gone": gone, "once": once, "calls": calls,
    }))
}

fn log(message: &str) {
    log::debug!("{message}");
    log::info!("{message}");
    log::warn!("{message}");
    log::error!("{message}");
    println!("{message}");
}

/// What `tests/suite/clients.rs` may ask of a request.
#[derive(Deserialize)]
struct Asked {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    body: Option<String>,
    repeat: Option<usize>,
    timeout_ms: Option<u64>,
    #[serde(default)]
    check: bool,
    #[serde(default)]
    add_up: bool,
    then: Option<String>,
}

fn request(asked: Asked) -> Result<Value, Failure> {
    let mut request = http::Request::new(asked.method.parse()?, asked.url);
    for (name, value) in &asked.headers {
        request = request.header(name, value);
    }
    if let Some(ms) = asked.timeout_ms {
        request = request.timeout(Duration::from_millis(ms));
    }
    let mut answer = match (asked.body, asked.repeat) {
        (None, _) => request,
        (Some(body), None) => request.body(body),
        (Some(body), Some(times)) => request.stream(Cursor::new(body.repeat(times))),
    }
    .send()?;
    if asked.add_up {
        return add_up(answer, asked.then);
    }
    if asked.check {
        answer = answer.check_status()?;
    }
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
    };
    let headers: Vec<_> = answer.headers().iter().map(header).collect();
    Ok(json!({ "status": answer.status().as_u16(), "headers": headers, "body": answer.text()? }))
}

/// Requests all before any is answered.
fn at_once(urls: Vec<String>) -> Result<Value, Failure> {
    let started: Vec<_> = urls
        .into_iter()
        .map(|url| http::get(url).start())
        .collect::<Result<_, _>>()?;
    let answered = started.into_iter().map(|pending| pending.response()?.text());
    Ok(answered.collect::<Result<Vec<_>, _>>()?.into())
}

fn add_up(mut answer: http::Response, mut then: Option<String>) -> Result<Value, Failure> {
    let (mut bytes, mut sum, mut piece) = (0, 0, [0; 4096]);
    loop {
        let len = answer.read(&mut piece)?;
        if len == 0 {
            return Ok(json!({ "bytes": bytes, "sum": sum }));
        }
        bytes += len;
        sum += piece[..len].iter().map(|byte| u64::from(*byte)).sum::<u64>();
        if let Some(then) = then.take() {
            http::get(then).send()?;
        }
    }
}

#[derive(Deserialize)]
struct Typed {
    text: String,
    count: i64,
}

#[derive(Serialize)]
struct Measured {
    text: String,
    length: usize,
    count: i64,
}

fn measure(Typed { text, count }: Typed) -> Measured {
    let (length, count) = (text.chars().count(), count + 1);
    Measured { text, length, count }
}

fn ms(time: SystemTime) -> Result<u64, Failure> {
    Ok(time.duration_since(UNIX_EPOCH)?.as_millis().try_into()?)
}
