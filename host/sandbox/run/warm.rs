//! Instances that serve more than one attempt, where a plugin's manifest says `reuse`: its operator gives up isolation
//! between those attempts, and gets starts that cost nothing.
//!
//! An instance is kept only after an answer, only while it is small, and only while nobody waits for its slots or is short
//! of memory: what traps, is interrupted or grows large goes as a fresh one does.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;

use super::state::State;
use crate::sandbox::bindings::JobHandler;
use crate::sandbox::load::plugin::Plugin;

/// An instance between two attempts.
pub(in crate::sandbox) struct Warm {
    pub(in crate::sandbox) store: Store<State>,
    pub(in crate::sandbox) handler: JobHandler,
    /// Attempts it has served.
    pub(in crate::sandbox) served: u32,
}

/// The instances that wait for their next attempt, those of all plugins, with the slots they take.
pub(in crate::sandbox) struct Kept {
    waiting: Mutex<VecDeque<(Warm, OwnedSemaphorePermit)>>,
    /// How many may wait: as many as can run.
    most: usize,
}

impl Kept {
    pub(in crate::sandbox) fn new(most: usize) -> Self {
        let waiting = Mutex::default();
        Self { waiting, most }
    }

    /// An instance that has served this plugin, under this very manifest.
    pub(in crate::sandbox) fn take(&self, plugin: &Arc<Plugin>) -> Option<(Warm, OwnedSemaphorePermit)> {
        let mut waiting = self.waiting();
        // The last one to come back has most of its memory in a processor's cache.
        let found = waiting.iter().rposition(|(warm, _)| warm.is_of(plugin));
        waiting.remove(found?)
    }

    /// Keeps an instance, unless somebody waits for slots or would have to.
    pub(in crate::sandbox) fn put(&self, used: (Warm, OwnedSemaphorePermit), slots: &Semaphore) {
        if slots.available_permits() == 0 {
            return;
        }
        let mut waiting = self.waiting();
        waiting.push_back(used);
        let oldest = if waiting.len() > self.most {
            waiting.pop_front()
        } else {
            None
        };
        // Nobody who wants an instance waits for one to be taken apart.
        drop(waiting);
        drop(oldest);
        if slots.available_permits() == 0 {
            // Somebody has come to wait in between, and may have cleared what was there before.
            self.clear();
        }
    }

    /// Lets go of all instances.
    pub(in crate::sandbox) fn clear(&self) {
        let gone = std::mem::take(&mut *self.waiting());
        drop(gone);
    }

    /// Lets go of those of one plugin, which has no use for them any more.
    pub(in crate::sandbox) fn forget(&self, plugin: &Arc<Plugin>) {
        let mut waiting = self.waiting();
        let all = waiting.drain(..);
        let (gone, stay): (VecDeque<_>, VecDeque<_>) = all.partition(|(warm, _)| warm.is_of(plugin));
        *waiting = stay;
        drop(waiting);
        drop(gone);
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(Warm, OwnedSemaphorePermit)>> {
        self.waiting.lock()
    }
}

impl Warm {
    fn is_of(&self, plugin: &Arc<Plugin>) -> bool {
        Arc::ptr_eq(&self.store.data().plugin, plugin)
    }
}
