//! Requests that bring a key, by which one is known that is made again: its answer did not arrive.

use std::fmt::Write as _;

use axum::http::{HeaderMap, StatusCode};
use sha2::{Digest as _, Sha256};

use crate::admin::AdminError;
use crate::queue::Store;
use crate::web::problem::Problem;

/// The header with the key.
const KEY: &str = "idempotency-key";

/// Bytes of a key.
const MAX_KEY_BYTES: usize = 255;

/// A request with a key.
#[derive(Debug)]
pub(super) struct Request {
    /// Digest of the key.
    name: String,
    /// Digest of the body.
    body: String,
}

impl Request {
    /// The request, if it brings a key.
    ///
    /// # Errors
    /// When the key is empty or too long.
    pub(super) fn of(headers: &HeaderMap, body: &[u8]) -> Result<Option<Self>, Problem> {
        let Some(key) = headers.get(KEY) else { return Ok(None) };
        if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
            return Err(Problem::bad(format!(
                "an Idempotency-Key has 1 to {MAX_KEY_BYTES} bytes"
            )));
        }
        Ok(Some(Self {
            name: hex(&Sha256::digest(key.as_bytes())),
            body: hex(&Sha256::digest(body)),
        }))
    }

    /// The id of the job at this place: the same whenever the request is made.
    pub(super) fn id(&self, place: usize) -> String {
        let digest = Sha256::new()
            .chain_update(&self.name)
            .chain_update((place as u64).to_le_bytes())
            .finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
    }

    /// Begins it. False: it was carried out before.
    ///
    /// # Errors
    /// When another with the same key is under way, or was for something else, or when the store fails.
    pub(super) async fn begin(&self, store: &Store) -> Result<bool, Problem> {
        let begun = store.begin_request(&self.name, &format!("begun {}", self.body)).await;
        let Some(found) = begun.map_err(AdminError::from)? else {
            return Ok(true);
        };
        match found.split_once(' ') {
            Some((_, body)) if body != self.body => Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "that Idempotency-Key came with another request before",
            )),
            Some(("done", _)) => Ok(false),
            _ => Err(Problem::new(
                StatusCode::CONFLICT,
                "a request with that Idempotency-Key is under way; make it again in a moment",
            )),
        }
    }

    /// Remembers that it was carried out.
    ///
    /// # Errors
    /// When the store fails: it may then be carried out again.
    pub(super) async fn end(&self, store: &Store) -> Result<(), Problem> {
        let ended = store.end_request(&self.name, &format!("done {}", self.body)).await;
        Ok(ended.map_err(AdminError::from)?)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
