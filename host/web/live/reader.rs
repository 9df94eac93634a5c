//! Reads what hosts report, beside the samples: where that takes long, a sample has what was read last.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::fleet::Fleet;
use super::rates::Rates;
use super::sample::Local;
use crate::admin::AdminError;
use crate::admin::plugins::{Hosts, Reports};
use crate::queue::Store;

/// How long a sample waits for the reports.
const READ_TIME: Duration = Duration::from_millis(150);

/// Reads the reports again and again.
#[derive(Debug)]
pub(super) struct Reader {
    store: Store,
    local: Option<Local>,
    /// What is kept between two readings, unless one is under way.
    kept: Kept,
    under_way: Option<AbortOnDropHandle<(Kept, Result<(), AdminError>)>>,
}

#[derive(Debug, Default)]
struct Kept {
    reports: Reports,
    rates: Rates,
    fleet: Arc<Fleet>,
}

impl Reader {
    pub(super) fn new(store: Store, local: Option<Local>) -> Self {
        Self {
            store,
            local,
            kept: Kept::default(),
            under_way: None,
        }
    }

    /// What hosts report, as it is now or was read last.
    pub(super) async fn latest(&mut self) -> Result<Arc<Fleet>, AdminError> {
        let last = Arc::clone(&self.kept.fleet);
        let begin = || {
            let mut kept = std::mem::take(&mut self.kept);
            let (store, local) = (self.store.clone(), self.local.clone());
            let reading = async move {
                let read = kept.read(&store, local.as_ref()).await;
                (kept, read)
            };
            AbortOnDropHandle::new(tokio::spawn(reading))
        };
        let reading = self.under_way.get_or_insert_with(begin);
        let Ok(ended) = timeout(READ_TIME, reading).await else {
            self.kept.fleet = Arc::clone(&last);
            return Ok(last);
        };
        self.under_way = None;
        let (kept, read) = ended.unwrap_or_else(|_| (Kept::default(), Ok(())));
        self.kept = kept;
        read.map(|()| Arc::clone(&self.kept.fleet))
    }
}

impl Kept {
    async fn read(&mut self, store: &Store, local: Option<&Local>) -> Result<(), AdminError> {
        let mut hosts = self.reports.read(store).await?;
        if let Some(local) = local {
            local.add_to(&mut hosts);
        }
        if !self.fleet.is_read || !is_same(&self.fleet.hosts, &hosts) {
            let mut rates = std::mem::take(&mut self.rates);
            let together = move || {
                let rate = rates.count(&hosts);
                (rates, Arc::new(Fleet::of(hosts, rate)))
            };
            (self.rates, self.fleet) = tokio::task::spawn_blocking(together).await.unwrap_or_default();
        }
        Ok(())
    }
}

/// Whether no host has reported anything since.
fn is_same(before: &Hosts, now: &Hosts) -> bool {
    let same = |((one, before), (other, now)): ((&String, &Arc<_>), (&String, &Arc<_>))| {
        one == other && Arc::ptr_eq(before, now)
    };
    before.len() == now.len() && before.iter().zip(now).all(same)
}
