//! Job name → plugin, and which plugin gets a name that several claim.

use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Resolved;
use super::entry::Entry;

/// What each job name stands for.
pub(super) type Table = HashMap<String, Resolved>;

/// Pairs of a plugin and a job name that it claims in vain.
pub(super) type Losers = BTreeSet<(String, String)>;

/// The table for these entries. If several plugins claim a name, the one that has it keeps it. If none has it, the
/// first by file name gets it.
pub(super) fn table(entries: &BTreeMap<String, Entry>, old: &Table) -> (Table, Losers) {
    let mut claims = Vec::new();
    for (stem, entry) in entries {
        match (&entry.good, &entry.fault) {
            (Some(plugin), _) => {
                let resolved = |job: &String| (job.clone(), stem, Resolved::Plugin(Arc::clone(plugin)));
                claims.extend(plugin.jobs.iter().map(resolved));
            }
            (None, Some(fault)) => {
                let resolved = |job: &String| (job.clone(), stem, Resolved::Unloadable(Arc::clone(&fault.why)));
                claims.extend(fault.jobs.iter().map(resolved));
            }
            (None, None) => {
                let why: Arc<str> = "its plugin is still being loaded".into();
                let plugin: Arc<str> = stem.as_str().into();
                let not_now = || Resolved::NotNow {
                    plugin: Arc::clone(&plugin),
                    why: Arc::clone(&why),
                };
                let resolved = |job: &String| (job.clone(), stem, not_now());
                claims.extend(entry.claims.iter().map(resolved));
            }
        }
    }
    let has_it = |job: &String, stem: &String| matches!(old.get(job), Some(Resolved::Plugin(plugin)) if plugin.handler.name() == stem);
    claims.sort_by_key(|(job, stem, resolved)| (!has_it(job, stem), !matches!(resolved, Resolved::Plugin(_))));
    let (mut table, mut losers) = (Table::new(), Losers::new());
    for (job, stem, resolved) in claims {
        match table.entry(job) {
            Place::Vacant(place) => _ = place.insert(resolved),
            Place::Occupied(taken) => _ = losers.insert((stem.clone(), taken.key().clone())),
        }
    }
    (table, losers)
}
