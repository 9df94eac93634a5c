//! A record of what operators did, in memory.

use super::MemoryStore;
use crate::queue::audit::MAX_NOTES;

impl MemoryStore {
    pub(super) fn note_deed(&self, note: &str) {
        let deeds = &mut self.state().deeds;
        if deeds.len() >= MAX_NOTES {
            deeds.pop_front();
        }
        deeds.push_back(note.to_owned());
    }

    pub(super) fn deeds(&self, count: usize) -> Vec<String> {
        self.state().deeds.iter().rev().take(count).cloned().collect()
    }
}
