//! Why a plugin does not get what its manifest grants it.

/// Why a plugin does not load for what its manifest grants it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The manifest is wrong.
    #[error("its manifest is wrong: {0}")]
    Wrong(String),
    /// Something that it grants is not on this host. It may be there the next time.
    #[error("{why}")]
    Missing {
        /// What, and why; never a secret's value.
        why: String,
        /// Where the plugin loads: where this is so.
        loads_where: String,
    },
}
