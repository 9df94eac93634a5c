//! What a request brings: its query, a form or JSON, each bounded in bytes and time.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::StatusCode;
use http_body_util::{BodyExt as _, Limited};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::problem::Problem;

/// The last place of a list that can be asked for: Redis counts no further than half of 64 bits.
pub(super) const MAX_PLACE: u64 = 1 << 62;

/// Bytes of a form.
const MAX_FORM_BYTES: usize = 64 * 1024;

/// Time for a body to arrive.
const TIME: Duration = Duration::from_secs(30);

/// Bytes of the large bodies of all requests together, from when they begin to arrive until they are worked off.
pub const MAX_BODIES_BYTES: usize = 64 * 1024 * 1024;

/// A body is large if it may have more bytes. As many small ones as there are connections come to no more than
/// [`MAX_BODIES_BYTES`] either.
const SMALL_BYTES: usize = MAX_FORM_BYTES;

/// What is counted of bodies that are under way.
const UNIT_BYTES: usize = 1024;

/// Room for large bodies, in units.
static ROOM: Semaphore = Semaphore::const_new(MAX_BODIES_BYTES / UNIT_BYTES);

/// A body that has arrived, and the room that it takes.
#[derive(Debug)]
pub(super) struct Arrived {
    bytes: Bytes,
    _room: Option<SemaphorePermit<'static>>,
}

impl std::ops::Deref for Arrived {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The pairs of a query or a form.
#[derive(Debug, Default)]
pub(super) struct Pairs(Vec<(String, String)>);

impl Pairs {
    pub(super) fn of(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// Whether there are only these keys: one that is misspelt would mean more than was asked for.
    ///
    /// # Errors
    /// When there is another.
    pub(super) fn only(&self, keys: &[&str]) -> Result<(), Problem> {
        match self.0.iter().find(|(name, _)| !keys.contains(&name.as_str())) {
            Some((name, _)) => Err(Problem::bad(format!(
                "there is no {name:?}; there are {}",
                keys.join(", ")
            ))),
            None => Ok(()),
        }
    }

    /// The number that a key has; none if it is not there.
    ///
    /// # Errors
    /// When it is no number, or one that no place in a list has.
    pub(super) fn place(&self, key: &str) -> Result<Option<u64>, Problem> {
        let Some(given) = self.get(key) else { return Ok(None) };
        let place = given.parse().ok().filter(|place| *place <= MAX_PLACE);
        let wrong = || Problem::bad(format!("{key} is a number from 0 to {MAX_PLACE}"));
        place.map(Some).ok_or_else(wrong)
    }

    /// The first value of a key that is not empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let mut values = self
            .0
            .iter()
            .filter(|(name, value)| name == key && !value.trim().is_empty());
        values.next().map(|(_, value)| value.trim())
    }
}

/// The pairs of a form.
pub(super) async fn form(body: Body) -> Result<Pairs, Problem> {
    Ok(Pairs::of(&read(body, MAX_FORM_BYTES).await?))
}

/// The whole body. A large one waits until there is room for all of it, so that several never wait for each other.
pub(super) async fn read(body: Body, most: usize) -> Result<Arrived, Problem> {
    let too_long = || {
        let why = format!("the request's body has more than {most} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, why)
    };
    let told = body
        .size_hint()
        .exact()
        .map(|told| usize::try_from(told).unwrap_or(usize::MAX));
    if told.is_some_and(|told| told > most) {
        return Err(too_long());
    }
    let room = match told.unwrap_or(most) {
        ..=SMALL_BYTES => None,
        large => Some(room_for(large).await?),
    };
    match timeout(TIME, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(Arrived {
            bytes: body.to_bytes(),
            _room: room,
        }),
        Ok(Err(err)) if err.is::<http_body_util::LengthLimitError>() => Err(too_long()),
        Ok(Err(err)) => Err(Problem::bad(format!("the request's body cannot be read: {err}"))),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "the request's body did not arrive in time",
        )),
    }
}

async fn room_for(bytes: usize) -> Result<SemaphorePermit<'static>, Problem> {
    let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
    let room = timeout(TIME, ROOM.acquire_many(units)).await;
    room.ok().and_then(Result::ok).ok_or_else(|| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many large requests are under way; try again",
        )
    })
}
