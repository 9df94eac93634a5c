//! From the bytes of a plugin to a component that can run here, or to one line saying what is wrong with it.

use bytesize::ByteSize;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::bindings::JobHandlerPre;
use super::engine::TABLES_PER_SLOT;
use super::imports::{self, HANDLER, Import, Offer};
use super::state::State;
use crate::config::{MAX_MEMORIES, MAX_PLUGIN_BYTES, MAX_TABLES};
use crate::line::one_line;

/// Why a file is no plugin. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not Wasm at all.
    #[error("not a WebAssembly component: {0}")]
    NotWasm(&'static str),
    /// Native code.
    #[error("precompiled for one machine; Kiln compiles components itself: use the .wasm file it was made from")]
    Precompiled,
    /// A module.
    #[error("a core module, not a component: build it for wasm32-wasip2, or run wasm-tools component new")]
    CoreModule,
    /// More bytes than [`MAX_PLUGIN_BYTES`].
    #[error("{} large; the limit is {}", ByteSize::b(*.len), ByteSize::b(MAX_PLUGIN_BYTES))]
    TooLarge {
        /// Length found, in bytes.
        len: u64,
    },
    /// The engine does not take it.
    #[error("does not compile: {0}")]
    Invalid(String),
    /// Does not export the handler interface.
    #[error("does not export {HANDLER}; it exports {}", list(.exports))]
    NoHandler {
        /// What it exports instead.
        exports: Vec<String>,
    },
    /// Imports what Kiln does not have.
    #[error("imports what Kiln does not offer: {}", list(.imports))]
    NotOffered {
        /// All of those imports.
        imports: Vec<String>,
    },
    /// Imports or exports something of the right name and the wrong type.
    #[error("was built against other interfaces: {0}")]
    Mismatch(String),
    /// Cannot even start within its memory limit.
    #[error("needs {wanted} of memory to start; the limit is {limit}: raise max_memory in its manifest")]
    Memory {
        /// The largest memory it starts with.
        wanted: ByteSize,
        /// What it may have.
        limit: ByteSize,
    },
    /// Consists of more parts than one sandbox holds.
    #[error("has {found} {what}; the limit is {limit}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there are.
        found: u32,
        /// How many there may be.
        limit: u32,
    },
}

/// A component that runs here.
pub(super) struct Loaded {
    pub(super) pre: JobHandlerPre<State>,
    /// Slots of the pool that one instance of it takes.
    pub(super) slots: u32,
}

/// What could be learnt about a component.
pub(super) struct Examined {
    pub(super) component: Component,
    pub(super) imports: Vec<Import>,
    pub(super) exports: Vec<String>,
}

/// Compiles a component, or takes it from the cache.
pub(super) fn examine(engine: &Engine, bytes: &[u8]) -> Result<Examined, LoadError> {
    check_format(bytes)?;
    let component = Component::from_binary(engine, bytes).map_err(|err| LoadError::Invalid(causes(&err)))?;
    let (imports, exports) = (
        imports::imports(&component, engine),
        imports::exports(&component, engine),
    );
    Ok(Examined {
        component,
        imports,
        exports,
    })
}

/// Links a component and checks that it can run within `max_memory`.
pub(super) fn link(linker: &Linker<State>, found: &Examined, max_memory: ByteSize) -> Result<Loaded, LoadError> {
    let missing: Vec<_> = found
        .imports
        .iter()
        .filter(|import| import.offer == Offer::Never)
        .collect();
    if !missing.is_empty() {
        return Err(LoadError::NotOffered {
            imports: missing.into_iter().map(|import| import.name.clone()).collect(),
        });
    }
    if found.component.get_export_index(None, HANDLER).is_none() {
        return Err(LoadError::NoHandler {
            exports: found.exports.clone(),
        });
    }
    let slots = slots(&found.component, max_memory)?;
    let pre = linker.instantiate_pre(&found.component).and_then(JobHandlerPre::new);
    let pre = pre.map_err(|err| LoadError::Mismatch(causes(&err)))?;
    Ok(Loaded { pre, slots })
}

/// Tells what a file is by its first bytes.
fn check_format(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.len() as u64 > MAX_PLUGIN_BYTES {
        return Err(LoadError::TooLarge {
            len: bytes.len() as u64,
        });
    }
    if bytes.starts_with(b"\x7fELF") || Engine::detect_precompiled(bytes).is_some() {
        return Err(LoadError::Precompiled);
    }
    match bytes {
        [] => Err(LoadError::NotWasm("the file is empty")),
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
fn slots(component: &Component, max_memory: ByteSize) -> Result<u32, LoadError> {
    // None where it imports modules, which Kiln does not offer.
    let Some(needs) = component.resources_required() else {
        return Ok(1);
    };
    let wanted = ByteSize::b(needs.max_initial_memory_size.unwrap_or(0).saturating_mul(64 * 1024));
    if wanted > max_memory {
        return Err(LoadError::Memory {
            wanted,
            limit: max_memory,
        });
    }
    for (what, found, limit) in [
        ("memories", needs.num_memories, MAX_MEMORIES),
        ("tables", needs.num_tables, MAX_TABLES),
    ] {
        if found > limit {
            return Err(LoadError::TooMany { what, found, limit });
        }
    }
    Ok(needs
        .num_memories
        .max(needs.num_tables.div_ceil(TABLES_PER_SLOT))
        .max(1))
}

/// An error and its causes in one line.
fn causes(err: &wasmtime::Error) -> String {
    let causes: Vec<_> = err.chain().map(ToString::to_string).collect();
    one_line(causes.join(": "))
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        one_line(names.join(", "))
    }
}
