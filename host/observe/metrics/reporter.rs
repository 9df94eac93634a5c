//! Sends what is counted to a receiver of OTLP, again and again.
//!
//! Nothing waits: what is sent is what is counted by then, since the start. So whatever a receiver missed, the next
//! request brings.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::{Metrics, request};
use crate::observe::otlp::{Endpoint, Post, Sending};

/// A receiver of metrics.
#[derive(Debug)]
pub struct Reporter {
    /// Dropped once the last request is due.
    going_on: Mutex<Option<Sender<()>>>,
    sending: Arc<Sending>,
}

impl Reporter {
    /// Begins to send, once in `every`.
    ///
    /// # Errors
    /// When the receiver's URL or a header is none, or the system has no more threads.
    pub fn start(endpoint: Endpoint, every: Duration, metrics: Arc<Metrics>) -> Result<Self, String> {
        let post = Post::new("metrics", &endpoint)?;
        let (going_on, ended) = mpsc::channel();
        let report = move || report(&metrics, &post, &endpoint.instance, every, &ended);
        Ok(Self {
            sending: Sending::start("metrics", report)?,
            going_on: Mutex::new(Some(going_on)),
        })
    }

    /// Sends what is counted by now, for the last time, and waits for two seconds at most.
    pub fn end(&self) {
        drop(self.going_on.lock().take());
        self.sending.wait();
    }
}

/// Sends what is counted, until the other end of `ended` is dropped, and then once more.
fn report(metrics: &Metrics, post: &Post, instance: &str, every: Duration, ended: &mpsc::Receiver<()>) {
    let (since, mut fails) = (SystemTime::now(), false);
    loop {
        let is_last = ended.recv_timeout(every) == Err(RecvTimeoutError::Disconnected);
        let until = SystemTime::now();
        let body = request::body(instance, &metrics.families(), request::Period { since, until });
        let failed = post.send(&body).err();
        // Told once when it begins and once when it ends, and not for each request.
        match &failed {
            Some(why) if !fails => tracing::warn!(%why, "the receiver of metrics takes none"),
            None if fails => tracing::info!("the receiver of metrics takes them again"),
            _ => {}
        }
        fails = failed.is_some();
        if is_last {
            return;
        }
    }
}
