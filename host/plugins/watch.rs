//! Hot reload: keeps the table at what the folder holds.
//!
//! Events only say that it is time to look; what counts is what the look finds. A slow look now and then makes up for
//! events that never come, as on network file systems.

use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Plugins;

/// How long the folder must be quiet before it is looked at: a copy arrives in many writes.
const SETTLE: Duration = Duration::from_millis(100);

/// How often the folder is looked at without any event.
const RESCAN: Duration = Duration::from_secs(10);

/// Keeps `plugins` at what their folder holds, until `stop`.
pub async fn watch(plugins: Arc<Plugins>, stop: CancellationToken) {
    let changed = Arc::new(Notify::new());
    let told = Arc::clone(&changed);
    let on_event = move |event: notify::Result<notify::Event>| {
        // Looking at the folder makes events of its own.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            told.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        watcher.watch(plugins.folder(), RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    if let Err(err) = &watcher {
        tracing::warn!(%err, every_s = RESCAN.as_secs(), "cannot watch the plugin folder; looking at it instead");
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = changed.notified() => settled(&changed).await,
            () = tokio::time::sleep(RESCAN) => {}
        }
        if let Err(err) = plugins.refresh().await {
            tracing::error!(%err, "cannot read the plugin folder; the plugins in service stay");
        }
    }
}

/// Returns once no event has come for a while, or they will not stop coming.
async fn settled(changed: &Notify) {
    let quiet = async { while tokio::time::timeout(SETTLE, changed.notified()).await.is_ok() {} };
    // Either way it is time to look.
    let _ = tokio::time::timeout(RESCAN, quiet).await;
}
