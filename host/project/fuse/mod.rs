//! Makes one core module of those of a component that share a memory.
//!
//! The tools of some languages link a dozen libraries when the component is instantiated: each is a module of its own, has
//! thousands of imports, and writes its functions one by one into a table that another one defines. All of that is done again
//! for each attempt. In one module calls go straight to their function, and the table's content is known to the compiler.
//!
//! What of a component does not fit, or would change what it does, leaves it as it is.

mod link;
mod merge;
mod module;
mod read;
#[cfg(test)]
mod tests;
mod write;

use anyhow::Context as _;
use wasm_encoder::RawSection;
use wasmparser::{Validator, WasmFeatures};

use link::Links;
use read::Component;

/// The component with as few core modules as it needs. The same bytes where nothing can be gained.
pub(super) fn of(component: Vec<u8>) -> Vec<u8> {
    match fused(&component) {
        Ok(Some(fused)) => fused,
        Ok(None) => component,
        Err(err) => {
            tracing::debug!(err = format!("{err:#}"), "modules are not made one");
            component
        }
    }
}

fn fused(bytes: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(fused) = rewritten(bytes)? else {
        return Ok(None);
    };
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    validator.validate_all(&fused).context("what was made is invalid")?;
    Ok(Some(fused))
}

/// The component with the modules of each component in it made one. None if there is nothing to do.
fn rewritten(bytes: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    let component = Component::read(bytes)?;
    let nested = component.nested.iter().map(|nested| rewritten(nested));
    let nested = nested.collect::<anyhow::Result<Vec<_>>>()?;
    let links = Links::of(&component)?;
    let members = links.members()?;
    if members.len() > 1 {
        return write::component(&links, &members, &nested).map(Some);
    }
    Ok(nested.iter().any(Option::is_some).then(|| copy(&component, &nested)))
}

/// The component with other components in it.
fn copy(component: &Component<'_>, nested: &[Option<Vec<u8>>]) -> Vec<u8> {
    let (mut copied, mut nested) = (wasm_encoder::Component::new(), nested.iter());
    for (id, data) in &component.sections {
        let other = if *id == read::NESTED { nested.next() } else { None };
        let data = other.and_then(Option::as_deref).unwrap_or(data);
        copied.section(&RawSection { id: *id, data });
    }
    copied.finish()
}
