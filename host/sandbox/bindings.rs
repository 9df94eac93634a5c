//! Rust bindings generated from the world in `wit/`. `capabilities` implements the interfaces that it imports.

#![allow(
    missing_docs,
    clippy::too_many_lines,
    reason = "generated from WIT, which carries the documentation"
)]

wasmtime::component::bindgen!({
    path: "wit",
    world: "kiln:job/job-handler",
    imports: {
        "kiln:flow/jobs": trappable,
        "kiln:http/client": async | trappable,
        "kiln:state/values": async | trappable,
        "kiln:tcp/connections": async | trappable,
    },
    exports: { default: async },
    include_component_type: true,
});

/// The interface that makes a component a handler. Any patch version of it will do.
pub(super) const HANDLER: &str = "kiln:job/handler@0.1.0";
