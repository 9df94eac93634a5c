//! A host's report in the form in which the store keeps it.
//!
//! Every few seconds each host tells of each of its plugins. What hosts with the same plugins say alike, and again and again, is
//! kept once for all of them, as a [`Catalogue`]; a report names its catalogue and has little more than numbers.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::report::{HostReport, PluginReport, RunningJob, VersionFacts, VersionReport};
use super::stats::LastError;
use crate::outcome::FailureKind;

/// The versions that serve on a host, by their plugins' names: what does not change while they do.
pub type Catalogue = Vec<(Arc<str>, Arc<VersionFacts>)>;

/// A report as texts.
#[derive(Debug)]
pub struct ReportTexts {
    /// What the host alone says.
    pub report: String,
    /// Names the catalogue: hosts with the same one use the same name.
    pub catalogue_name: String,
    /// The catalogue.
    pub catalogue: String,
}

/// A report that was read, but for its catalogue.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptReport {
    since: String,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    catalogue: Option<String>,
    /// Of each version in the catalogue, in its order.
    counts: Vec<Counts>,
    /// What is to be told of some of these beside that, by their places.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    more: BTreeMap<usize, More>,
    /// Plugins without a version that serves. Hosts of before there were catalogues tell of all plugins here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plugins: Vec<PluginReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    running: Vec<RunningJob>,
}

/// Since when a version is loaded, how long that took, attempts under way and ended, the most memory and the longest time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Counts(i64, u64, u64, u64, u64, u64);

/// What few versions have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct More {
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    faults: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    failures: BTreeMap<FailureKind, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<LastError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aside: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instead: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl HostReport {
    /// The report as it is kept.
    ///
    /// # Errors
    /// Never: all of it is text and numbers.
    pub fn texts(self) -> serde_json::Result<ReportTexts> {
        let Self {
            since,
            at,
            drain,
            plugins,
            running,
        } = self;
        let mut kept = KeptReport {
            since,
            at,
            drain,
            running,
            ..KeptReport::default()
        };
        let mut facts = Vec::with_capacity(plugins.len());
        for mut plugin in plugins {
            let Some(version) = plugin.serving.take() else {
                kept.plugins.push(plugin);
                continue;
            };
            let more = More {
                fault: plugin.fault,
                faults: plugin.faults,
                failures: version.failures,
                last_error: version.last_error,
                aside: version.aside,
                instead: version.instead,
            };
            if more != More::default() {
                kept.more.insert(kept.counts.len(), more);
            }
            kept.counts.push(Counts(
                version.since_ms,
                version.load_ms,
                version.in_flight,
                version.attempts,
                version.peak_memory_bytes,
                version.longest_ms,
            ));
            facts.push((plugin.name, version.facts));
        }
        let named: Vec<_> = facts.iter().map(|(name, facts)| (&**name, &**facts)).collect();
        let catalogue = serde_json::to_string(&named)?;
        let name = name_of(&catalogue);
        kept.catalogue = Some(name.clone());
        Ok(ReportTexts {
            report: serde_json::to_string(&kept)?,
            catalogue_name: name,
            catalogue,
        })
    }
}

fn name_of(catalogue: &str) -> String {
    Sha256::digest(catalogue)[..8]
        .iter()
        .fold(String::new(), |mut name, byte| {
            let _ = write!(name, "{byte:02x}");
            name
        })
}

impl KeptReport {
    /// A report as a host keeps it. None: a host with another version of Kiln may report something that this one cannot read.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// What names its catalogue, if it has one.
    #[must_use]
    pub fn catalogue(&self) -> Option<&str> {
        self.catalogue.as_deref()
    }

    /// The whole report. None: that is not its catalogue.
    #[must_use]
    pub fn with(self, catalogue: &Catalogue) -> Option<HostReport> {
        let Self {
            since,
            at,
            drain,
            counts,
            mut more,
            mut plugins,
            running,
            ..
        } = self;
        if counts.len() != catalogue.len() {
            return None;
        }
        plugins.reserve(counts.len());
        for (place, ((name, facts), counts)) in catalogue.iter().zip(counts).enumerate() {
            let Counts(since_ms, load_ms, in_flight, attempts, peak_memory_bytes, longest_ms) = counts;
            let More {
                fault,
                faults,
                failures,
                last_error,
                aside,
                instead,
            } = more.remove(&place).unwrap_or_default();
            plugins.push(PluginReport {
                name: Arc::clone(name),
                fault,
                faults,
                serving: Some(VersionReport {
                    facts: Arc::clone(facts),
                    load_ms,
                    since_ms,
                    in_flight,
                    attempts,
                    failures,
                    last_error,
                    peak_memory_bytes,
                    longest_ms,
                    aside,
                    instead,
                }),
            });
        }
        plugins.sort_by(|a, b| a.name.cmp(&b.name));
        Some(HostReport {
            since,
            at,
            drain,
            plugins,
            running,
        })
    }
}

/// The versions that were read from catalogues, each kept once however many catalogues have it.
#[derive(Debug, Default)]
pub struct KnownVersions(HashMap<Arc<str>, Arc<VersionFacts>>);

impl KnownVersions {
    /// A catalogue from its text. None: it cannot be read.
    pub fn catalogue(&mut self, text: &str) -> Option<Catalogue> {
        let named: Vec<(String, VersionFacts)> = serde_json::from_str(text).ok()?;
        Some(
            named
                .into_iter()
                .map(|(name, facts)| self.shared(name, facts))
                .collect(),
        )
    }

    fn shared(&mut self, name: String, facts: VersionFacts) -> (Arc<str>, Arc<VersionFacts>) {
        if let Some((name, known)) = self.0.get_key_value(&*name).filter(|(_, known)| ***known == facts) {
            return (Arc::clone(name), Arc::clone(known));
        }
        let known = self.0.get_key_value(&*name).map(|(name, _)| Arc::clone(name));
        let (name, facts) = (known.unwrap_or_else(|| name.into()), Arc::new(facts));
        self.0.insert(Arc::clone(&name), Arc::clone(&facts));
        (name, facts)
    }

    /// Forgets what no catalogue and no report has any more.
    pub fn sweep(&mut self) {
        self.0.retain(|_, facts| Arc::strong_count(facts) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(name: &str, attempts: u64, serves: bool) -> PluginReport {
        let version = serde_json::json!({
            "digest": "ab", "version": "1", "jobs": [name], "bytes": 7, "load_ms": 3, "since": "2026-01-01T00:00:00.5Z", "in_flight": 1,
            "attempts": attempts, "failures": {"trap": attempts / 2}, "last_error": null, "peak_memory_bytes": 9, "longest_ms": 4,
            "aside": (attempts > 4).then_some("it traps"), "instead": null, "grants": ["env A"], "timeout_ms": 30_000, "max_memory_bytes": 64,
        });
        let plugin =
            serde_json::json!({"name": name, "fault": null, "faults": 0, "serving": serves.then_some(version)});
        serde_json::from_value(plugin).unwrap()
    }

    fn report(plugins: Vec<PluginReport>) -> HostReport {
        HostReport {
            since: "2026-01-01T00:00:00Z".to_owned(),
            at: "2026-01-01T00:00:05Z".to_owned(),
            drain: Some("ana".to_owned()),
            plugins,
            running: Vec::new(),
        }
    }

    #[test]
    fn a_report_comes_back_as_it_was_and_hosts_with_the_same_plugins_share_a_catalogue() {
        let one = report(vec![plugin("a", 0, true), plugin("b", 6, true), plugin("c", 0, false)]);
        let told = serde_json::to_value(&one).unwrap();
        let other = report(vec![plugin("a", 1_000, true), plugin("b", 1, true)])
            .texts()
            .unwrap();
        let texts = one.texts().unwrap();
        assert_eq!(texts.catalogue_name, other.catalogue_name);
        let mut versions = KnownVersions::default();
        let catalogue = versions.catalogue(&texts.catalogue).unwrap();
        let read = |text: &str| KeptReport::read(text).unwrap().with(&catalogue);
        assert_eq!(serde_json::to_value(read(&texts.report)).unwrap(), told);
        let other = read(&other.report).unwrap();
        let shares = |place: usize| {
            Arc::ptr_eq(
                &other.plugins[place].serving.as_ref().unwrap().facts,
                &catalogue[place].1,
            )
        };
        assert!(shares(0) && shares(1));
        assert!(
            KeptReport::read(&texts.report).unwrap().with(&Vec::new()).is_none(),
            "another's catalogue"
        );
        assert_eq!(HostReport::drain_asked(&texts.report).as_deref(), Some("ana"));
    }

    #[test]
    fn a_report_of_before_there_were_catalogues_is_read() {
        let whole = report(vec![plugin("a", 6, true)]);
        let told = serde_json::to_string(&whole).unwrap();
        let kept = KeptReport::read(&told).unwrap();
        assert_eq!(kept.catalogue(), None);
        let read = kept.with(&Vec::new()).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), told);
    }

    #[test]
    fn versions_that_several_catalogues_have_are_kept_once_and_swept_with_the_last() {
        let texts = |plugins| report(plugins).texts().unwrap().catalogue;
        let mut versions = KnownVersions::default();
        let one = versions.catalogue(&texts(vec![plugin("a", 0, true)])).unwrap();
        let two = versions
            .catalogue(&texts(vec![plugin("a", 3, true), plugin("b", 0, true)]))
            .unwrap();
        assert!(Arc::ptr_eq(&one[0].1, &two[0].1));
        drop((one, two));
        versions.sweep();
        assert_eq!(versions.0.len(), 0);
    }
}
