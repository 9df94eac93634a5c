//! From the bytes of a plugin to a component that can run here, or to one line saying what is wrong with it.

pub(super) mod ahead;
pub(super) mod cache;
pub(super) mod code;
pub(super) mod compile;
pub(super) mod compiler;
pub(super) mod diff;
pub(super) mod faults;
pub(super) mod imports;
pub(super) mod plugin;
pub(super) mod pool;
pub(super) mod refusal;
pub(super) mod resident;

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytesize::ByteSize;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::bindings::{HANDLER, JobHandlerPre};
use super::engine;
use super::run::state::State;
use crate::config::{CompileLimits, Limit, Limits, MAX_INTERFACES};
use ahead::Ahead;
use code::Code;
use compiler::CompileStop;
use faults::Faults;
use imports::Import;
use pool::Pool;
use refusal::LoadError;

/// The name of WASI's first version as it stands in a module that imports it: its length, then its text.
const PREVIEW1: &[u8] = b"\x16wasi_snapshot_preview1";

/// A component that runs here.
pub(in crate::sandbox) struct Loaded {
    /// The component in the pool in which its next attempt runs.
    pub(in crate::sandbox) pre: ArcSwap<JobHandlerPre<State>>,
    /// Slots of the pool that one instance of it takes.
    pub(in crate::sandbox) slots: u32,
    /// What its first attempts took, by which it is decided in which pool the others run.
    pub(in crate::sandbox) faults: Faults,
    /// How long its starts take, and the instances that are ready.
    pub(in crate::sandbox) ahead: Arc<Ahead>,
}

/// What could be learnt about a component.
pub(in crate::sandbox) struct Examined {
    pub(in crate::sandbox) component: Component,
    pub(in crate::sandbox) imports: Vec<Import>,
    pub(in crate::sandbox) exports: Vec<String>,
}

/// Compiles a component, or takes it from the cache, and looks at it.
pub(in crate::sandbox) fn examine(
    engine: &Engine,
    code: &Code,
    bytes: &[u8],
    digest: &str,
    limits: &Limits,
    stop: &CompileStop,
) -> Result<Examined, LoadError> {
    check_format(bytes, limits)?;
    let component = code.of(engine, bytes, digest, &CompileLimits::from(limits), stop)?;
    let ty = component.component_type();
    for (what, found) in [
        ("imports", ty.imports(engine).len()),
        ("exports", ty.exports(engine).len()),
    ] {
        let (found, limit) = (u32::try_from(found).unwrap_or(u32::MAX), MAX_INTERFACES);
        if found > limit {
            return Err(LoadError::TooMany { what, found, limit });
        }
    }
    Ok(Examined {
        imports: imports::imports(&ty, engine),
        exports: imports::exports(&ty, engine),
        component,
    })
}

/// Links a component and checks that it can run within its limits.
pub(in crate::sandbox) fn link(pool: &Pool, found: &Examined, limits: &Limits) -> Result<Loaded, LoadError> {
    // Checked before the imports: a component that is no handler should be told that, not what it imports.
    if found.component.get_export_index(None, HANDLER).is_none() {
        return Err(no_handler(&found.exports));
    }
    let missing: Vec<_> = found
        .imports
        .iter()
        .filter(|import| import.offer.is_missing())
        .collect();
    if !missing.is_empty() {
        return Err(LoadError::NotOffered {
            imports: missing
                .into_iter()
                .map(|import| format!("{}: {}", import.name, import.offer))
                .collect(),
        });
    }
    let slots = slots(&found.component, limits)?;
    let pre = ArcSwap::from(Arc::new(pool.link(&found.component)?));
    Ok(Loaded {
        pre,
        slots,
        faults: Faults::default(),
        ahead: Arc::default(),
    })
}

/// Says what a component is instead of a handler.
fn no_handler(exports: &[String]) -> LoadError {
    let exported = |prefix: &str| exports.iter().find(|name| name.starts_with(prefix)).cloned();
    if let Some(other) = exported("kiln:job/handler@") {
        LoadError::OtherHandler(other)
    } else if exported("wasi:cli/run@").is_some() {
        LoadError::Program
    } else if let Some(server) = exported("wasi:http/incoming-handler@").or_else(|| exported("wasi:http/handler@")) {
        LoadError::HttpServer(server)
    } else {
        LoadError::NoHandler {
            exports: exports.to_vec(),
        }
    }
}

/// Tells what a file is by its first bytes.
fn check_format(bytes: &[u8], limits: &Limits) -> Result<(), LoadError> {
    let limit = limits.get(Limit::PluginBytes);
    if bytes.len() as u64 > limit {
        let limit = ByteSize::b(limit);
        return Err(LoadError::TooLarge { limit });
    }
    if bytes.starts_with(b"\x7fELF") || Engine::detect_precompiled(bytes).is_some() {
        return Err(LoadError::Precompiled);
    }
    match bytes {
        [] => Err(LoadError::NotWasm("the file is empty")),
        [b'\0', b'a', b's', b'm', _, _, 0, 0, ..] if bytes.windows(PREVIEW1.len()).any(|name| name == PREVIEW1) => {
            Err(LoadError::Preview1Module)
        }
        [b'\0', b'a', b's', b'm', _, _, 0, 0, ..] => Err(LoadError::CoreModule),
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', ..] => Err(LoadError::NotWasm("the file is cut short or of an unknown version")),
        _ if bytes.trim_ascii_start().starts_with(b"(") => {
            Err(LoadError::NotWasm("it is text: run wasm-tools parse first"))
        }
        _ => Err(LoadError::NotWasm("it does not start with \\0asm")),
    }
}

/// The slots of the pool that one instance takes: one for nearly every component.
pub(in crate::sandbox) fn slots(component: &Component, limits: &Limits) -> Result<u32, LoadError> {
    // None where it imports modules, which Kiln does not offer.
    let Some(needs) = component.resources_required() else {
        return Ok(1);
    };
    let wanted = ByteSize::b(needs.max_initial_memory_size.unwrap_or(0).saturating_mul(64 * 1024));
    let limit = ByteSize::b(limits.get(Limit::MaxMemory));
    if wanted > limit {
        return Err(LoadError::Memory { wanted, limit });
    }
    for (what, found, limit) in [
        ("memories", needs.num_memories, limits.count(Limit::Memories)),
        ("tables", needs.num_tables, limits.count(Limit::Tables)),
    ] {
        if found > limit {
            return Err(LoadError::TooMany { what, found, limit });
        }
    }
    Ok(engine::slots(needs.num_memories, needs.num_tables))
}
