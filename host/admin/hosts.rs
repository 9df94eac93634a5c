//! Having a host drain: finish what runs, take nothing new, and end.

use super::AdminError;
use super::plugins::hosts;
use crate::queue::Store;

/// Asks a host to drain, as a SIGTERM does. It hears of it with its next report, within some seconds. Whatever started it may
/// start it again.
///
/// # Errors
/// When no running host of that name tells of itself, or the store fails.
pub async fn drain(store: &Store, host: &str, by: &str) -> Result<(), AdminError> {
    let none = || AdminError::NoHost(host.to_owned());
    let mut report = hosts(store, None).await?.remove(host).ok_or_else(none)?;
    // The host finds this where it puts its next report.
    report.drain = Some(by.to_owned());
    let report = serde_json::to_string(&report).map_err(|_| none())?;
    if store.amend(host, &report).await? {
        Ok(())
    } else {
        Err(none())
    }
}
