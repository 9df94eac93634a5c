//! What can stop one run of a handler.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::stop::Stop;

/// How the host ends attempts, in two stages. Clones share both, without the lock that a clone of a token takes: every
/// attempt of a host has the same ones.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    /// The host is shutting down: handlers that ask are told so, and what those then ask to retry does not count.
    pub draining: Arc<CancellationToken>,
    /// The attempt is interrupted where it stands: the grace period is over, or the host's lease is.
    pub stop: Arc<Stop>,
}
