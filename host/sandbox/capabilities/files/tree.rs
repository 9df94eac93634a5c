//! A tree of folders and files in memory. Pure, but for the time that it stamps on them.
//!
//! Folders and files stand in one table, by number: dropping the deepest tree takes no recursion. Absent on purpose: links of
//! either kind. Each thing has one name, so no path leads in circles, or out of the folder that it starts from.

mod node;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::SystemTime;

use wasmtime_wasi::p2::bindings::filesystem::types::{ErrorCode, OpenFlags};

pub(super) use node::Facts;
use node::{Kind, Node};

use super::content::{self, Content};
use super::path::{self, Last};
use super::quota::Quota;
use crate::config::Limits;
use crate::sandbox::run::memory::{Account, Exceeded};

/// The number of the folder in which all others are. Numbers are never used again.
pub(super) const ROOT: u64 = 1;

/// Bytes that a folder or file takes beside its name and its content.
const NODE_BYTES: usize = 512;

/// A tree, and how much of it there may be.
pub(super) struct Tree {
    nodes: HashMap<u64, Node>,
    last: u64,
    quota: Quota,
}

/// Why something is not done.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The guest is told.
    Told(ErrorCode),
    /// The attempt ends.
    Exceeded(Exceeded),
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::Told(code)
    }
}

impl From<Exceeded> for Refusal {
    fn from(exceeded: Exceeded) -> Self {
        Self::Exceeded(exceeded)
    }
}

type Result<T> = std::result::Result<T, Refusal>;

impl Tree {
    pub(super) fn new(limits: &Limits, account: Account) -> Self {
        Self {
            nodes: only_root(),
            last: ROOT,
            quota: Quota::new(limits, account),
        }
    }

    /// Empties it. What is open on anything but the root is open on nothing.
    pub(super) fn clear(&mut self) {
        // A new table: the old one keeps the room of all that stood in it.
        self.nodes = only_root();
        self.quota.release_all();
    }

    /// Opens what a path leads to from a folder, to be written or not.
    pub(super) fn open(&mut self, from: u64, path: &str, how: OpenFlags, writes: bool) -> Result<u64> {
        let create = how.contains(OpenFlags::CREATE);
        let folder = how.contains(OpenFlags::DIRECTORY);
        let truncate = how.contains(OpenFlags::TRUNCATE);
        let to = self.walk(from, path)?;
        let Some(found) = to.found else {
            if !create {
                return Err(ErrorCode::NoEntry.into());
            }
            if folder || to.must_be_folder {
                return Err(ErrorCode::Invalid.into());
            }
            let made = self.make(to.folder, to.name, Kind::File(Content::default()))?;
            return Ok(made);
        };
        if create && how.contains(OpenFlags::EXCLUSIVE) {
            return Err(ErrorCode::Exist.into());
        }
        match &self.node(found)?.kind {
            Kind::Folder(_) if writes || truncate || create => Err(ErrorCode::IsDirectory.into()),
            Kind::Folder(_) => Ok(found),
            Kind::File(_) if folder || to.must_be_folder => Err(ErrorCode::NotDirectory.into()),
            Kind::File(_) => {
                if truncate {
                    self.set_size(found, 0)?;
                }
                Ok(found)
            }
        }
    }

    /// Counts a handle that is open on something.
    pub(super) fn hold(&mut self, number: u64) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.open += 1;
        }
    }

    /// Counts a handle that is open no more.
    pub(super) fn let_go(&mut self, number: u64) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.open = node.open.saturating_sub(1);
            self.bury(number);
        }
    }

    pub(super) fn facts(&self, number: u64) -> Result<Facts> {
        let node = self.node(number)?;
        Ok(Facts {
            is_folder: matches!(node.kind, Kind::Folder(_)),
            size: match &node.kind {
                Kind::Folder(_) => 0,
                Kind::File(content) => content.len() as u64,
            },
            times: node.times,
        })
    }

    /// What a path leads to.
    pub(super) fn find(&self, from: u64, path: &str) -> Result<u64> {
        let to = self.walk(from, path)?;
        let found = to.found.ok_or(ErrorCode::NoEntry)?;
        if to.must_be_folder && matches!(self.node(found)?.kind, Kind::File(_)) {
            return Err(ErrorCode::NotDirectory.into());
        }
        Ok(found)
    }

    /// Sets when something was read and written.
    pub(super) fn stamp(&mut self, number: u64, read: Option<SystemTime>, written: Option<SystemTime>) -> Result<()> {
        let times = &mut self.node_mut(number)?.times;
        times.read = read.unwrap_or(times.read);
        times.written = written.unwrap_or(times.written);
        times.changed = SystemTime::now();
        Ok(())
    }

    /// Up to so many bytes of a file; none at its end.
    pub(super) fn read(&self, number: u64, offset: u64, most: usize) -> Result<Vec<u8>> {
        let Kind::File(content) = &self.node(number)?.kind else {
            return Err(ErrorCode::IsDirectory.into());
        };
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(content.read(begin, most))
    }

    /// Writes into a file, at its end if no offset is given. What lies between its end and the offset becomes zeros.
    pub(super) fn write(&mut self, number: u64, offset: Option<u64>, bytes: &[u8]) -> Result<()> {
        let len = self.content(number)?.len();
        let begin = match offset {
            Some(offset) => usize::try_from(offset).map_err(|_| ErrorCode::FileTooLarge)?,
            None => len,
        };
        let end = begin.checked_add(bytes.len()).ok_or(ErrorCode::FileTooLarge)?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.resize(number, end.max(len))?;
        self.content(number)?.write(begin, bytes);
        self.touch(number)
    }

    /// Cuts a file off, or lengthens it with zeros.
    pub(super) fn set_size(&mut self, number: u64, size: u64) -> Result<()> {
        let size = usize::try_from(size).map_err(|_| ErrorCode::FileTooLarge)?;
        self.resize(number, size)?;
        self.touch(number)
    }

    pub(super) fn make_folder(&mut self, from: u64, path: &str) -> Result<()> {
        let to = self.walk(from, path)?;
        if to.found.is_some() {
            return Err(ErrorCode::Exist.into());
        }
        self.make(to.folder, to.name, Kind::Folder(BTreeMap::new())).map(|_| ())
    }

    /// Deletes a file, or an empty folder.
    pub(super) fn remove(&mut self, from: u64, path: &str, folder: bool) -> Result<()> {
        let number = self.find(from, path)?;
        match (&self.node(number)?.kind, folder) {
            (Kind::Folder(_), false) => return Err(ErrorCode::IsDirectory.into()),
            (Kind::File(_), true) => return Err(ErrorCode::NotDirectory.into()),
            (Kind::Folder(names), true) if !names.is_empty() => return Err(ErrorCode::NotEmpty.into()),
            _ => {}
        }
        if number == ROOT || number == from {
            return Err(ErrorCode::Busy.into());
        }
        self.unplace(number);
        self.bury(number);
        Ok(())
    }

    /// Gives something another name, in place of what had it.
    pub(super) fn rename(&mut self, from: u64, path: &str, to_from: u64, to_path: &str) -> Result<()> {
        let moved = self.find(from, path)?;
        let to = self.walk(to_from, to_path)?;
        if to.found == Some(moved) {
            return Ok(());
        }
        let is_folder = matches!(self.node(moved)?.kind, Kind::Folder(_));
        if moved == ROOT || to.name.is_empty() {
            return Err(ErrorCode::Busy.into());
        }
        if is_folder && self.is_within(to.folder, moved) {
            return Err(ErrorCode::Invalid.into());
        }
        if to.must_be_folder && !is_folder {
            return Err(ErrorCode::NotDirectory.into());
        }
        self.check_reachable(to.folder)?;
        if let Some(replaced) = to.found {
            self.check_replaceable(replaced, is_folder)?;
        }
        self.quota.reserve(to.name.len())?;
        if let Some(replaced) = to.found {
            self.unplace(replaced);
            self.bury(replaced);
        }
        self.unplace(moved);
        self.place(moved, to.folder, to.name);
        Ok(())
    }

    /// Checks that a folder, or a file, may take the place of something.
    fn check_replaceable(&self, replaced: u64, by_folder: bool) -> Result<()> {
        match (&self.node(replaced)?.kind, by_folder) {
            (Kind::Folder(_), false) => Err(ErrorCode::IsDirectory.into()),
            (Kind::File(_), true) => Err(ErrorCode::NotDirectory.into()),
            (Kind::Folder(names), true) if !names.is_empty() => Err(ErrorCode::NotEmpty.into()),
            _ => Ok(()),
        }
    }

    /// Checks that a folder was not deleted while it is open: what is put into it would be lost.
    fn check_reachable(&self, folder: u64) -> Result<()> {
        if folder != ROOT && self.node(folder)?.place.is_none() {
            return Err(ErrorCode::NoEntry.into());
        }
        Ok(())
    }

    /// The entry of a folder that follows a name: its own name, and whether it is a folder.
    pub(super) fn next_entry(&self, folder: u64, after: Option<&str>) -> Result<Option<(String, bool)>> {
        let Kind::Folder(names) = &self.node(folder)?.kind else {
            return Err(ErrorCode::NotDirectory.into());
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = names.range::<str, _>((from, Bound::Unbounded)).next();
        let Some((name, number)) = next else { return Ok(None) };
        let is_folder = matches!(self.node(*number)?.kind, Kind::Folder(_));
        Ok(Some((name.clone(), is_folder)))
    }

    /// Follows a path to the folder in which its last name stands, or would.
    fn walk(&self, from: u64, path: &str) -> Result<Target> {
        let path = path::Path::read(path)?;
        // The folders that lead here: `..` goes back along them, and no further than where the path begins.
        let mut trail = vec![from];
        for name in path.folders() {
            self.step(&mut trail, name)?;
        }
        if let Last::Same(name) = path.last() {
            self.step(&mut trail, name)?;
        }
        let folder = trail.last().copied().unwrap_or(from);
        let Kind::Folder(names) = &self.node(folder)?.kind else {
            return Err(ErrorCode::NotDirectory.into());
        };
        Ok(match path.last() {
            Last::Same(_) => Target {
                folder,
                name: String::new(),
                found: Some(folder),
                must_be_folder: true,
            },
            Last::Name(name) => Target {
                folder,
                name: name.to_owned(),
                found: names.get(name).copied(),
                must_be_folder: path.must_be_folder(),
            },
        })
    }

    fn step(&self, trail: &mut Vec<u64>, name: &str) -> Result<()> {
        match name {
            "." => {}
            ".." if trail.len() > 1 => _ = trail.pop(),
            ".." => return Err(ErrorCode::NotPermitted.into()),
            name => {
                let here = trail.last().copied().unwrap_or(ROOT);
                let Kind::Folder(names) = &self.node(here)?.kind else {
                    return Err(ErrorCode::NotDirectory.into());
                };
                let next = *names.get(name).ok_or(ErrorCode::NoEntry)?;
                if matches!(self.node(next)?.kind, Kind::File(_)) {
                    return Err(ErrorCode::NotDirectory.into());
                }
                trail.push(next);
            }
        }
        Ok(())
    }

    fn make(&mut self, folder: u64, name: String, kind: Kind) -> Result<u64> {
        self.check_reachable(folder)?;
        if name.is_empty() {
            return Err(ErrorCode::NoEntry.into());
        }
        // The root is none of them.
        self.quota.allow(self.nodes.len())?;
        self.quota.reserve(NODE_BYTES + name.len())?;
        self.last += 1;
        let number = self.last;
        self.nodes.insert(number, Node::new(kind, None));
        self.place(number, folder, name);
        Ok(number)
    }

    fn place(&mut self, number: u64, folder: u64, name: String) {
        let now = SystemTime::now();
        if let Some(node) = self.nodes.get_mut(&folder)
            && let Kind::Folder(names) = &mut node.kind
        {
            names.insert(name.clone(), number);
            (node.times.written, node.times.changed) = (now, now);
        }
        if let Some(node) = self.nodes.get_mut(&number) {
            node.place = Some((folder, name));
            node.times.changed = now;
        }
    }

    /// Takes away the name of something.
    fn unplace(&mut self, number: u64) {
        let Some((folder, name)) = self.nodes.get_mut(&number).and_then(|node| node.place.take()) else {
            return;
        };
        if let Some(node) = self.nodes.get_mut(&folder)
            && let Kind::Folder(names) = &mut node.kind
        {
            names.remove(&name);
            node.times.written = SystemTime::now();
        }
        self.quota.release(name.len());
    }

    /// Forgets what has neither a name nor an open handle.
    fn bury(&mut self, number: u64) {
        let is_gone = |node: &Node| node.place.is_none() && node.open == 0;
        if number != ROOT
            && self.nodes.get(&number).is_some_and(is_gone)
            && let Some(node) = self.nodes.remove(&number)
        {
            let content = match node.kind {
                Kind::Folder(_) => 0,
                Kind::File(content) => content::room(content.len()),
            };
            self.quota.release(NODE_BYTES + content);
        }
    }

    fn is_within(&self, mut inner: u64, outer: u64) -> bool {
        while inner != outer {
            match self.nodes.get(&inner).and_then(|node| node.place.as_ref()) {
                Some((folder, _)) => inner = *folder,
                None => return false,
            }
        }
        true
    }

    /// Sets the length of a file, and counts what it takes.
    fn resize(&mut self, number: u64, len: usize) -> Result<()> {
        let (had, takes) = (content::room(self.content(number)?.len()), content::room(len));
        self.quota.reserve(takes.saturating_sub(had))?;
        self.content(number)?.resize(len);
        self.quota.release(had.saturating_sub(takes));
        Ok(())
    }

    fn touch(&mut self, number: u64) -> Result<()> {
        let now = SystemTime::now();
        let times = &mut self.node_mut(number)?.times;
        (times.written, times.changed) = (now, now);
        Ok(())
    }

    fn content(&mut self, number: u64) -> Result<&mut Content> {
        match &mut self.node_mut(number)?.kind {
            Kind::File(content) => Ok(content),
            Kind::Folder(_) => Err(ErrorCode::IsDirectory.into()),
        }
    }

    fn node(&self, number: u64) -> Result<&Node> {
        Ok(self.nodes.get(&number).ok_or(ErrorCode::BadDescriptor)?)
    }

    fn node_mut(&mut self, number: u64) -> Result<&mut Node> {
        Ok(self.nodes.get_mut(&number).ok_or(ErrorCode::BadDescriptor)?)
    }
}

fn only_root() -> HashMap<u64, Node> {
    HashMap::from([(ROOT, Node::new(Kind::Folder(BTreeMap::new()), None))])
}

/// Where a path leads.
struct Target {
    /// The folder in which its last name stands, or would.
    folder: u64,
    /// That name. Empty: the path leads to the folder itself.
    name: String,
    found: Option<u64>,
    /// The path ends in a slash.
    must_be_folder: bool,
}
