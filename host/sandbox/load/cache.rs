//! Where compiled components are kept between starts.
//!
//! An entry is native code that this process will run. So folder and entries have to be this user's own and closed to
//! others, an entry is read only if it is a regular file, and it starts with a digest of its name and its code: a file that
//! was cut short, moved or damaged is no entry. An entry is written under another name, and renamed once it is complete.
//!
//! A cache that cannot be used is no error: the host compiles anew and says why. Every file in its folder that is no
//! entry is removed. So it makes its own folder within the one that the operator names: naming a home folder loses
//! nothing.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, DirEntry, File, Metadata};
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use wasmtime::Engine;

use crate::config::{MAX_CACHE_BYTES, MAX_COMPILED_BYTES};

/// The cache's own folder, within the one that the operator names.
const RULED: &str = "compiled";

/// Prefix of files that are still being written.
const NEW: &str = ".new-";

/// Age at which such a file counts as left over from a process that has died.
const ABANDONED: Duration = Duration::from_mins(10);

/// How long an entry's time of use stays as it is before it is set anew.
const NOTED: Duration = Duration::from_hours(1);

/// Bytes of the digest that an entry starts with.
const SUM_BYTES: usize = 32;

/// A folder of compiled components.
pub(in crate::sandbox) struct Cache {
    dir: PathBuf,
    owner: u32,
    /// What the names of entries start with: the engine they are for.
    environment: String,
}

impl Cache {
    /// Opens the cache. Creates its folder, private, if it is missing, and removes what does not belong in it. The
    /// error says why the cache cannot be used.
    pub(in crate::sandbox) fn open(dir: &Path, engine: &Engine) -> io::Result<Self> {
        own(dir)?;
        let dir = std::path::absolute(dir)?.join(RULED);
        let owner = own(&dir)?;
        // A link could lead to a folder with other files, which would be removed as no entries.
        if !fs::symlink_metadata(&dir)?.is_dir() {
            let message = format!("{} is a link; name the folder it leads to instead", dir.display());
            return Err(io::Error::other(message));
        }
        let mut environment = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut environment);
        let environment = format!("{:016x}", environment.finish());
        let cache = Self {
            dir,
            owner,
            environment,
        };
        cache.tidy()?;
        Ok(cache)
    }

    /// The code compiled from the bytes with this digest, if it is there.
    pub(in crate::sandbox) fn find(&self, digest: &str) -> Option<Vec<u8>> {
        let name = self.name(digest);
        match self.read(&name) {
            Ok(code) => Some(code),
            Err(err) => {
                tracing::debug!(name, %err, "not in the cache");
                None
            }
        }
    }

    /// Keeps the code compiled from the bytes with this digest, in place of whatever is there under its name.
    pub(in crate::sandbox) fn keep(&self, digest: &str, code: &[u8]) {
        let kept = self.write(&self.name(digest), code).and_then(|()| self.tidy());
        if let Err(err) = kept {
            tracing::warn!(dir = %self.dir.display(), %err, "a compiled component is not cached");
        }
    }

    fn name(&self, digest: &str) -> String {
        format!("{}-{digest}", self.environment)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        // Opening a pipe would wait for somebody to write to it, and a link could lead out of the folder.
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let mut file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(self.dir.join(name))?;
        let found = file.metadata()?;
        if !found.is_file() || !self.is_own(&found) {
            return Err(invalid("no regular file, or one that others may write to"));
        }
        if found.len() > MAX_COMPILED_BYTES {
            return Err(invalid("too large"));
        }
        let mut sum = [0; SUM_BYTES];
        file.read_exact(&mut sum)?;
        let mut code = Vec::with_capacity(found.len().try_into().unwrap_or(0));
        (&file).take(MAX_COMPILED_BYTES).read_to_end(&mut code)?;
        if sum != sum_of(name, &code) {
            return Err(invalid("not what was written"));
        }
        note_use(&file, &found);
        Ok(code)
    }

    fn write(&self, name: &str, code: &[u8]) -> io::Result<()> {
        // The temporary file is removed if it is not renamed. Only its owner may read it.
        let mut file = tempfile::Builder::new().prefix(NEW).tempfile_in(&self.dir)?;
        file.write_all(&sum_of(name, code))?;
        file.write_all(code)?;
        file.persist(self.dir.join(name)).map_err(|err| err.error)?;
        Ok(())
    }

    /// Removes the entries used longest ago if there is too much, and every file that is no entry.
    fn tidy(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for found in fs::read_dir(&self.dir)?.flatten() {
            // The metadata of a link itself, not of its target.
            let Ok(metadata) = found.metadata() else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let name = found.file_name().into_string().unwrap_or_default();
            if metadata.is_file() && self.is_own(&metadata) && is_entry(&name) {
                entries.push((used, metadata.len(), found));
            } else if !(metadata.is_file() && name.starts_with(NEW) && age(used) < ABANDONED) {
                remove(&found, &metadata);
            }
        }
        entries.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let mut bytes = 0;
        for (_, len, entry) in &entries {
            bytes += len;
            if bytes > MAX_CACHE_BYTES {
                fs::remove_file(entry.path()).ok();
            }
        }
        Ok(())
    }

    fn is_own(&self, file: &Metadata) -> bool {
        file.uid() == self.owner && file.mode() & 0o022 == 0
    }
}

/// What an entry with this name and this code starts with.
fn sum_of(name: &str, code: &[u8]) -> [u8; SUM_BYTES] {
    Sha256::new().chain_update(name).chain_update(code).finalize().into()
}

/// Whether a name is that of an entry, for this engine or another.
fn is_entry(name: &str) -> bool {
    let parts = name.split_once('-');
    let hex = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
    parts.is_some_and(|(environment, digest)| hex(environment, 16) && hex(digest, 64))
}

fn age(of: SystemTime) -> Duration {
    of.elapsed().unwrap_or_default()
}

/// Sets the file's time, so that its entry counts as used now.
fn note_use(file: &File, found: &Metadata) {
    if found.modified().is_ok_and(|used| age(used) > NOTED) {
        // A failure only means that the entry is removed sooner.
        file.set_modified(SystemTime::now()).ok();
    }
}

fn remove(found: &DirEntry, metadata: &Metadata) {
    let path = found.path();
    let removed = if metadata.is_dir() {
        fs::remove_dir_all(&path)
    } else {
        fs::remove_file(&path)
    };
    removed.unwrap_or_else(|err| tracing::debug!(path = %path.display(), %err, "cannot be removed from the cache"));
}

/// Creates the directory if it is missing. Refuses one that another user could have written to, or that this user
/// cannot write to. Returns its owner.
fn own(dir: &Path) -> io::Result<u32> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let found = fs::metadata(dir)?;
    if found.mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write to it; make it private: chmod 700"));
    }
    let probe = tempfile::Builder::new().prefix(NEW).tempfile_in(dir)?;
    if probe.as_file().metadata()?.uid() != found.uid() {
        return Err(io::Error::other("it belongs to another user"));
    }
    Ok(found.uid())
}
