//! What operators did in the dashboard and by its API: who, when, what, to what.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::AdminError;
use crate::queue::Store;
use crate::text::{self, MAX_NAME_BYTES};

/// Bytes of what a deed was done to.
const MAX_WHAT_BYTES: usize = 512;

/// Something that an operator did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// When, RFC 3339.
    pub at: String,
    /// Who, as the process that served them knows them.
    pub by: String,
    /// What: `pause`, `retry` and so on.
    pub act: String,
    /// To what, in words.
    pub what: String,
}

impl Deed {
    /// Something that is done now.
    #[must_use]
    pub fn now(by: &str, act: &str, what: &str) -> Self {
        Self {
            at: format!("{:.0}", Timestamp::now()),
            by: text::line(by, MAX_NAME_BYTES).into_owned(),
            act: act.to_owned(),
            what: text::line(what, MAX_WHAT_BYTES).into_owned(),
        }
    }
}

/// Records what is done, and logs it.
///
/// # Errors
/// When the store fails.
pub async fn record(store: &Store, deed: &Deed) -> Result<(), AdminError> {
    tracing::info!(by = deed.by, act = deed.act, what = deed.what, "an operator's deed");
    let note = serde_json::to_string(deed).unwrap_or_default();
    Ok(store.note_deed(&note).await?)
}

/// The last `count` deeds, the latest first.
///
/// # Errors
/// When the store fails.
pub async fn list(store: &Store, count: usize) -> Result<Vec<Deed>, AdminError> {
    let notes = store.deeds(count).await?;
    Ok(notes
        .iter()
        .filter_map(|note| serde_json::from_str(note).ok())
        .collect())
}
