//! Why a file is no plugin: one bounded line for each reason, fit for a terminal whatever the file holds.

use std::time::Duration;

use bytesize::ByteSize;

use crate::config::{Limit, LimitError, MAX_REASON_BYTES};
use crate::sandbox::bindings::HANDLER;
use crate::sandbox::capabilities::GrantError;
use crate::text;

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
    #[error(
        "a core module, not a component: build it for wasm32-wasip2, or make one of it with kiln build --core FILE"
    )]
    CoreModule,
    /// A module for the first version of WASI.
    #[error(
        "a core module for wasi_snapshot_preview1, not a component: build it for wasm32-wasip2, or make one \
         of it with kiln build --core FILE"
    )]
    Preview1Module,
    /// Too many bytes.
    #[error("too large; the limit plugin_bytes is {limit}")]
    TooLarge {
        /// How many there may be.
        limit: ByteSize,
    },
    /// The engine cannot compile it.
    #[error("does not compile: {0}")]
    Invalid(String),
    /// It takes more CPU time to compile than it may.
    #[error("compiling took more processor time than it may; the limit compile_time is {}", Limit::CompileTime.show(ms(*.limit)))]
    CompileTime {
        /// What it may take.
        limit: Duration,
    },
    /// It takes longer to compile than it may.
    #[error("compiling took more than {} s, though less than that of CPU time: is the machine busy?", .limit.as_secs())]
    CompileWait {
        /// What it may take.
        limit: Duration,
    },
    /// It takes more memory to compile than it may.
    #[error("compiling took more memory than it may; the limit compile_memory is {limit}")]
    CompileMemory {
        /// What it may take.
        limit: ByteSize,
    },
    /// It compiles to more code than is taken.
    #[error("compiles to more than {limit} of code, which is the most that this host takes")]
    CodeTooLarge {
        /// What it may come to.
        limit: ByteSize,
    },
    /// The caller stopped the compilation.
    #[error("compiling was stopped")]
    Stopped,
    /// The compiling process did not start, or ended in another way.
    #[error("the compiler {0}")]
    Compiler(String),
    /// A program with a main function.
    #[error(
        "a program (it exports wasi:cli/run), not a handler: build it as a library (for Rust crate-type = [\"cdylib\"]) \
         that exports {HANDLER}"
    )]
    Program,
    /// A server.
    #[error("an HTTP server (it exports {0}), not a handler of jobs: export {HANDLER} instead")]
    HttpServer(String),
    /// Made for another version of the contract.
    #[error("exports {0}; this host speaks 0.1: build it against the wit folder of this version of Kiln")]
    OtherHandler(String),
    /// Does not export the handler interface.
    #[error("does not export {HANDLER}; it exports {}", list_or_nothing(.exports))]
    NoHandler {
        /// What it exports instead.
        exports: Vec<String>,
    },
    /// Imports what Kiln does not have.
    #[error("imports {}: build it without, or against what is offered", text::list(.imports, "; "))]
    NotOffered {
        /// All of those imports, each with the reason.
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
    /// Its manifest asks for more than its host allows.
    #[error("its manifest says {0}")]
    Limits(#[from] LimitError),
    /// It does not get what its manifest grants it.
    #[error(transparent)]
    Grant(#[from] GrantError),
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

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl LoadError {
    /// Whether the same file may load later, because the file is not what is wrong.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Grant(GrantError::Missing { .. }))
    }
}

/// An error and its causes in one line.
pub(in crate::sandbox) fn causes(err: &wasmtime::Error) -> String {
    let causes: Vec<_> = err.chain().map(ToString::to_string).collect();
    reason(&causes.join(": "))
}

/// One line, not too long, of text that a component may have a part in.
pub(in crate::sandbox) fn reason(text: &str) -> String {
    text::message(text, MAX_REASON_BYTES).into_owned()
}

/// A name out of a component. The engine checks most names, but not all, for characters that mislead a terminal.
pub(in crate::sandbox) fn name(name: &str) -> String {
    text::name(name).into_owned()
}

fn list_or_nothing(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        text::list(names, ", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_component_says_is_shown_in_bounded_lists_of_one_line() {
        assert_eq!(reason("a\u{1b}[2J\n\n  b\u{7}"), "a\\u001b[2J; b\\u0007");
        let names: Vec<_> = (0..1_000).map(|n| n.to_string()).collect();
        assert_eq!(text::list(&names, ", "), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 990 more");
    }
}
