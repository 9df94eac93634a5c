//! Tells operators what running attempts report.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::queue::Store;
use crate::worker::{Live, REPORT_EVERY};

/// Time that one message may take. No job depends on it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Tells what there is to tell, once a second at most, until it is stopped; then takes back what is left. Sleeps while nothing
/// is reported.
pub(super) async fn tell(store: Store, live: Arc<Live>, stop: CancellationToken) {
    loop {
        let stopped = stop
            .run_until_cancelled(async {
                live.has_news().await;
                sleep(REPORT_EVERY).await;
            })
            .await
            .is_none();
        let reports = live.take();
        if !reports.is_empty() {
            match timeout(TIMEOUT, store.report_progress(&reports)).await {
                Ok(Ok(())) => {}
                Ok(Err(err)) => tracing::debug!(%err, "the store takes no reports of running attempts for now"),
                Err(_) => tracing::debug!("the store takes no reports of running attempts for now"),
            }
        }
        if stopped && reports.is_empty() {
            return;
        }
    }
}
