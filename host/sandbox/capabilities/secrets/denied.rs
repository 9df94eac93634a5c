//! The denial of a request that a secret cannot serve.

use crate::sandbox::capabilities::denied::Denied;

/// This capability's key below `[grants]`.
pub(in crate::sandbox::capabilities) const KEY: &str = "secrets";

/// `what` ends where the name of the plugin's manifest follows.
pub(super) fn denied(what: String) -> Denied {
    Denied::new(KEY, what)
}
