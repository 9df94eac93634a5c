//! What a look at the plugin folder goes by, and what is remembered of it for the next.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::folder::{Fingerprint, Scan};

/// How sure it is that nobody writes to the folder just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// Events say so; they named these plugins, whose files may have changed without showing it.
    Quiet(BTreeSet<String>),
    /// Nobody tells: what changed has to look the same twice before it is read.
    Blind,
    /// Somebody wants every file read again, and what stands outside of it, such as a secret, too.
    Anew,
}

/// What is remembered from one look at the folder to the next.
#[derive(Debug, Default)]
pub(super) struct Looking {
    /// What looked changed the last time.
    pub(super) unsettled: BTreeMap<String, Fingerprint>,
    /// Files whose names cannot be shown, of which a warning was logged.
    unnameable: usize,
    /// Files of native code, of which a warning was logged.
    precompiled: BTreeSet<PathBuf>,
}

impl Looking {
    /// Tells of files that somebody may think are plugins, once.
    pub(super) fn warn(&mut self, scan: &Scan) {
        for file in scan.precompiled.difference(&self.precompiled) {
            tracing::warn!(
                file = &*file.to_string_lossy(),
                "native code is not loaded; put the .wasm file it was made from here"
            );
        }
        self.precompiled.clone_from(&scan.precompiled);
        if scan.unnameable > std::mem::replace(&mut self.unnameable, scan.unnameable) {
            tracing::warn!(
                files = scan.unnameable,
                "files with control or other hidden characters in their names are left alone"
            );
        }
    }
}
