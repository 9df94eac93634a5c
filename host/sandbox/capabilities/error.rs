//! Why a plugin does not get what its manifest grants it.

/// Why a plugin does not get what its manifest grants, and so does not load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The manifest is wrong.
    #[error("its manifest is wrong: {0}")]
    Wrong(String),
    /// Something that the manifest grants is not on this host. A later load may find it.
    #[error("{why}")]
    Missing {
        /// What is missing, and why. Never a secret's value.
        why: String,
        /// What a host needs for the plugin to load, as the end of a sentence.
        loads_where: String,
    },
}
