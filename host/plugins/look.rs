//! What a look at the plugin folder is based on, and what is remembered from one look to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::folder::{Fingerprint, Scan};

/// How certain it is that no file in the folder is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// Events show that nobody writes. They named these plugins, whose files may have changed without another
    /// fingerprint.
    Quiet(BTreeSet<String>),
    /// There are no events: a changed file must look the same twice before it is read.
    Blind,
    /// Somebody asked for every file to be read again, with all that it depends on, such as a secret.
    Anew,
}

/// What is remembered from one look at the folder to the next.
#[derive(Debug, Default)]
pub(super) struct Looking {
    /// Files that looked changed at the last look.
    pub(super) unsettled: BTreeMap<String, Fingerprint>,
    /// Files whose names cannot be shown, of which a warning was logged.
    unnameable: usize,
    /// Files of native code, of which a warning was logged.
    precompiled: BTreeSet<PathBuf>,
}

impl Looking {
    /// Warns once of each file that somebody may take for a plugin and that is none.
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
