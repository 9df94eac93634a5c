//! Where compiled components are kept between starts.
//!
//! What is in there is native code that this process will run, so the directory has to be this user's own. A cache that
//! cannot be used is no error: the host compiles anew and says why.

use std::io;
use std::path::Path;

use wasmtime::{Cache, CacheConfig};

/// Opens the cache, made private if it is new. The error says why that is impossible.
pub(super) fn open(dir: &Path) -> Result<Cache, String> {
    own(dir).map_err(|err| err.to_string())?;
    let mut config = CacheConfig::new();
    config.with_directory(std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf()));
    Cache::new(config).map_err(|err| format!("{err:#}"))
}

/// Makes the directory where it is missing, and refuses one that another user could have written to.
#[cfg(unix)]
fn own(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};

    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let found = std::fs::metadata(dir)?;
    if found.mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write to it; make it private: chmod 700"));
    }
    let probe = dir.join(format!(".probe-{}", std::process::id()));
    let owner = std::fs::File::create(&probe)
        .and_then(|file| file.metadata())
        .map(|file| file.uid());
    std::fs::remove_file(&probe).ok();
    if owner? != found.uid() {
        return Err(io::Error::other("it belongs to another user"));
    }
    Ok(())
}

#[cfg(not(unix))]
fn own(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)
}
