//! Sends spans to a receiver, from a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Span, request};
use crate::observe::otlp::{Endpoint, Post, Sending};

/// Spans that wait to be sent. One more is dropped, and counted.
pub const MAX_WAITING_SPANS: usize = 4_096;

/// Most spans of one request.
const MAX_BATCH: usize = 512;

/// How long a span waits for others to be sent with.
const BATCH_TIME: Duration = Duration::from_secs(1);

/// A receiver of traces.
#[derive(Debug)]
pub struct Receiver {
    spans: Mutex<Option<SyncSender<Span>>>,
    sent: Arc<Sent>,
    sending: Arc<Sending>,
}

/// How the sending goes.
#[derive(Debug, Default)]
struct Sent {
    /// Taken, and neither sent nor dropped.
    waiting: AtomicU64,
    /// Not told of yet.
    dropped: AtomicU64,
}

impl Receiver {
    /// Begins to send to a receiver.
    ///
    /// # Errors
    /// When its URL or a header is none, or the system has no more threads.
    pub fn start(endpoint: Endpoint) -> Result<Arc<Self>, String> {
        let post = Post::new("traces", &endpoint)?;
        let (spans, waiting) = mpsc::sync_channel(MAX_WAITING_SPANS);
        let sent = Arc::<Sent>::default();
        let going = Arc::clone(&sent);
        let sending = Sending::start("traces", move || send_all(&waiting, &post, &endpoint.instance, &going))?;
        let spans = Mutex::new(Some(spans));
        Ok(Arc::new(Self { spans, sent, sending }))
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
        self.sending.wait();
        // What still waits is dropped with the process.
        let left = self.sent.waiting.load(Ordering::Relaxed);
        tell_of(self.sent.dropped.swap(0, Ordering::Relaxed) + left);
    }
}

/// Sends spans until nobody can hand one over any more.
fn send_all(spans: &mpsc::Receiver<Span>, post: &Post, instance: &str, sent: &Sent) {
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
        let failed = post.send(&request::body(instance, &batch)).err();
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
