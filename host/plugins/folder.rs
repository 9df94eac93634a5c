//! The plugin folder: which files are plugins, and how one is read.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Plugin, PluginError};
use crate::config::{MAX_PLUGIN_BYTES, Manifest};
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
    path: PathBuf,
}

/// Finds the plugins of a folder, by stem: its `*.wasm` files, not those of folders within it.
pub(super) fn scan(folder: &Path) -> Result<BTreeMap<String, Source>, PluginError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PluginError::Read { path, source }
    };
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let (Some(stem), Some("wasm")) = (stem, path.extension().and_then(|extension| extension.to_str())) else {
            continue;
        };
        // A file that has just been taken away is no fault.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if !metadata.is_file() {
            continue;
        }
        let stem = stem.to_owned();
        let manifest = fs::metadata(manifest_path(&path))
            .ok()
            .map(|metadata| Stat::of(&metadata));
        let fingerprint = Fingerprint {
            wasm: Stat::of(&metadata),
            manifest,
        };
        found.insert(
            stem.clone(),
            Source {
                stem,
                fingerprint,
                path,
            },
        );
    }
    Ok(found)
}

impl Source {
    /// Reads, compiles and links it. The error comes with the names the plugin claims.
    pub(super) fn load(self, sandbox: &Sandbox) -> Result<Plugin, (PluginError, Vec<String>)> {
        let named = vec![self.stem.clone()];
        let (bytes, manifest) = read_plugin(&self.path).map_err(|err| {
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
}

/// The jobs that a manifest names, whatever else is wrong with it.
fn claimed(wasm: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(manifest_path(wasm)).ok()?;
    text.parse::<toml::Table>().ok()?.remove("jobs")?.try_into().ok()
}

/// Reads a plugin's file and its manifest, if there is one.
///
/// # Errors
/// When a file cannot be read, the plugin is too large, or the manifest is wrong.
pub fn read_plugin(path: &Path) -> Result<(Vec<u8>, Manifest), PluginError> {
    let read = |source| PluginError::Read {
        path: path.to_owned(),
        source,
    };
    let len = fs::metadata(path).map_err(read)?.len();
    if len > MAX_PLUGIN_BYTES {
        return Err(PluginError::Load {
            path: path.to_owned(),
            source: LoadError::TooLarge { len },
        });
    }
    let bytes = fs::read(path).map_err(read)?;
    let manifest_path = manifest_path(path);
    if manifest_path == path {
        // Somebody named the manifest; that it is no component is for the sandbox to say.
        return Ok((bytes, Manifest::default()));
    }
    let manifest = match fs::read_to_string(&manifest_path) {
        Ok(text) => Manifest::parse(&text).map_err(|message| PluginError::Manifest {
            message,
            path: manifest_path,
        })?,
        Err(err) if err.kind() == ErrorKind::NotFound => Manifest::default(),
        Err(source) => {
            return Err(PluginError::Read {
                path: manifest_path,
                source,
            });
        }
    };
    Ok((bytes, manifest))
}

fn manifest_path(wasm: &Path) -> PathBuf {
    wasm.with_extension("toml")
}
