//! A pool of sandboxes: an engine, and what components are linked with there.
//!
//! There are two. Most handlers touch little of their memory, and run in the first. Those whose attempts touch much move to
//! the second, which keeps more of each memory resident. Compiled code serves in both.

use wasmtime::Engine;
use wasmtime::component::{Component, Linker, types};

use super::code::component;
use super::diff;
use super::refusal::{LoadError, causes};
use crate::sandbox::bindings::JobHandlerPre;
use crate::sandbox::capabilities;
use crate::sandbox::run::state::State;

/// Where components are linked and run.
pub(in crate::sandbox) struct Pool {
    pub(in crate::sandbox) engine: Engine,
    linker: Linker<State>,
    /// This host's own world, which components are compared with.
    world: types::Component,
}

impl Pool {
    pub(in crate::sandbox) fn new(engine: Engine) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(&engine);
        capabilities::link(&mut linker)?;
        let world = diff::world(&engine)?;
        Ok(Self { engine, linker, world })
    }

    /// Links a component.
    pub(in crate::sandbox) fn link(&self, component: &Component) -> Result<JobHandlerPre<State>, LoadError> {
        // The engine compares exports only when they are called, and reports the host's types in Rust. A plugin's author
        // knows those of WIT.
        if let Some(what) = diff::against_host(component, &self.world, &self.engine) {
            return Err(LoadError::Mismatch(what));
        }
        let pre = self.linker.instantiate_pre(component).and_then(JobHandlerPre::new);
        pre.map_err(|err| LoadError::Mismatch(causes(&err)))
    }

    /// Links a component that was linked in another pool.
    pub(in crate::sandbox) fn adopt(&self, linked: &JobHandlerPre<State>) -> wasmtime::Result<JobHandlerPre<State>> {
        let code = linked.instance_pre().component().serialize()?;
        let component = component(&self.engine, &code)?;
        self.linker.instantiate_pre(&component).and_then(JobHandlerPre::new)
    }
}
