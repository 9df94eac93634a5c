//! The plugin folder: which files are plugins, and how one is read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytesize::ByteSize;
use rustix::fs::OFlags;

use super::{Plugin, PluginError};
use crate::config::{Limit, Limits, MAX_MANIFEST_BYTES, Manifest};
use crate::sandbox::{LoadError, Sandbox};

/// Tells, without reading a file, that it is the one seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    wasm: Stat,
    manifest: Option<Stat>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    len: u64,
    modified: Option<SystemTime>,
    /// A file renamed into place may be as long and as old as the one before.
    #[cfg(unix)]
    inode: u64,
}

impl Stat {
    fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(metadata),
        }
    }
}

/// A plugin file that was found.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) stem: String,
    pub(super) fingerprint: Fingerprint,
    folder: PathBuf,
    path: PathBuf,
}

/// What a folder holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Its plugins, by stem: its `*.wasm` files, not those of folders within it.
    pub(super) sources: BTreeMap<String, Source>,
    /// Files of native code, which somebody may think are plugins.
    pub(super) precompiled: BTreeSet<PathBuf>,
}

/// Looks through a folder.
pub(super) fn scan(folder: &Path) -> Result<Scan, PluginError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PluginError::Read { path, source }
    };
    let mut found = Scan::default();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let stem = match (stem, path.extension().and_then(|extension| extension.to_str())) {
            (Some(stem), Some("wasm")) => stem.to_owned(),
            (_, Some("cwasm")) => {
                found.precompiled.insert(path);
                continue;
            }
            _ => continue,
        };
        // A file that has just been taken away is no fault.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            continue;
        }
        let manifest = fs::metadata(manifest_path(&path))
            .ok()
            .map(|metadata| Stat::of(&metadata));
        let fingerprint = Fingerprint {
            wasm: Stat::of(&metadata),
            manifest,
        };
        let source = Source {
            stem: stem.clone(),
            fingerprint,
            folder: folder.to_owned(),
            path,
        };
        found.sources.insert(stem, source);
    }
    Ok(found)
}

impl Source {
    /// Reads, compiles and links it. The error comes with the names the plugin claims.
    pub(super) fn load(self, sandbox: &Sandbox) -> Result<Plugin, (PluginError, Vec<String>)> {
        let named = vec![self.stem.clone()];
        let read = self
            .stays_inside()
            .and_then(|()| read_plugin(&self.path, sandbox.limits()));
        let (bytes, manifest) = read.map_err(|err| {
            // However wrong the manifest, the jobs it names are this plugin's: they wait for it to be mended.
            let claimed = claimed(&self.path).unwrap_or_else(|| named.clone());
            (err, claimed)
        })?;
        let jobs = manifest.jobs.clone().unwrap_or(named);
        match sandbox.load(&self.stem, &bytes, &manifest) {
            Ok(handler) => Ok(Plugin {
                handler,
                retry: manifest.retry,
                jobs,
            }),
            Err(source) => Err((
                PluginError::Load {
                    path: self.path,
                    source,
                },
                jobs,
            )),
        }
    }

    /// Refuses a link out of the folder: whoever may write to it could have us read, and name in a log, any file of ours.
    /// Links within it are how volumes of configuration are replaced.
    fn stays_inside(&self) -> Result<(), PluginError> {
        let folder = self.folder.canonicalize().map_err(|source| PluginError::Read {
            path: self.folder.clone(),
            source,
        })?;
        for path in [self.path.clone(), manifest_path(&self.path)] {
            // What is not there is no link; that it is missing is told when it is read.
            if path.canonicalize().is_ok_and(|target| !target.starts_with(&folder)) {
                return Err(PluginError::Outside(path));
            }
        }
        Ok(())
    }
}

/// The jobs that a manifest names, whatever else is wrong with it.
fn claimed(wasm: &Path) -> Option<Vec<String>> {
    let text = read_manifest(&manifest_path(wasm)).ok()?;
    text.parse::<toml::Table>().ok()?.remove("jobs")?.try_into().ok()
}

/// Reads a plugin's file and its manifest, if there is one.
///
/// # Errors
/// When a file cannot be read or is too large, or the manifest is wrong.
pub fn read_plugin(path: &Path, host: &Limits) -> Result<(Vec<u8>, Manifest), PluginError> {
    let manifest = read_its_manifest(path)?;
    // That it wants too much is for the sandbox to say.
    let limits = host.with(&manifest.wishes()).unwrap_or_else(|_| host.clone());
    let limit = limits.get(Limit::PluginBytes);
    let bytes = read(path, limit).map_err(|source| PluginError::Read {
        path: path.to_owned(),
        source,
    })?;
    if bytes.len() as u64 > limit {
        let limit = ByteSize::b(limit);
        return Err(PluginError::Load {
            path: path.to_owned(),
            source: LoadError::TooLarge { limit },
        });
    }
    Ok((bytes, manifest))
}

fn read_its_manifest(wasm: &Path) -> Result<Manifest, PluginError> {
    let path = manifest_path(wasm);
    if path == wasm {
        // Somebody named the manifest; that it is no component is for the sandbox to say.
        return Ok(Manifest::default());
    }
    match read_manifest(&path) {
        Ok(text) => Manifest::parse(&text).map_err(|message| PluginError::Manifest { path, message }),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(Manifest::default()),
        Err(source) => Err(PluginError::Read { path, source }),
    }
}

fn read_manifest(path: &Path) -> io::Result<String> {
    let bytes = read(path, MAX_MANIFEST_BYTES)?;
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(io::Error::other("larger than a manifest may be: 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("not UTF-8 text"))
}

/// Reads a regular file, and at most one byte more than `max` of it: it may grow while it is read.
fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    // A pipe would have us wait for somebody to write to it.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn manifest_path(wasm: &Path) -> PathBuf {
    wasm.with_extension("toml")
}
