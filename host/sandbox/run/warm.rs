//! Instances that wait for an attempt: those that were made ahead of their first one, and those that serve more than one,
//! where a plugin's manifest says `reuse`. With that the operator gives up isolation between those attempts.
//!
//! An instance is kept only while no attempt waits for its slots and memory is not short; a used one, if its handler has
//! answered and it is small. One that trapped, was interrupted or has grown large is dropped.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;

use super::state::State;
use crate::sandbox::bindings::JobHandler;
use crate::sandbox::load::ahead::MadeAhead;
use crate::sandbox::load::plugin::Plugin;

/// An instance between two attempts, or before the first.
pub(in crate::sandbox) struct Warm {
    pub(in crate::sandbox) store: Store<State>,
    pub(in crate::sandbox) handler: JobHandler,
    /// Attempts it has served.
    pub(in crate::sandbox) served: u32,
    /// There as long as it has served none.
    pub(super) _ahead: Option<MadeAhead>,
}

/// The instances of all plugins that wait for their next attempt, with the slots they take.
pub(in crate::sandbox) struct Kept {
    waiting: Mutex<VecDeque<(Warm, OwnedSemaphorePermit)>>,
    /// How many instances are kept at most.
    most: usize,
}

impl Kept {
    pub(in crate::sandbox) fn new(most: usize) -> Self {
        let waiting = Mutex::default();
        Self { waiting, most }
    }

    /// Takes an instance of this version of a plugin, under this very manifest.
    pub(in crate::sandbox) fn take(&self, plugin: &Arc<Plugin>) -> Option<(Warm, OwnedSemaphorePermit)> {
        let mut waiting = self.waiting();
        // The latest has most of its memory in a processor's cache.
        let found = waiting.iter().rposition(|(warm, _)| warm.is_of(plugin));
        waiting.remove(found?)
    }

    /// Keeps an instance, unless an attempt waits for slots or would have to.
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
        // Dropping an instance takes long: not under the lock.
        drop(waiting);
        drop(oldest);
        if slots.available_permits() == 0 {
            // An attempt may have begun to wait since, and have looked for an instance before this one was here.
            self.clear();
        }
    }

    /// Drops all instances.
    pub(in crate::sandbox) fn clear(&self) {
        let gone = std::mem::take(&mut *self.waiting());
        drop(gone);
    }

    /// Drops the instances of one version of a plugin that is not run any more.
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
