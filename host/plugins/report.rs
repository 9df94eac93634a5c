//! What an operator is told of a plugin.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::stats::LastError;
use super::{Listed, Plugins};
use crate::config::Limit;
use crate::outcome::FailureKind;

/// What a host tells of its plugins.
#[derive(Debug, Clone, Serialize)]
pub struct HostReport {
    /// When it started, RFC 3339.
    pub since: String,
    /// When it told this, RFC 3339.
    pub at: String,
    /// Who has asked it to drain; none: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<String>,
    /// Its plugins, by name.
    pub plugins: Vec<PluginReport>,
    /// The attempts that have run longest, at most [`MAX_RUNNING_TOLD`], the longest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<RunningJob>,
}

/// Attempts that a host tells of by name.
pub const MAX_RUNNING_TOLD: usize = 100;

/// An attempt that a host runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningJob {
    /// The job's id.
    pub id: String,
    /// The queue it was taken from.
    pub queue: String,
    /// Since when it runs, in milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// A plugin on one host, as it is now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PluginReport {
    /// Its file's stem.
    #[serde(serialize_with = "inner", deserialize_with = "shared_text")]
    pub name: Arc<str>,
    /// What is wrong with its file as it is; none: it is in service.
    #[serde(default)]
    pub fault: Option<String>,
    /// How many contents of its file did not load since the host started.
    #[serde(default)]
    pub faults: u64,
    /// The version in service; none: none has loaded.
    #[serde(default)]
    pub serving: Option<VersionReport>,
}

/// A version of a plugin on one host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VersionReport {
    /// What it is, on every host.
    #[serde(flatten, serialize_with = "inner", deserialize_with = "shared")]
    pub facts: Arc<VersionFacts>,
    /// How long it took to load: to compile, as a rule.
    pub load_ms: u64,
    /// Since when it is loaded, in milliseconds since the Unix epoch; RFC 3339 in JSON.
    #[serde(rename = "since", serialize_with = "as_text", deserialize_with = "from_text")]
    pub since_ms: i64,
    /// Attempts under way.
    pub in_flight: u64,
    /// Attempts that ended by themselves.
    pub attempts: u64,
    /// Those that failed, by kind.
    pub failures: BTreeMap<FailureKind, u64>,
    /// The last of those.
    pub last_error: Option<LastError>,
    /// The most memory that an attempt has had, in bytes.
    #[serde(default)]
    pub peak_memory_bytes: u64,
    /// How long the longest attempt took, in milliseconds.
    #[serde(default)]
    pub longest_ms: u64,
    /// Why it is set aside; none: it is not.
    pub aside: Option<String>,
    /// The version that serves in its place, if there is one.
    pub instead: Option<String>,
}

/// What a version of a plugin is, wherever it serves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionFacts {
    /// The first twelve digits of its content digest.
    pub digest: String,
    /// What its manifest calls it.
    #[serde(default)]
    pub version: Option<String>,
    /// The job names it handles.
    pub jobs: Vec<String>,
    /// Its schedules, each as its manifest has it, with the name of its job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<serde_json::Value>,
    /// What its manifest grants, a line for each thing, up to some dozens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
    /// Length of its file.
    pub bytes: u64,
    /// The memory that an attempt may have, in bytes; 0: not told.
    #[serde(default)]
    pub max_memory_bytes: u64,
    /// How long an attempt may take where its job does not say, in milliseconds; 0: not told.
    #[serde(default)]
    pub timeout_ms: u64,
}

impl Plugins {
    /// A report for operators on these plugins, by a host that has served since `since`.
    #[must_use]
    pub fn report(&self, since: Timestamp) -> HostReport {
        HostReport {
            since: since.to_string(),
            at: Timestamp::now().to_string(),
            drain: None,
            plugins: self.list().iter().map(PluginReport::of).collect(),
            running: Vec::new(),
        }
    }
}

impl HostReport {
    /// Who has asked the host to drain, by a report of its own that came back.
    #[must_use]
    pub fn drain_asked(report: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Asked {
            drain: Option<String>,
        }
        // Nearly every report has no such word in it.
        let report = Some(report).filter(|report| report.contains("\"drain\""))?;
        serde_json::from_str::<Asked>(report).ok()?.drain
    }

    /// Whether it has set that plugin aside.
    #[must_use]
    pub fn has_aside(&self, name: &str) -> bool {
        self.plugins
            .iter()
            .any(|plugin| *plugin.name == *name && plugin.is_aside())
    }
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
            name: listed.name.as_str().into(),
            fault: listed.fault.as_deref().map(str::to_owned),
            faults: listed.faults,
            serving: listed.plugin.as_deref().map(|plugin| VersionReport {
                facts: Arc::new(VersionFacts {
                    digest: plugin.handler.short_digest().to_owned(),
                    version: plugin.version.clone(),
                    jobs: plugin.jobs.clone(),
                    schedules: plugin.instead().as_deref().unwrap_or(plugin).schedules_told(),
                    grants: plugin.grants.clone(),
                    bytes: plugin.bytes,
                    max_memory_bytes: plugin.handler.limits().get(Limit::MaxMemory),
                    timeout_ms: plugin.handler.limits().get(Limit::Timeout),
                }),
                load_ms: plugin.load_ms(),
                since_ms: plugin.since.as_millisecond(),
                in_flight: plugin.stats.in_flight(),
                attempts: plugin.stats.attempts(),
                failures: plugin.stats.failures(),
                last_error: plugin.stats.last(),
                peak_memory_bytes: plugin.stats.peak_memory_bytes(),
                longest_ms: plugin.stats.longest_ms(),
                aside: plugin.aside().map(|why| String::clone(&why)),
                instead: plugin.instead().map(|plugin| plugin.handler.short_digest().to_owned()),
            }),
        }
    }
}

fn inner<T: ?Sized + Serialize, S: Serializer>(shared: &Arc<T>, serializer: S) -> Result<S::Ok, S::Error> {
    shared.as_ref().serialize(serializer)
}

fn shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<VersionFacts>, D::Error> {
    VersionFacts::deserialize(deserializer).map(Arc::new)
}

fn shared_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    String::deserialize(deserializer).map(Arc::from)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn as_text<S: Serializer>(ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    let time = Timestamp::from_millisecond(*ms).map_err(serde::ser::Error::custom)?;
    serializer.collect_str(&time)
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time: Timestamp = text.parse().map_err(serde::de::Error::custom)?;
    Ok(time.as_millisecond())
}
