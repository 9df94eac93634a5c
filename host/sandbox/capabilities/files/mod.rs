//! `/tmp`: a folder of its own for each attempt, in memory, empty at first, and gone with the attempt. Nothing else of the host
//! can be reached.
//!
//! The library's own files are those of the host. Ours stand in the table of handles in their place, under numbers of the
//! library's type.

mod content;
mod descriptors;
mod path;
mod quota;
mod streams;
mod tree;

use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};

use super::offer::{Interfaces, Offer};
use crate::config::Limits;
use crate::sandbox::run::memory::Account;
use tree::Tree;

pub(super) const OFFERS: &[Interfaces] = &[Interfaces {
    package: "wasi:filesystem",
    version: "0.2",
    names: &["preopens", "types"],
    offer: Offer::Always,
}];

/// The path at which guests find the folder.
const TMP: &str = "/tmp";

/// One attempt's folder. Made at the first look into it.
#[derive(Default)]
pub(in crate::sandbox) struct Files(Option<Arc<Mutex<Tree>>>);

impl Files {
    /// Empties it, at the end of an attempt whose instance is kept.
    pub(super) fn clear(&mut self) {
        if let Some(tree) = &self.0 {
            tree.lock().clear();
        }
    }
}

/// A handle on a folder or file, which keeps it while it is open.
struct Opened {
    tree: Arc<Mutex<Tree>>,
    number: u64,
}

impl Opened {
    fn new(tree: &Arc<Mutex<Tree>>, number: u64) -> Self {
        tree.lock().hold(number);
        let tree = Arc::clone(tree);
        Self { tree, number }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.tree.lock().let_go(self.number);
    }
}

/// An attempt's folder and its handles, and what it is charged for them.
pub(in crate::sandbox) struct View<'a> {
    pub(in crate::sandbox) files: &'a mut Files,
    pub(in crate::sandbox) table: &'a mut ResourceTable,
    pub(in crate::sandbox) limits: &'a Limits,
    pub(in crate::sandbox) account: &'a Account,
}

impl View<'_> {
    fn tree(&mut self) -> &Arc<Mutex<Tree>> {
        let made = || Arc::new(Mutex::new(Tree::new(self.limits, self.account.clone())));
        self.files.0.get_or_insert_with(made)
    }
}

/// Makes a [`View`] of an attempt's data.
struct OfAttempt;

impl HasData for OfAttempt {
    type Data<'a> = View<'a>;
}

/// Replaces the library's own bindings.
pub(super) fn link<T: Send>(linker: &mut Linker<T>, view: fn(&mut T) -> View<'_>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    types::add_to_linker::<_, OfAttempt>(linker, view)?;
    preopens::add_to_linker::<_, OfAttempt>(linker, view)?;
    linker.allow_shadowing(false);
    Ok(())
}
