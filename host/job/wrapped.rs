//! Failed entries for what cannot be kept as a job: bytes that are no job, that are too large, or that never came.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{DecodeError, Job, KEPT_BYTES, MALFORMED_NAME, codec, raw};
use crate::outcome::{Failure, FailureKind};

/// Up to this length, valid UTF-8 is always kept as text.
const SHORT_BYTES: usize = 1024;

/// Makes the failed entry for bytes that are no job. The entry is itself a valid job: its payload holds the bytes, and
/// it has their id and name if these can be read. If `bytes` are only the beginning of `len` bytes, the entry says so.
#[must_use]
pub fn wrap_malformed(bytes: &[u8], len: usize, queue: &str, error: &DecodeError, now: Timestamp) -> String {
    wrap_partial(bytes, len, None, queue, error, now)
}

/// Like [`wrap_malformed`], where the SHA-1 of all the bytes is known.
#[must_use]
pub(crate) fn wrap_partial(
    bytes: &[u8],
    len: usize,
    sha1: Option<String>,
    queue: &str,
    error: &DecodeError,
    now: Timestamp,
) -> String {
    let missing = Missing {
        length: len,
        sha1,
        sha256: None,
    };
    wrap(
        bytes,
        (bytes.len() < len).then_some((missing, KEPT_BYTES)),
        queue,
        error,
        now,
    )
}

/// The first keys of a failed entry. Replacing a job's opening brace by them turns the job into a failed entry.
#[must_use]
pub(crate) fn failed_head(queue: &str, error: &DecodeError, now: Timestamp) -> String {
    #[derive(Serialize)]
    struct Head {
        error: String,
        failed_at: String,
        failure: Failure,
    }
    let mut failure = Failure::new(FailureKind::Internal, error.to_string());
    failure.queue = Some(queue.to_owned());
    let head = raw(&Head {
        error: failure.to_string(),
        failed_at: now.to_string(),
        failure,
    });
    format!("{},", head.get().strip_suffix('}').unwrap_or_default())
}

/// Makes the failed entry for bytes that the store does not take whole: it holds the beginning of them and the SHA-256
/// of all, to tell them from others.
#[must_use]
pub(crate) fn wrap_refused(bytes: &[u8], keep: usize, queue: &str, error: &DecodeError, now: Timestamp) -> String {
    let missing = Missing {
        length: bytes.len(),
        sha1: None,
        sha256: Some(format!("{:x}", Sha256::digest(bytes))),
    };
    wrap(bytes, Some((missing, keep)), queue, error, now)
}

/// Wraps bytes. If some are to be left out, `missing` describes them and says how many are kept.
fn wrap(bytes: &[u8], missing: Option<(Missing, usize)>, queue: &str, error: &DecodeError, now: Timestamp) -> String {
    let (mut why, mut kept) = (error.to_string(), bytes);
    if let Some((_, keep)) = missing {
        kept = &bytes[..bytes.len().min(keep)];
        // A character that was cut in two would make a text unreadable.
        if let Err(err) = std::str::from_utf8(kept)
            && err.error_len().is_none()
        {
            kept = &kept[..err.valid_up_to()];
        }
        why = format!("{why}; only the first {} bytes are kept", kept.len());
    }
    let payload = raw(&Wrapped::new(kept, missing.map(|(missing, _)| missing)));
    let label = codec::Label::of(kept);
    let mut job = Job::new(label.name.as_deref().unwrap_or(MALFORMED_NAME), queue, payload);
    job.id = label.id.unwrap_or(job.id);
    job.into_failed_entry(&Failure::new(FailureKind::Malformed, why), now)
}

/// What a failed entry wraps.
pub(crate) enum Original {
    /// All the bytes.
    Whole(Vec<u8>),
    /// Only the beginning of them is left.
    Cut,
}

/// Gives back what [`wrap_malformed`] wrapped, if `job` is such a wrapper.
#[must_use]
pub(crate) fn unwrap_malformed(job: &Job) -> Option<Original> {
    if job.failure()?.kind != FailureKind::Malformed {
        return None;
    }
    match serde_json::from_str(job.payload.get()).ok()? {
        Wrapped { length: Some(_), .. } => Some(Original::Cut),
        Wrapped { text: Some(text), .. } => Some(Original::Whole(text.into_owned().into_bytes())),
        Wrapped { base64, .. } => BASE64.decode(base64?).ok().map(Original::Whole),
    }
}

/// Bytes of which a wrapper has only the beginning.
struct Missing {
    /// How many there were.
    length: usize,
    /// The SHA-1 of all of them, if the store has computed it.
    sha1: Option<String>,
    /// The SHA-256 of all of them, if the host had them.
    sha256: Option<String>,
}

/// The payload of a wrapper: the bytes as text or base64, whichever is shorter, and what is known of missing ones.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha1: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

impl<'a> Wrapped<'a> {
    fn new(bytes: &'a [u8], missing: Option<Missing>) -> Self {
        // Control characters grow sixfold as JSON. A long text that grows more than base64 would is not one that people
        // read.
        let growth = |byte: &u8| match byte {
            b'"' | b'\\' | b'\t' | b'\n' | b'\r' | 8 | 12 => 1,
            0..0x20 => 5,
            _ => 0,
        };
        let grows = bytes.iter().map(growth).sum::<usize>() > bytes.len() / 3 + SHORT_BYTES;
        let text = std::str::from_utf8(bytes).ok().filter(|_| !grows);
        Self {
            text: text.map(Cow::Borrowed),
            base64: text.is_none().then(|| BASE64.encode(bytes)),
            length: missing.as_ref().map(|missing| missing.length),
            sha1: missing.as_ref().and_then(|missing| missing.sha1.clone()),
            sha256: missing.and_then(|missing| missing.sha256),
        }
    }
}
