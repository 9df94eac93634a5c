//! The body of a request that is signed: whole where the signature needs it, as it comes otherwise.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Body as _;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, WasiBody};

use super::limits::HttpLimits;
use super::rules::Sign;

/// The body of a request to sign.
pub(super) enum Payload {
    /// All of it: it can be signed, and sent again.
    Whole(Bytes),
    /// It is sent as it comes.
    Streamed(WasiBody),
}

impl Payload {
    /// A body as its signature needs it. A small one is whole, too, if the request may be sent again.
    ///
    /// # Errors
    /// When it is needed whole, and is too large or takes too long.
    pub(super) async fn of(
        body: WasiBody,
        head: &Parts,
        signer: &dyn Sign,
        limits: &HttpLimits,
    ) -> Result<Self, Error> {
        let (length, max_bytes) = (body.size_hint().exact(), limits.signed_body_bytes);
        let is_small = length.is_some_and(|bytes| bytes <= max_bytes as u64);
        let again = is_small && signer.renewal().is_some();
        if !again && !signer.needs_body(head, length) {
            return Ok(Self::Streamed(body));
        }
        let collected = timeout(limits.first_byte_timeout, Limited::new(body, max_bytes).collect()).await;
        match collected.map_err(|_| Error::ConnectionReadTimeout)? {
            Ok(collected) => Ok(Self::Whole(collected.to_bytes())),
            Err(err) => Err(match err.downcast() {
                Ok(err) => *err,
                Err(_too_large) => Error::HttpRequestBodySize(Some(max_bytes as u64)),
            }),
        }
    }

    /// Its bytes, none of a streamed one.
    pub(super) fn bytes(&self) -> Bytes {
        match self {
            Self::Whole(bytes) => bytes.clone(),
            Self::Streamed(_) => Bytes::new(),
        }
    }

    /// The same again, if it can be had.
    pub(super) fn again(&self) -> Option<Self> {
        match self {
            Self::Whole(bytes) => Some(Self::Whole(bytes.clone())),
            Self::Streamed(_) => None,
        }
    }

    /// What to send.
    pub(super) fn into_body(self, headers: &mut HeaderMap) -> WasiBody {
        match self {
            Self::Whole(bytes) => {
                if headers.contains_key(CONTENT_LENGTH) || !bytes.is_empty() {
                    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
                }
                WasiBody::new(Full::new(bytes).map_err(|never| match never {}))
            }
            Self::Streamed(body) => body,
        }
    }
}
