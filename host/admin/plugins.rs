//! Which plugins every host serves, and bringing back those that hosts have set aside.

use std::collections::BTreeMap;

use super::AdminError;
use crate::plugins::HostReport;
use crate::queue::{QueueError, Store};

/// The reports of all running hosts, by the host's name.
pub type Hosts = BTreeMap<String, HostReport>;

/// What every running host reports of its plugins, or of the plugin of this name.
///
/// # Errors
/// When the store fails.
pub async fn hosts(store: &Store, plugin: Option<&str>) -> Result<Hosts, AdminError> {
    let mut hosts = reports(store).await?;
    if let Some(name) = plugin {
        for report in hosts.values_mut() {
            report.plugins.retain(|plugin| plugin.name == name);
        }
    }
    Ok(hosts)
}

/// Asks the hosts that have set this plugin aside to serve with it again, and returns how many they are. They do so with
/// their next report.
///
/// # Errors
/// When there are none, or when the store fails.
pub async fn release(store: &Store, plugin: &str) -> Result<u64, AdminError> {
    let hosts = reports(store).await?;
    let aside = hosts.values().filter(|report| report.has_aside(plugin)).count() as u64;
    if aside == 0 {
        return Err(AdminError::NotAside(plugin.to_owned()));
    }
    store.ask_release(plugin).await?;
    Ok(aside)
}

async fn reports(store: &Store) -> Result<Hosts, QueueError> {
    let reports = store.reports().await?.into_iter();
    // A host with another version of Kiln may report something that this one cannot read.
    let read = reports.filter_map(|(host, report)| Some((host, serde_json::from_str(&report).ok()?)));
    Ok(read.collect())
}
