//! Which plugins every host serves, and bringing back those that hosts have set aside.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::AdminError;
use crate::plugins::{Catalogue, HostReport, KeptReport, KnownVersions};
use crate::queue::{QueueError, Reported, Store};

/// The reports of all running hosts, by the host's name.
pub type Hosts = BTreeMap<String, Arc<HostReport>>;

/// How long a report counts as unchanged while its stamp is. Then it is read again: it may have expired.
const UNCHANGED_FOR: Duration = Duration::from_secs(10);

/// What every running host reports of its plugins, or of the plugin of this name.
///
/// # Errors
/// When the store fails.
pub async fn hosts(store: &Store, plugin: Option<&str>) -> Result<Hosts, AdminError> {
    let mut hosts = Reports::default().read(store).await?;
    if let Some(name) = plugin {
        for report in hosts.values_mut() {
            Arc::make_mut(report).plugins.retain(|plugin| *plugin.name == *name);
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
    let hosts = hosts(store, Some(plugin)).await?;
    let aside = hosts.values().filter(|report| report.has_aside(plugin)).count() as u64;
    if aside == 0 {
        return Err(AdminError::NotAside(plugin.to_owned()));
    }
    store.ask_release(plugin).await?;
    Ok(aside)
}

/// Reads the reports of hosts again and again. What has not changed since is not read again, and what reports have in common is
/// kept once.
#[derive(Debug, Default)]
pub struct Reports {
    hosts: HashMap<String, Known>,
    catalogues: HashMap<String, Arc<Catalogue>>,
    versions: KnownVersions,
}

/// The last report of a host.
#[derive(Debug)]
struct Known {
    stamp: String,
    read: Instant,
    /// What names its catalogue.
    catalogue: Option<String>,
    report: Arc<HostReport>,
}

impl Reports {
    /// The reports as they are now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn read(&mut self, store: &Store) -> Result<Hosts, AdminError> {
        let unchanged = self
            .hosts
            .iter()
            .filter(|(_, known)| known.read.elapsed() < UNCHANGED_FOR);
        let stamps = unchanged
            .map(|(host, known)| (host.clone(), known.stamp.clone()))
            .collect();
        let reported = store.reports(&stamps).await?;
        let mut before = std::mem::take(&mut self.hosts);
        for Reported { host, stamp, text } in reported {
            let known = match text {
                None => before.remove(&host),
                Some(text) => self.known(store, stamp, &text).await?,
            };
            self.hosts.extend(known.map(|known| (host, known)));
        }
        self.sweep();
        let hosts = self.hosts.iter();
        Ok(hosts
            .map(|(host, known)| (host.clone(), Arc::clone(&known.report)))
            .collect())
    }

    /// What a report says. None: it cannot be read, or its catalogue is not there, so it is read again the next time.
    async fn known(&mut self, store: &Store, stamp: String, text: &str) -> Result<Option<Known>, QueueError> {
        let Some(kept) = KeptReport::read(text) else {
            return Ok(None);
        };
        let name = kept.catalogue().map(str::to_owned);
        let catalogue = match &name {
            Some(name) => self.catalogue(store, name).await?,
            None => Some(Arc::default()),
        };
        let report = catalogue.and_then(|catalogue| kept.with(&catalogue));
        Ok(report.map(|report| Known {
            stamp,
            read: Instant::now(),
            catalogue: name,
            report: Arc::new(report),
        }))
    }

    async fn catalogue(&mut self, store: &Store, name: &str) -> Result<Option<Arc<Catalogue>>, QueueError> {
        if let Some(known) = self.catalogues.get(name) {
            return Ok(Some(Arc::clone(known)));
        }
        let text = store.catalogue(name).await?;
        let read = text.and_then(|text| self.versions.catalogue(&text)).map(Arc::new);
        if let Some(read) = &read {
            self.catalogues.insert(name.to_owned(), Arc::clone(read));
        }
        Ok(read)
    }

    /// Forgets the catalogues that no report names any more.
    fn sweep(&mut self) {
        let named: std::collections::HashSet<_> = self
            .hosts
            .values()
            .filter_map(|known| known.catalogue.as_ref())
            .collect();
        let before = self.catalogues.len();
        self.catalogues.retain(|name, _| named.contains(name));
        if self.catalogues.len() < before {
            self.versions.sweep();
        }
    }
}
