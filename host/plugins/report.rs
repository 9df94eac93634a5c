//! What an operator is told of a plugin.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Listed;
use super::stats::LastError;
use crate::outcome::FailureKind;

/// What a host tells of its plugins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostReport {
    /// When it started, RFC 3339.
    pub since: String,
    /// When it told this, RFC 3339.
    pub at: String,
    /// Its plugins, by name.
    pub plugins: Vec<PluginReport>,
}

impl HostReport {
    /// Whether it has set that plugin aside.
    #[must_use]
    pub fn has_aside(&self, name: &str) -> bool {
        self.plugins
            .iter()
            .any(|plugin| plugin.name == name && plugin.is_aside())
    }
}

/// A plugin on one host, as it is now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PluginReport {
    /// Its file's stem.
    pub name: String,
    /// What is wrong with its file as it is; none: it is in service.
    pub fault: Option<String>,
    /// How many contents of its file did not load since the host started.
    #[serde(default)]
    pub faults: u64,
    /// The version in service; none: none has loaded.
    pub serving: Option<VersionReport>,
}

/// A version of a plugin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VersionReport {
    /// The first twelve digits of its content digest.
    pub digest: String,
    /// What its manifest calls it.
    pub version: Option<String>,
    /// The job names it handles.
    pub jobs: Vec<String>,
    /// Length of its file.
    pub bytes: u64,
    /// How long it took to load: to compile, as a rule.
    pub load_ms: u64,
    /// Since when it is loaded, RFC 3339.
    pub since: String,
    /// Attempts under way.
    pub in_flight: u64,
    /// Attempts that ended by themselves.
    pub attempts: u64,
    /// Those that failed, by kind.
    pub failures: BTreeMap<FailureKind, u64>,
    /// The last of those.
    pub last_error: Option<LastError>,
    /// Why it is set aside; none: it is not.
    pub aside: Option<String>,
    /// The version that serves in its place, if there is one.
    pub instead: Option<String>,
}

impl PluginReport {
    /// Whether its version is set aside.
    #[must_use]
    pub fn is_aside(&self) -> bool {
        self.serving.as_ref().is_some_and(|version| version.aside.is_some())
    }

    /// What is known of it.
    #[must_use]
    pub fn of(listed: &Listed) -> Self {
        Self {
            name: listed.name.clone(),
            fault: listed.fault.as_deref().map(str::to_owned),
            faults: listed.faults,
            serving: listed.plugin.as_deref().map(|plugin| VersionReport {
                digest: plugin.handler.short_digest().to_owned(),
                version: plugin.version.clone(),
                jobs: plugin.jobs.clone(),
                bytes: plugin.bytes,
                load_ms: plugin.load_ms(),
                since: plugin.since.to_string(),
                in_flight: plugin.stats.in_flight(),
                attempts: plugin.stats.attempts(),
                failures: plugin.stats.failures(),
                last_error: plugin.stats.last(),
                aside: plugin.aside().map(|why| String::clone(&why)),
                instead: plugin.instead().map(|plugin| plugin.handler.short_digest().to_owned()),
            }),
        }
    }
}
