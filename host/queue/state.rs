//! What handlers remember, kept in a store.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;

use super::error::QueueError;
use super::settings::StoreSettings;
use super::store::Store;
use crate::state::{BucketId, Change, Changed, Entry, Keeper, Quota, StateError};
use crate::text::{self, MAX_LINE_BYTES};

/// Keeps what handlers remember. It has its own connections, made at the first call, so that no handler can delay the
/// moves of jobs or the renewal of a lease.
#[derive(Debug, Clone)]
pub struct StateStore {
    opened: Arc<Opened>,
    /// Where its connections are served, if it has any. Handlers call on threads that serve none.
    io: Option<Handle>,
}

#[derive(Debug)]
struct Opened {
    settings: StoreSettings,
    store: OnceCell<Store>,
}

impl Opened {
    async fn store(&self) -> Result<&Store, StateError> {
        let open = || Store::open(&self.settings);
        self.store.get_or_try_init(open).await.map_err(unavailable)
    }
}

impl StateStore {
    /// A state store in the same place as this store of jobs, whose connections are served where this is called.
    ///
    /// # Panics
    /// Outside of a Tokio runtime, unless the store is in memory.
    #[must_use]
    pub fn beside(store: &Store, settings: &StoreSettings) -> Self {
        // A store in memory cannot be opened a second time.
        let known = store.redis().is_none().then(|| store.clone());
        Self::with(settings.clone(), known)
    }

    /// A state store over this store's own connections, for programs that run no jobs.
    ///
    /// # Panics
    /// Outside of a Tokio runtime, unless the store is in memory.
    #[must_use]
    pub fn of(store: Store) -> Self {
        Self::with(StoreSettings::new("memory:"), Some(store))
    }

    fn with(settings: StoreSettings, store: Option<Store>) -> Self {
        let in_memory = store.as_ref().is_some_and(|store| store.redis().is_none());
        let store = OnceCell::new_with(store);
        Self {
            opened: Arc::new(Opened { settings, store }),
            io: (!in_memory).then(Handle::current),
        }
    }

    /// Does something with the store where its connections are served, unless nobody waits for it any more.
    async fn there<T: Send + 'static, F: Future<Output = Result<T, StateError>> + Send + 'static>(
        &self,
        work: impl FnOnce(Arc<Opened>) -> F,
    ) -> Result<T, StateError> {
        let working = work(Arc::clone(&self.opened));
        let Some(io) = &self.io else {
            return working.await;
        };
        let ended = AbortOnDropHandle::new(io.spawn(working)).await;
        ended.unwrap_or_else(|_| Err(StateError::Unavailable("the host is stopping".to_owned())))
    }
}

impl Keeper for StateStore {
    fn get<'a>(
        &'a self,
        bucket: &'a BucketId,
        keys: &'a [String],
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Option<Entry>>, StateError>> {
        let (bucket, keys) = (bucket.clone(), keys.to_vec());
        Box::pin(self.there(move |opened| async move {
            let backend = opened.store().await?.backend();
            let found = backend.state_get(&bucket, &keys, max_bytes).await;
            found.map_err(unavailable)?
        }))
    }

    fn list<'a>(
        &'a self,
        bucket: &'a BucketId,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, StateError>> {
        let (bucket, prefix, after) = (bucket.clone(), prefix.to_owned(), after.map(str::to_owned));
        Box::pin(self.there(move |opened| async move {
            let backend = opened.store().await?.backend();
            let found = backend.state_list(&bucket, &prefix, after.as_deref(), limit).await;
            found.map_err(unavailable)
        }))
    }

    fn write<'a>(
        &'a self,
        bucket: &'a BucketId,
        quota: Quota,
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<Vec<Changed>, StateError>> {
        let (bucket, changes) = (bucket.clone(), changes.to_vec());
        Box::pin(self.there(move |opened| async move {
            let backend = opened.store().await?.backend();
            let written = backend.state_write(&bucket, quota, &changes, None).await;
            written.map_err(unavailable)?
        }))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unavailable(err: QueueError) -> StateError {
    StateError::Unavailable(text::line(&err.to_string(), MAX_LINE_BYTES).into_owned())
}
