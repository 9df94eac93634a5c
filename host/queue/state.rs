//! What handlers remember, kept in a store.

use futures::future::BoxFuture;
use tokio::sync::OnceCell;

use super::error::QueueError;
use super::settings::StoreSettings;
use super::store::Store;
use crate::state::{BucketId, Change, Changed, Entry, Keeper, Quota, StateError};
use crate::text::{self, MAX_LINE_BYTES};

/// Keeps what handlers remember. It has its own connections, made at the first call, so that no handler can delay the
/// moves of jobs or the renewal of a lease.
#[derive(Debug)]
pub struct StateStore {
    settings: StoreSettings,
    store: OnceCell<Store>,
}

impl StateStore {
    /// A state store in the same place as this store of jobs.
    #[must_use]
    pub fn beside(store: &Store, settings: &StoreSettings) -> Self {
        // A store in memory cannot be opened a second time.
        let known = store.redis().is_none().then(|| store.clone());
        Self {
            settings: settings.clone(),
            store: OnceCell::new_with(known),
        }
    }

    /// A state store over this store's own connections, for programs that run no jobs.
    #[must_use]
    pub fn of(store: Store) -> Self {
        Self {
            settings: StoreSettings::new("memory:"),
            store: OnceCell::new_with(Some(store)),
        }
    }

    async fn store(&self) -> Result<&Store, StateError> {
        let open = || Store::open(&self.settings);
        self.store.get_or_try_init(open).await.map_err(unavailable)
    }
}

impl Keeper for StateStore {
    fn get<'a>(
        &'a self,
        bucket: &'a BucketId,
        keys: &'a [String],
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Option<Entry>>, StateError>> {
        Box::pin(async move {
            let found = self.store().await?.backend().state_get(bucket, keys, max_bytes);
            found.await.map_err(unavailable)?
        })
    }

    fn list<'a>(
        &'a self,
        bucket: &'a BucketId,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, StateError>> {
        Box::pin(async move {
            let found = self.store().await?.backend().state_list(bucket, prefix, after, limit);
            found.await.map_err(unavailable)
        })
    }

    fn write<'a>(
        &'a self,
        bucket: &'a BucketId,
        quota: Quota,
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<Vec<Changed>, StateError>> {
        Box::pin(async move {
            let written = self.store().await?.backend().state_write(bucket, quota, changes, None);
            written.await.map_err(unavailable)?
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unavailable(err: QueueError) -> StateError {
    StateError::Unavailable(text::line(&err.to_string(), MAX_LINE_BYTES).into_owned())
}
