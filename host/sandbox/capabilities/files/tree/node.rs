//! A folder or file of a tree, as it stands in the tree's table.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::sandbox::capabilities::files::content::Content;

pub(super) struct Node {
    pub(super) kind: Kind,
    /// The folder that it has a name in, and the name. None: the root, or nothing any more.
    pub(super) place: Option<(u64, String)>,
    /// How many handles are open on it. Without one and without a place, it is gone.
    pub(super) open: u32,
    pub(super) times: Times,
}

pub(super) enum Kind {
    Folder(BTreeMap<String, u64>),
    File(Content),
}

/// When something was last read, written and changed.
#[derive(Debug, Clone, Copy)]
pub(in crate::sandbox::capabilities::files) struct Times {
    pub(in crate::sandbox::capabilities::files) read: SystemTime,
    pub(in crate::sandbox::capabilities::files) written: SystemTime,
    pub(in crate::sandbox::capabilities::files) changed: SystemTime,
}

/// What is known of a folder or file.
#[derive(Debug, Clone, Copy)]
pub(in crate::sandbox::capabilities::files) struct Facts {
    pub(in crate::sandbox::capabilities::files) is_folder: bool,
    pub(in crate::sandbox::capabilities::files) size: u64,
    pub(in crate::sandbox::capabilities::files) times: Times,
}

impl Node {
    pub(super) fn new(kind: Kind, place: Option<(u64, String)>) -> Self {
        let now = SystemTime::now();
        let times = Times {
            read: now,
            written: now,
            changed: now,
        };
        Self {
            kind,
            place,
            open: 0,
            times,
        }
    }
}
