//! Having a host drain: finish what runs, take nothing new, and end.

use serde_json::{Map, Value};

use super::AdminError;
use crate::queue::Store;

/// Asks a host to drain, as a SIGTERM does. It hears of it with its next report, within some seconds. Whatever started it may
/// start it again.
///
/// # Errors
/// When no running host of that name tells of itself, or the store fails.
pub async fn drain(store: &Store, host: &str, by: &str) -> Result<(), AdminError> {
    let none = || AdminError::NoHost(host.to_owned());
    let report = store.report(host).await?.ok_or_else(none)?;
    let mut report: Map<String, Value> = serde_json::from_str(&report).map_err(|_| none())?;
    // The host finds this where it puts its next report.
    report.insert("drain".to_owned(), by.into());
    let report = Value::Object(report).to_string();
    if store.amend(host, &report).await? {
        Ok(())
    } else {
        Err(none())
    }
}
