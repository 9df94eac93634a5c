//! Requests that are shown, and not sent.

use parking_lot::Mutex;
use serde::Serialize;

/// Requests of one run that are kept; further ones are counted.
pub const MAX_WITHHELD: usize = 50;

/// Bytes of a request's body that are kept.
pub const MAX_WITHHELD_BODY_BYTES: usize = 16 * 1024;

/// What a handler would have sent, in order.
#[derive(Debug, Default)]
pub struct Withheld(Mutex<Would>);

/// Requests that were not sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Would {
    /// The first of them.
    pub requests: Vec<WouldSend>,
    /// How many more there were.
    pub more: u64,
}

/// A request that was not sent, without what is known to be secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WouldSend {
    /// Its method.
    pub method: String,
    /// Its whole URL.
    pub url: String,
    /// Names and values of its header fields.
    pub headers: Vec<(String, String)>,
    /// The beginning of its body; what is not UTF-8 is replaced.
    pub body: String,
    /// Length of the body.
    pub body_bytes: u64,
}

impl Withheld {
    pub(crate) fn note(&self, request: super::Request) {
        let mut would = self.0.lock();
        if would.requests.len() >= MAX_WITHHELD {
            would.more += 1;
            return;
        }
        let body = &request.body[..request.body.len().min(MAX_WITHHELD_BODY_BYTES)];
        would.requests.push(WouldSend {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: String::from_utf8_lossy(body).into_owned(),
            body_bytes: request.body.len() as u64,
        });
    }

    /// What would have been sent so far.
    #[must_use]
    pub fn would(&self) -> Would {
        self.0.lock().clone()
    }
}
