//! The plugins and versions that have series of their own: so many at most, and none for long after it has left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};

use super::series::{PluginSeries, VersionSeries};
use crate::events::PluginVersion;
use crate::text;

/// Plugins that have series of their own. Those beyond share one, `_other`.
pub const MAX_PLUGINS: usize = 200;

/// Versions that have series of their own. For one more, the one that left first makes room.
pub const MAX_VERSIONS: usize = 400;

/// How long the series of a version, or of a plugin, stay after it has left: a few scrapes, and the look of a person.
pub const KEPT_AFTER: Duration = Duration::from_hours(1);

/// The label of what has no series of its own.
pub(super) const OTHER: &str = "_other";

/// The series of plugins and their versions.
#[derive(Debug)]
pub(super) struct Versions {
    /// Versions by their numbers, which are sorted: what each attempt is found by.
    numbered: ArcSwap<Vec<(u64, Arc<VersionSeries>)>>,
    known: Mutex<Known>,
    other: Arc<VersionSeries>,
}

#[derive(Debug, Default)]
struct Known {
    plugins: BTreeMap<String, Arc<PluginSeries>>,
    versions: Vec<Arc<VersionSeries>>,
}

impl Default for Versions {
    fn default() -> Self {
        let plugin = Arc::new(PluginSeries::new(OTHER.to_owned()));
        Self {
            numbered: ArcSwap::default(),
            known: Mutex::default(),
            other: Arc::new(VersionSeries::new(plugin, OTHER.to_owned(), String::new())),
        }
    }
}

impl Versions {
    /// Finds the series that a version counts in.
    pub(super) fn of<T>(&self, version: PluginVersion<'_>, use_it: impl FnOnce(&VersionSeries) -> T) -> T {
        let numbered = self.numbered.load();
        match numbered.binary_search_by_key(&version.number, |(number, _)| *number) {
            Ok(place) => use_it(&numbered[place].1),
            // It has no series of its own, or they were dropped and it runs on.
            Err(_) => use_it(&self.other),
        }
    }

    /// A version serves, and those before it do no longer.
    pub(super) fn loaded(&self, version: PluginVersion<'_>, called: Option<&str>) {
        let now = Instant::now();
        let known = self.known();
        for older in known
            .versions
            .iter()
            .filter(|older| older.plugin.name == label(version.name))
        {
            older.left.lock().get_or_insert(now);
            older.aside.store(false, Ordering::Relaxed);
        }
        drop(known);
        let series = self.add(version, called);
        *series.left.lock() = None;
        *series.plugin.gone.lock() = None;
        series.plugin.loads.add(0, 1);
    }

    /// A plugin's content does not load.
    pub(super) fn refused(&self, name: &str) {
        self.known().plugin(name, &self.other).loads.add(1, 1);
    }

    /// A plugin is gone.
    pub(super) fn removed(&self, name: &str) {
        let (now, name) = (Instant::now(), label(name));
        let known = self.known();
        if let Some(plugin) = known.plugins.get(&name) {
            plugin.gone.lock().get_or_insert(now);
        }
        for version in known.versions.iter().filter(|version| version.plugin.name == name) {
            version.left.lock().get_or_insert(now);
        }
    }

    /// A plugin that was set aside serves again.
    pub(super) fn released(&self, name: &str) {
        let name = label(name);
        for version in self
            .known()
            .versions
            .iter()
            .filter(|version| version.plugin.name == name)
        {
            version.aside.store(false, Ordering::Relaxed);
        }
    }

    /// Drops what has left for long.
    pub(super) fn forget(&self, now: Instant) {
        let long = |since: &Mutex<Option<Instant>>| {
            since
                .lock()
                .is_some_and(|since| now.duration_since(since) >= KEPT_AFTER)
        };
        let mut known = self.known();
        known.versions.retain(|version| !long(&version.left));
        known.plugins.retain(|_, plugin| !long(&plugin.gone));
        self.number(&known, None);
    }

    /// All that have series.
    pub(super) fn all(&self) -> (Vec<Arc<PluginSeries>>, Vec<Arc<VersionSeries>>) {
        let known = self.known();
        let (mut plugins, mut versions) = (
            known.plugins.values().cloned().collect::<Vec<_>>(),
            known.versions.clone(),
        );
        drop(known);
        if self.other.plugin.attempt.written().count > 0 {
            plugins.push(Arc::clone(&self.other.plugin));
            versions.push(Arc::clone(&self.other));
        }
        (plugins, versions)
    }

    /// The series of a version that serves from now on: those of its digest, or new ones.
    fn add(&self, version: PluginVersion<'_>, called: Option<&str>) -> Arc<VersionSeries> {
        let mut known = self.known();
        let plugin = known.plugin(version.name, &self.other);
        if Arc::ptr_eq(&plugin, &self.other.plugin) {
            return Arc::clone(&self.other);
        }
        let same =
            |series: &&Arc<VersionSeries>| Arc::ptr_eq(&series.plugin, &plugin) && series.digest == version.digest;
        let series = if let Some(found) = known.versions.iter().find(same) {
            Arc::clone(found)
        } else if known.has_room() {
            let called = called.map_or_else(String::new, label);
            let series = Arc::new(VersionSeries::new(plugin, version.digest.to_owned(), called));
            known.versions.push(Arc::clone(&series));
            series
        } else {
            return Arc::clone(&self.other);
        };
        self.number(&known, Some((version.number, Arc::clone(&series))));
        series
    }

    /// Finds versions by their numbers from now on: those known, and one more.
    fn number(&self, known: &Known, more: Option<(u64, Arc<VersionSeries>)>) {
        let still = |series: &Arc<VersionSeries>| known.versions.iter().any(|known| Arc::ptr_eq(known, series));
        let numbered = self.numbered.load();
        let mut kept: Vec<_> = numbered.iter().filter(|(_, series)| still(series)).cloned().collect();
        if let Some((number, series)) = more {
            match kept.binary_search_by_key(&number, |(number, _)| *number) {
                Ok(place) => kept[place].1 = series,
                Err(place) => kept.insert(place, (number, series)),
            }
        }
        if kept.len() > MAX_VERSIONS {
            // So one digest has several numbers. The last of them is in service.
            let is_followed = |place: &usize| {
                let (_, series) = &kept[*place];
                kept[place + 1..].iter().any(|(_, later)| Arc::ptr_eq(later, series))
            };
            if let Some(place) = (0..kept.len()).find(is_followed) {
                kept.remove(place);
            }
        }
        self.numbered.store(Arc::new(kept));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }
}

impl Known {
    /// The series of a plugin, or of all others where there are too many.
    fn plugin(&mut self, name: &str, other: &VersionSeries) -> Arc<PluginSeries> {
        let name = label(name);
        if let Some(plugin) = self.plugins.get(&name) {
            return Arc::clone(plugin);
        }
        if self.plugins.len() >= MAX_PLUGINS {
            return Arc::clone(&other.plugin);
        }
        let plugin = Arc::new(PluginSeries::new(name.clone()));
        self.plugins.insert(name, Arc::clone(&plugin));
        plugin
    }

    /// Whether one more version has room, if need be that of the one that left first.
    fn has_room(&mut self) -> bool {
        if self.versions.len() < MAX_VERSIONS {
            return true;
        }
        let left = self.versions.iter().enumerate();
        let first = left
            .filter_map(|(place, version)| Some(((*version.left.lock())?, place)))
            .min();
        first.map(|(_, place)| self.versions.remove(place)).is_some()
    }
}

/// A name as a label: short, and without hidden characters.
fn label(name: &str) -> String {
    text::name(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u64, name: &'static str, digest: &'static str) -> PluginVersion<'static> {
        PluginVersion { number, name, digest }
    }

    fn digests(versions: &Versions) -> Vec<String> {
        versions.all().1.iter().map(|version| version.digest.clone()).collect()
    }

    #[test]
    fn the_series_of_a_version_stay_for_an_hour_after_another_took_its_place() {
        let versions = Versions::default();
        versions.loaded(version(1, "hello", "aa"), Some("1.0"));
        versions.loaded(version(2, "hello", "bb"), None);
        versions.forget(Instant::now() + KEPT_AFTER / 2);
        assert_eq!(digests(&versions), ["aa", "bb"]);
        versions.forget(Instant::now() + KEPT_AFTER);
        assert_eq!(digests(&versions), ["bb"]);
        let outlived = versions.of(version(1, "hello", "aa"), |version| version.plugin.name.clone());
        assert_eq!(
            outlived, OTHER,
            "an attempt that outlived them does not bring them back"
        );
        versions.removed("hello");
        versions.forget(Instant::now() + KEPT_AFTER);
        assert!(versions.all().0.is_empty() && versions.all().1.is_empty());
    }

    #[test]
    fn a_digest_that_comes_back_has_its_series_again() {
        let versions = Versions::default();
        for (number, digest) in [(1, "aa"), (2, "bb"), (3, "aa")] {
            versions.loaded(version(number, "hello", digest), None);
        }
        versions.forget(Instant::now() + KEPT_AFTER);
        assert_eq!(digests(&versions), ["aa"]);
    }

    #[test]
    fn versions_and_plugins_without_end_have_only_so_many_series() {
        let versions = Versions::default();
        for number in 0..10 * MAX_VERSIONS as u64 {
            let digest = format!("{number:012x}");
            let version = PluginVersion {
                number,
                name: "hello",
                digest: &digest,
            };
            versions.loaded(version, None);
        }
        assert_eq!(versions.all().1.len(), MAX_VERSIONS);
        for number in 0..2 * MAX_PLUGINS as u64 {
            versions.refused(&format!("plugin-{number}"));
        }
        assert_eq!(versions.all().0.len(), MAX_PLUGINS);
        for number in 0..10 * MAX_VERSIONS as u64 {
            versions.loaded(version(number, "hello", "aa"), None);
        }
        assert!(versions.numbered.load().len() <= MAX_VERSIONS);
    }

    #[test]
    fn a_plugin_counts_in_its_own_series_however_often_another_is_loaded() {
        let versions = Versions::default();
        versions.loaded(version(0, "steady", "aa"), None);
        for number in 1..10 * MAX_VERSIONS as u64 {
            versions.loaded(version(number, "busy", "bb"), None);
        }
        let name = |number, of| versions.of(version(number, of, ""), |version| version.plugin.name.clone());
        assert_eq!(name(0, "steady"), "steady");
        assert_eq!(name(10 * MAX_VERSIONS as u64 - 1, "busy"), "busy");
    }

    #[test]
    fn an_attempt_of_a_plugin_without_series_of_its_own_changes_nothing_but_a_count() {
        let versions = Versions::default();
        for number in 0..2 * MAX_PLUGINS as u64 {
            let name: &'static str = format!("plugin-{number}").leak();
            versions.loaded(version(number, name, "aa"), None);
        }
        let before = versions.numbered.load_full();
        let late = version(2 * MAX_PLUGINS as u64 - 1, "late", "aa");
        assert_eq!(versions.of(late, |version| version.plugin.name.clone()), OTHER);
        assert!(
            Arc::ptr_eq(&before, &versions.numbered.load_full()),
            "the index was made anew"
        );
    }
}
