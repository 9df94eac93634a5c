//! How a component gets what it imports.

use std::fmt;

/// How a component gets what it imports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It is there for every handler.
    Always,
    /// It is there, because language runtimes import it, but holds nothing.
    Empty,
    /// It is there, and works as far as the operator grants it: under this key of `[grants]`.
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
            Self::ByGrant(key) => write!(f, "by grant: grants.{key}"),
            Self::OtherVersion(offered) => write!(f, "this host offers {offered}"),
            Self::Never => f.write_str("not offered"),
        }
    }
}

/// Interfaces of one package that are offered alike.
#[derive(Debug, Clone, Copy)]
pub(in crate::sandbox) struct Interfaces {
    pub(super) package: &'static str,
    /// Two numbers stand for all of their patch versions; any other version for itself.
    pub(super) version: &'static str,
    pub(super) names: &'static [&'static str],
    pub(super) offer: Offer,
}

/// Whether some interfaces serve an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// The import itself.
    Served,
    /// The package is offered in another version only. What that version would hold is unknown here.
    OtherVersion,
    /// Nothing.
    No,
}

impl Interfaces {
    /// Whether they serve an import: `package/interface@version`.
    pub(super) fn serve(&self, import: &str) -> Match {
        let (path, version) = import.split_once('@').unwrap_or((import, ""));
        match path.split_once('/') {
            Some((package, interface)) if package == self.package => {
                match (covers(self.version, version), self.names.contains(&interface)) {
                    (true, true) => Match::Served,
                    (true, false) => Match::No,
                    (false, _) => Match::OtherVersion,
                }
            }
            _ => Match::No,
        }
    }
}

/// Whether the offered version serves what was asked for.
fn covers(offered: &str, asked: &str) -> bool {
    let patch = |asked: &str| {
        let patch = asked.strip_prefix(offered);
        patch.is_some_and(|patch| patch.starts_with('.') && !patch.contains('-'))
    };
    offered == asked || patch(asked)
}
