//! The world of `wit/`, as Rust sees it.
//!
//! Generated; the imports are implemented in `voice` and linked in `link`.

#![allow(
    missing_docs,
    clippy::too_many_lines,
    reason = "generated from WIT, which carries the documentation"
)]

wasmtime::component::bindgen!({
    path: "wit",
    world: "kiln:job/job-handler",
    exports: { default: async },
    include_component_type: true,
});
