//! What a handler did that its operator has not granted. It ends the attempt, kind `denied`: the handler can do nothing about
//! it, its operator can.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::SetOnce;

/// What was denied, and the lines of the manifest that would grant it; each capability has its own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(in crate::sandbox) struct Denied(String);

impl Denied {
    /// `what` goes on with the name of the plugin's manifest: `…; add … to`, `…; see … in`.
    pub(in crate::sandbox::capabilities) fn new(what: String) -> Self {
        Self(what)
    }

    /// All of it, for the operator.
    pub(in crate::sandbox) fn told(&self, plugin: &str) -> String {
        format!("{self} {plugin}.toml")
    }
}

/// Ends an attempt for what is denied while its guest waits, after the call that began it has returned.
#[derive(Debug, Clone, Default)]
pub(in crate::sandbox) struct LateDenial(Arc<SetOnce<Denied>>);

impl LateDenial {
    /// Has the attempt end. The first denial counts.
    pub(in crate::sandbox::capabilities) fn tell(&self, denied: Denied) {
        // An error says that there is one already.
        let _ = self.0.set(denied);
    }

    /// Waits for a denial; for ever where there can be none.
    pub(in crate::sandbox) async fn of(denial: Option<Self>) -> Denied {
        match denial {
            Some(denial) => denial.0.wait().await.clone(),
            None => pending().await,
        }
    }
}
