//! What all hosts report, put together once for all pages: by plugin, and what is the matter on each host.
//!
//! A page looks at what it shows; only here is every report of every plugin looked at.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::rates::Rate;
use crate::admin::plugins::Hosts;
use crate::outcome::FailureKind;
use crate::plugins::{HostReport, LastError, PluginReport, VersionFacts, VersionReport};

/// Names that are told of a longer list.
const SOME: usize = 3;

/// All hosts and their plugins at one moment.
#[derive(Debug, Default)]
pub(in crate::web) struct Fleet {
    /// Whether the reports were read at all so far.
    pub(in crate::web) is_read: bool,
    /// The report of each host.
    pub(in crate::web) hosts: Hosts,
    /// Every plugin, on all hosts.
    pub(in crate::web) plugins: BTreeMap<Arc<str>, Plugin>,
    /// What is to be said of each host.
    pub(in crate::web) summaries: HashMap<String, Summary>,
    /// What all hosts do together.
    pub(in crate::web) rate: Rate,
}

/// A plugin on all hosts.
#[derive(Debug, Default)]
pub(in crate::web) struct Plugin {
    /// By their digests.
    pub(in crate::web) versions: BTreeMap<String, Version>,
    /// What is wrong with its file, and on which hosts.
    pub(in crate::web) faults: BTreeMap<String, Few>,
}

/// A version on all hosts that serve with it.
#[derive(Debug)]
pub(in crate::web) struct Version {
    pub(in crate::web) facts: Arc<VersionFacts>,
    pub(in crate::web) hosts: Few,
    /// Where it is set aside, and why.
    pub(in crate::web) aside: Vec<(String, String)>,
    /// The version that serves in its place, if there is one.
    pub(in crate::web) instead: Option<String>,
    pub(in crate::web) load_ms: u64,
    /// When the first host loaded it.
    pub(in crate::web) since_ms: i64,
    pub(in crate::web) attempts: u64,
    pub(in crate::web) in_flight: u64,
    pub(in crate::web) failures: BTreeMap<FailureKind, u64>,
    pub(in crate::web) peak_memory_bytes: u64,
    pub(in crate::web) longest_ms: u64,
    /// When an attempt failed last, and how.
    pub(in crate::web) last_error: Option<LastError>,
}

/// Names: the first few, and how many there are.
#[derive(Debug, Default)]
pub(in crate::web) struct Few {
    pub(in crate::web) names: Vec<String>,
    pub(in crate::web) count: u64,
}

/// What is to be said of the plugins of one host.
#[derive(Debug, Default)]
pub(in crate::web) struct Summary {
    /// Plugins that serve.
    pub(in crate::web) serving: u64,
    /// Those whose files do not load.
    pub(in crate::web) faulty: Few,
    /// Those that are set aside.
    pub(in crate::web) aside: Few,
    /// Those with another version than on most hosts.
    pub(in crate::web) unusual: Few,
}

impl Few {
    fn add(&mut self, name: &str) {
        self.count += 1;
        if self.names.len() < SOME {
            self.names.push(name.to_owned());
        }
    }
}

impl Fleet {
    /// Puts the reports together.
    pub(super) fn of(hosts: Hosts, rate: Rate) -> Self {
        let mut plugins = HashMap::<&Arc<str>, Plugin>::new();
        for (host, report) in &hosts {
            for reported in &report.plugins {
                plugins.entry(&reported.name).or_default().add(host, reported);
            }
        }
        let usual = plugins
            .iter()
            .filter_map(|(name, plugin)| Some((&***name, plugin.usual()?)));
        let usual: HashMap<&str, &str> = usual.collect();
        let summarised = hosts
            .iter()
            .map(|(host, report)| (host.clone(), Summary::of(report, &usual)));
        let summaries = summarised.collect();
        let plugins = plugins
            .into_iter()
            .map(|(name, plugin)| (Arc::clone(name), plugin))
            .collect();
        Self {
            is_read: true,
            hosts,
            plugins,
            summaries,
            rate,
        }
    }
}

impl Plugin {
    fn add(&mut self, host: &str, reported: &PluginReport) {
        if let Some(fault) = &reported.fault {
            self.faults.entry(fault.clone()).or_default().add(host);
        }
        let Some(version) = &reported.serving else { return };
        if let Some(known) = self.versions.get_mut(&version.facts.digest) {
            return known.add(host, version);
        }
        let mut known = Version::new(version);
        known.add(host, version);
        self.versions.insert(version.facts.digest.clone(), known);
    }

    /// The version with which most hosts serve.
    fn usual(&self) -> Option<&str> {
        let most = self.versions.iter().max_by_key(|(_, version)| version.hosts.count);
        most.map(|(digest, _)| digest.as_str())
    }

    /// Whether somebody should look at it.
    pub(in crate::web) fn is_in_trouble(&self) -> bool {
        !self.faults.is_empty() || self.versions.values().any(|version| !version.aside.is_empty())
    }
}

impl Version {
    fn new(report: &VersionReport) -> Self {
        Self {
            facts: Arc::clone(&report.facts),
            hosts: Few::default(),
            aside: Vec::new(),
            instead: report.instead.clone(),
            load_ms: report.load_ms,
            since_ms: report.since_ms,
            attempts: 0,
            in_flight: 0,
            failures: BTreeMap::new(),
            peak_memory_bytes: 0,
            longest_ms: 0,
            last_error: None,
        }
    }

    fn add(&mut self, host: &str, report: &VersionReport) {
        self.hosts.add(host);
        self.attempts += report.attempts;
        self.in_flight += report.in_flight;
        self.peak_memory_bytes = self.peak_memory_bytes.max(report.peak_memory_bytes);
        self.longest_ms = self.longest_ms.max(report.longest_ms);
        self.since_ms = self.since_ms.min(report.since_ms);
        for (kind, count) in &report.failures {
            *self.failures.entry(*kind).or_default() += count;
        }
        if let Some(why) = &report.aside {
            self.aside.push((host.to_owned(), why.clone()));
            self.instead.clone_from(&report.instead);
        }
        if let Some(last) = &report.last_error
            // Times as hosts write them, so in their order but within a second.
            && self.last_error.as_ref().is_none_or(|known| known.at < last.at)
        {
            self.last_error = Some(last.clone());
        }
    }

    /// Attempts that failed.
    pub(in crate::web) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

impl Summary {
    fn of(report: &HostReport, usual: &HashMap<&str, &str>) -> Self {
        let mut summary = Self::default();
        for plugin in &report.plugins {
            let digest = plugin.serving.as_ref().map(|version| version.facts.digest.as_str());
            summary.serving += u64::from(digest.is_some());
            for (holds, names) in [
                (plugin.fault.is_some(), &mut summary.faulty),
                (plugin.is_aside(), &mut summary.aside),
                (
                    digest.is_some() && usual.get(&*plugin.name).copied() != digest,
                    &mut summary.unusual,
                ),
            ] {
                if holds {
                    names.add(&plugin.name);
                }
            }
        }
        summary
    }
}
