//! What a component imports and exports, by name.

use wasmtime::Engine;
use wasmtime::component::types::{Component, ComponentItem};

use super::refusal;
use crate::sandbox::capabilities::{self, Offer};

/// Something a component imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its name in one line; a component may put anything into it.
    pub name: String,
    /// How the host meets it, if it does.
    pub offer: Offer,
    /// What the manifest grants of it, each in one line. Empty where it needs no grant.
    pub granted: Vec<String>,
}

/// What a component imports: what it lacks first, then what its operator has to grant; last what only its language's
/// runtime asks for.
pub(in crate::sandbox) fn imports(ty: &Component, engine: &Engine) -> Vec<Import> {
    let imports = ty.imports(engine).map(|(name, item)| {
        // An interface of types alone asks the host for nothing.
        let types_only = match &item.ty {
            ComponentItem::ComponentInstance(instance) => instance
                .exports(engine)
                .all(|(_, item)| matches!(item.ty, ComponentItem::Type(_))),
            ComponentItem::Type(_) => true,
            _ => false,
        };
        Import {
            name: refusal::name(name),
            offer: if types_only {
                Offer::Always
            } else {
                capabilities::offer(name)
            },
            granted: Vec::new(),
        }
    });
    let mut imports: Vec<_> = imports.collect();
    imports.sort_by_key(|import| match import.offer {
        Offer::Never | Offer::OtherVersion(_) => 0,
        Offer::ByGrant(_) => 1,
        Offer::Always => 2,
        Offer::Empty => 3,
    });
    imports
}

/// What a component exports.
pub(in crate::sandbox) fn exports(ty: &Component, engine: &Engine) -> Vec<String> {
    ty.exports(engine).map(|(name, _)| refusal::name(name)).collect()
}
