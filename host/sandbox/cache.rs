//! Where compiled components are kept between starts.
//!
//! What is in there is native code that this process will run, so the directory has to be this user's own. A cache that
//! cannot be used is no error: the host compiles anew and says why.
//!
//! wasmtime removes what it does not know from the folder that it is given, so that is one within the one that is named:
//! whoever names his home folder loses nothing.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use wasmtime::{Cache, CacheConfig};

const RULED: &str = "compiled";

/// A cache, and where it is.
pub(super) struct Opened {
    pub(super) cache: Cache,
    pub(super) dir: PathBuf,
    /// What of it the cache rules: files two folders deep, the least used of which it removes.
    pub(super) ruled: PathBuf,
    /// Removes one that is not to last, when it is dropped.
    pub(super) scratch: Option<Scratch>,
}

/// A folder that goes with this.
pub(super) struct Scratch(TempDir);

impl Drop for Scratch {
    /// The cache keeps its books on a thread of its own: a folder that it is just writing to cannot be removed.
    fn drop(&mut self) {
        for _ in 0..REMOVALS {
            match std::fs::remove_dir_all(self.0.path()) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => std::thread::sleep(REMOVAL_PAUSE),
                _ => return,
            }
        }
    }
}

/// How often, and how long after one another, it is tried to remove a folder that is in use.
const REMOVALS: u32 = 20;
const REMOVAL_PAUSE: Duration = Duration::from_millis(10);

/// Opens a cache that lasts as long as what is returned.
pub(super) fn scratch() -> io::Result<Opened> {
    let place = tempfile::Builder::new()
        .prefix("kiln-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()?;
    let opened = open(place.path())?;
    Ok(Opened {
        scratch: Some(Scratch(place)),
        ..opened
    })
}

/// Opens the cache, made private if it is new. The error says why that is impossible.
pub(super) fn open(dir: &Path) -> io::Result<Opened> {
    own(dir)?;
    let dir = std::path::absolute(dir)?;
    let ruled = dir.join(RULED);
    own(&ruled)?;
    let mut config = CacheConfig::new();
    config.with_directory(&ruled);
    Ok(Opened {
        cache: Cache::new(config).map_err(|err| io::Error::other(format!("{err:#}")))?,
        dir,
        ruled,
        scratch: None,
    })
}

/// Makes the directory where it is missing, and refuses one that another user could have written to.
fn own(dir: &Path) -> io::Result<()> {
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
