//! Sends spans to a receiver, from a thread of its own: however slow the receiver is, no job waits for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use ureq::Agent;
use ureq::http::Uri;

use super::{Span, otlp};

/// Spans that wait to be sent. One more is dropped, and counted.
pub const MAX_WAITING_SPANS: usize = 4_096;

/// Most spans of one request.
const MAX_BATCH: usize = 512;

/// How long a span waits for others to be sent with.
const BATCH_TIME: Duration = Duration::from_secs(1);

/// Time for a request, with all of its tries.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Wait before a request is made again that the receiver had no time for.
const RETRY_WAIT: Duration = Duration::from_millis(500);

/// Time at the end for the spans that still wait.
const END_TIME: Duration = Duration::from_secs(2);

/// A receiver of traces.
#[derive(Debug)]
pub struct Receiver {
    spans: Mutex<Option<SyncSender<Span>>>,
    sent: Arc<Sent>,
}

/// How the sending goes.
#[derive(Debug, Default)]
struct Sent {
    /// Taken, and neither sent nor dropped.
    waiting: AtomicU64,
    /// Not told of yet.
    dropped: AtomicU64,
    /// Whether the thread has ended.
    ended: Mutex<bool>,
    end: Condvar,
}

impl Receiver {
    /// Begins to send to a receiver of OTLP over HTTP, such as `http://127.0.0.1:4318`. A URL without a path gets that of
    /// traces, `/v1/traces`. `headers` go with each request, and `host` tells this worker from others.
    ///
    /// # Errors
    /// When the URL or a header is none, or the system has no more threads.
    pub fn start(url: &str, headers: Vec<(String, String)>, host: String) -> Result<Arc<Self>, String> {
        let post = Post {
            url: endpoint(url)?,
            headers,
            host,
            agent: agent(),
        };
        post.check()?;
        let (spans, waiting) = mpsc::sync_channel(MAX_WAITING_SPANS);
        let sent = Arc::<Sent>::default();
        let sending = Arc::clone(&sent);
        let thread = thread::Builder::new().name("kiln-traces".to_owned());
        let started: io::Result<_> = thread.spawn(move || {
            send_all(&waiting, &post, &sending);
            *sending.ended.lock() = true;
            sending.end.notify_all();
        });
        started.map_err(|err| format!("cannot start a thread for traces: {err}"))?;
        let spans = Mutex::new(Some(spans));
        Ok(Arc::new(Self { spans, sent }))
    }

    /// Sends a span in time, or drops it where too many wait.
    pub(super) fn take(&self, span: Span) {
        self.sent.waiting.fetch_add(1, Ordering::Relaxed);
        let is_taken = self
            .spans
            .lock()
            .as_ref()
            .is_some_and(|spans| spans.try_send(span).is_ok());
        if !is_taken {
            self.sent.waiting.fetch_sub(1, Ordering::Relaxed);
            self.sent.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends what still waits, for two seconds at most. Spans that come later are dropped. Logs how many were dropped, and not
    /// told of before.
    pub fn end(&self) {
        drop(self.spans.lock().take());
        let mut ended = self.sent.ended.lock();
        let is_late = |ended: &mut bool| !*ended;
        self.sent.end.wait_while_for(&mut ended, is_late, END_TIME);
        // What still waits is dropped with the process.
        let left = self.sent.waiting.load(Ordering::Relaxed);
        tell_of(self.sent.dropped.swap(0, Ordering::Relaxed) + left);
    }
}

/// Sends spans until nobody can hand one over any more.
fn send_all(spans: &mpsc::Receiver<Span>, post: &Post, sent: &Sent) {
    let (mut batch, mut fails) = (Vec::new(), false);
    while let Ok(first) = spans.recv() {
        batch.push(first);
        let full = Instant::now() + BATCH_TIME;
        while batch.len() < MAX_BATCH {
            match spans.recv_timeout(full.saturating_duration_since(Instant::now())) {
                Ok(span) => batch.push(span),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let failed = post.send(&batch).err();
        sent.waiting.fetch_sub(batch.len() as u64, Ordering::Relaxed);
        if failed.is_some() {
            sent.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
        // Told once when it begins and once when it ends, and not for each request.
        if let Some(why) = failed.as_ref().filter(|_| !fails) {
            tracing::warn!(%why, "the receiver of traces takes none; spans are dropped");
        }
        fails = failed.is_some();
        if !fails {
            tell_of(sent.dropped.swap(0, Ordering::Relaxed));
        }
        batch.clear();
    }
}

fn tell_of(dropped: u64) {
    if dropped > 0 {
        tracing::warn!(
            dropped,
            "spans were dropped: the receiver of traces was too slow, or away"
        );
    }
}

/// How requests are made.
struct Post {
    url: Uri,
    headers: Vec<(String, String)>,
    host: String,
    agent: Agent,
}

impl Post {
    /// Whether a request can be made of what was given.
    fn check(&self) -> Result<(), String> {
        let checked = self.request().body(());
        checked.map(drop).map_err(|err| format!("headers of traces: {err}"))
    }

    fn request(&self) -> ureq::http::request::Builder {
        let request = ureq::http::Request::post(&self.url).header("content-type", "application/json");
        self.headers
            .iter()
            .fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Sends spans, and tries again where the receiver says that this helps.
    fn send(&self, spans: &[Span]) -> Result<(), String> {
        let (body, until) = (otlp::request(&self.host, spans), Instant::now() + REQUEST_TIME);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let request = self.request().body(&body[..]).map_err(|err| err.to_string())?;
            let request = self.agent.configure_request(request).timeout_global(Some(left)).build();
            let status = self.agent.run(request).map_err(|err| err.to_string())?.status();
            match status.as_u16() {
                200..300 => return Ok(()),
                // What the specification of OTLP names as worth another try.
                429 | 502 | 503 | 504 if left > RETRY_WAIT * 2 => thread::sleep(RETRY_WAIT),
                status => return Err(format!("{} answers {status}", self.url)),
            }
        }
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(1)
        .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// Where requests go.
fn endpoint(url: &str) -> Result<Uri, String> {
    let wrong = || format!("{url:?} is no URL of a receiver such as http://127.0.0.1:4318");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    if uri.path() != "/" {
        return Ok(uri);
    }
    format!("{}/v1/traces", url.trim_end_matches('/'))
        .parse()
        .map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_gets_that_of_traces() {
        let of = |url: &str| endpoint(url).map(|uri| uri.to_string());
        for url in ["http://a:4318", "http://a:4318/"] {
            assert_eq!(of(url).as_deref(), Ok("http://a:4318/v1/traces"));
        }
        assert_eq!(
            of("https://a/otlp/v1/traces").as_deref(),
            Ok("https://a/otlp/v1/traces")
        );
        for wrong in ["", "a:4318", "ftp://a", "http://"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
