//! What Kiln offers to components, by name: for messages. What is really linked stands in `link`.

use std::fmt;

use wasmtime::Engine;
use wasmtime::component::types::{Component, ComponentItem};

use super::refusal;

/// The interface that makes a component a handler. Any patch version of it will do.
pub(super) const HANDLER: &str = "kiln:job/handler@0.1.0";

/// How a component gets what it imports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It is there for every handler.
    Always,
    /// It is there, because language runtimes import it, but holds nothing.
    Empty,
    /// It is there, and works as far as the operator grants it under this key of the manifest.
    ByGrant(&'static str),
    /// Kiln has it in this version, which is not the one asked for: the component does not load.
    OtherVersion(&'static str),
    /// Kiln does not have it: the component does not load.
    Never,
}

impl Offer {
    /// Whether the component does not load for want of it.
    #[must_use]
    pub fn is_missing(self) -> bool {
        matches!(self, Self::OtherVersion(_) | Self::Never)
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("offered"),
            Self::Empty => f.write_str("offered, but empty: language runtimes import it"),
            Self::ByGrant(key) => write!(f, "by grant: {key}"),
            Self::OtherVersion(offered) => write!(f, "this host offers {offered}"),
            Self::Never => f.write_str("not offered"),
        }
    }
}

/// Something a component imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its name in one line; a component may put anything into it.
    pub name: String,
    /// Whether and how it gets it.
    pub offer: Offer,
}

/// Interfaces of one package that are offered alike: its name, its version, their names, how.
type Package = (&'static str, &'static str, &'static [&'static str], Offer);

/// A version of two numbers stands for all of its patch versions; any other for itself.
const OFFERED: &[Package] = &[
    ("kiln:job", "0.1", &["types", "context"], Offer::Always),
    ("wasi:cli", "0.2", CLI, Offer::Always),
    ("wasi:cli", "0.2", &["environment"], Offer::ByGrant("grants.env")),
    ("wasi:clocks", "0.2", &["monotonic-clock", "wall-clock"], Offer::Always),
    ("wasi:config", "0.2.0-rc.1", &["store"], Offer::Always),
    ("wasi:filesystem", "0.2", &["preopens", "types"], Offer::Empty),
    ("wasi:http", "0.2", &["types"], Offer::Always),
    ("wasi:http", "0.2", &["outgoing-handler"], Offer::ByGrant("grants.http")),
    ("wasi:io", "0.2", &["error", "poll", "streams"], Offer::Always),
    ("wasi:logging", "0.1.0-draft", &["logging"], Offer::Always),
    (
        "wasi:random",
        "0.2",
        &["insecure", "insecure-seed", "random"],
        Offer::Always,
    ),
    ("wasi:sockets", "0.2", SOCKETS, Offer::Empty),
];

const CLI: &[&str] = &[
    "exit",
    "stderr",
    "stdin",
    "stdout",
    "terminal-input",
    "terminal-output",
    "terminal-stderr",
    "terminal-stdin",
    "terminal-stdout",
];

const SOCKETS: &[&str] = &[
    "instance-network",
    "ip-name-lookup",
    "network",
    "tcp",
    "tcp-create-socket",
    "udp",
    "udp-create-socket",
];

/// What a component imports: what it lacks first, then what its operator has to grant; last what only its language's
/// runtime asks for.
pub(super) fn imports(ty: &Component, engine: &Engine) -> Vec<Import> {
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
            offer: if types_only { Offer::Always } else { offer(name) },
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
pub(super) fn exports(ty: &Component, engine: &Engine) -> Vec<String> {
    ty.exports(engine).map(|(name, _)| refusal::name(name)).collect()
}

fn offer(import: &str) -> Offer {
    let (path, version) = import.split_once('@').unwrap_or((import, ""));
    let Some((package, interface)) = path.split_once('/') else {
        return Offer::Never;
    };
    let mut near = Offer::Never;
    for (name, offered, interfaces, offer) in OFFERED {
        if *name != package {
            continue;
        }
        match (covers(offered, version), interfaces.contains(&interface)) {
            (true, true) => return *offer,
            // Of another version of a package it cannot be said what would be in it here.
            (false, _) => near = Offer::OtherVersion(offered),
            (true, false) => {}
        }
    }
    near
}

/// Whether the offered version serves what was asked for.
fn covers(offered: &str, asked: &str) -> bool {
    offered == asked
        || asked
            .strip_prefix(offered)
            .is_some_and(|patch| patch.starts_with('.') && !patch.contains('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_version_is_offered_and_a_draft_is_not() {
        assert_eq!(offer("wasi:io/poll@0.2.6"), Offer::Always);
        assert_eq!(offer("wasi:http/outgoing-handler@0.2.0"), Offer::ByGrant("grants.http"));
        assert_eq!(offer("wasi:sockets/tcp@0.2.3"), Offer::Empty);
        for other in ["wasi:io/poll@0.3.0", "wasi:io/poll@0.2.0-rc", "wasi:io/poll"] {
            assert_eq!(offer(other), Offer::OtherVersion("0.2"), "{other}");
        }
        for other in ["wasi:keyvalue/store@0.2.0", "wasi:io/pool@0.2.0", "f"] {
            assert_eq!(offer(other), Offer::Never, "{other}");
        }
    }
}
