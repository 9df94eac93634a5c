//! What a handler did that its operator has not granted. It ends the attempt, kind `denied`: the handler can do nothing about
//! it, its operator can.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::SetOnce;

/// What was denied, and the lines of the manifest that would grant it; each capability has its own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(in crate::sandbox) struct Denied {
    /// The capability: its key below `[grants]`.
    pub(in crate::sandbox) capability: &'static str,
    what: String,
    /// Whether the plugin's manifest could grant it.
    by_manifest: bool,
}

impl Denied {
    /// `what` ends where the name of the plugin's manifest follows: `…; add … to`, `…; see … in`.
    pub(in crate::sandbox::capabilities) fn new(capability: &'static str, what: String) -> Self {
        Self {
            capability,
            what,
            by_manifest: true,
        }
    }

    /// For what no manifest can grant.
    pub(in crate::sandbox::capabilities) fn whatever_is_granted(capability: &'static str, what: String) -> Self {
        Self {
            capability,
            what,
            by_manifest: false,
        }
    }

    /// The whole message for the operator: what was denied, and in which manifest to grant it.
    pub(in crate::sandbox) fn told(&self, plugin: &str) -> String {
        if self.by_manifest {
            format!("{self} {plugin}.toml")
        } else {
            self.what.clone()
        }
    }
}

/// A denial found after the guest's call has returned. It ends the attempt while the guest waits.
#[derive(Debug, Clone, Default)]
pub(in crate::sandbox) struct LateDenial(Arc<SetOnce<Denied>>);

impl LateDenial {
    /// Has the attempt end. The first denial counts.
    pub(in crate::sandbox::capabilities) fn tell(&self, denied: Denied) {
        // `set` fails only where there is a denial already.
        let _ = self.0.set(denied);
    }

    /// Waits for a denial. Never resolves for an attempt that can have none.
    pub(in crate::sandbox) async fn of(denial: Option<Self>) -> Denied {
        match denial {
            Some(denial) => denial.0.wait().await.clone(),
            None => pending().await,
        }
    }
}
