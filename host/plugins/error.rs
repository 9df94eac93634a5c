//! What can be wrong with the plugin folder, or with what is in it.

use std::path::PathBuf;

use crate::sandbox::LoadError;

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// There is no such folder.
    #[error("no plugin folder at {}; create it, or name another with --plugins", .0.display())]
    Folder(PathBuf),
    /// The folder or a file in it cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Looking through the folder failed in an unexpected way.
    #[error("looking through the plugin folder: {0}")]
    Scan(String),
    /// A link leads out of the folder.
    #[error("{}: a link out of the plugin folder; put the file itself there", .0.display())]
    Outside(PathBuf),
    /// The manifest is wrong.
    #[error("{}: {message}", path.display())]
    Manifest {
        /// Which.
        path: PathBuf,
        /// Where, what, and what was expected.
        message: String,
    },
    /// The component is wrong.
    #[error("{}: {source}", path.display())]
    Load {
        /// Which.
        path: PathBuf,
        /// Why.
        source: LoadError,
    },
}
