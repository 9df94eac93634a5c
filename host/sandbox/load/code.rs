//! From the bytes of a component to its code: out of the cache, from the compiler, or made here.
//!
//! Where there is an outside compiler, this process compiles only what is built into it.

use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::Cache;
use super::compiler::{CompileStop, Outside};
use super::refusal::{LoadError, causes};
use crate::config::CompileLimits;

/// Where code comes from.
pub(in crate::sandbox) struct Code {
    /// None: every component is compiled anew.
    pub(in crate::sandbox) cache: Option<Cache>,
    /// Compiles in another process, within bounds; none: this process does, without bounds.
    pub(in crate::sandbox) outside: Option<Outside>,
}

impl Code {
    /// The component of these bytes, which have this digest.
    pub(in crate::sandbox) fn of(
        &self,
        engine: &Engine,
        bytes: &[u8],
        digest: &str,
        limits: &CompileLimits,
        stop: &CompileStop,
    ) -> Result<Component, LoadError> {
        let known = self.cache.as_ref().and_then(|cache| cache.find(digest));
        if let Some(Ok(component)) = known.map(|code| component(engine, &code)) {
            return Ok(component);
        }
        let (component, code) = if let Some(outside) = &self.outside {
            let code = outside.compile(bytes, limits, stop)?;
            (component(engine, &code).map_err(invalid)?, code)
        } else {
            let component = Component::from_binary(engine, bytes).map_err(invalid)?;
            let code = component.serialize().map_err(invalid)?;
            (component, code)
        };
        if let Some(cache) = &self.cache {
            cache.keep(digest, &code);
        }
        Ok(component)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where errors are mapped")]
fn invalid(err: wasmtime::Error) -> LoadError {
    LoadError::Invalid(causes(&err))
}

/// The component of this code, if it was compiled for an engine like this one.
#[expect(
    unsafe_code,
    reason = "the code is whole, and comes from the compiler that this program starts, from where nobody else may write, or from a component of this process"
)]
pub(super) fn component(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: see the reason above.
    unsafe { Component::deserialize(engine, code) }
}
