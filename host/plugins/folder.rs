//! The plugin folder: which files are plugins, and what becomes of one that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::files::{Content, Files, claimed, manifest_path};
use super::{Plugin, PluginError};
use crate::config::{Grants, Manifest};
use crate::sandbox::{CompileStop, Handler, LoadError, Sandbox, granted_lines};
use crate::text::{self, is_hidden};

/// Grants of a plugin that operators are told of, and bytes of each: every host reports them every few seconds.
const MAX_GRANTS_TOLD: usize = 32;
const MAX_GRANT_BYTES: usize = 200;

/// Tells, without reading a file, whether it is most likely the one seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    wasm: Stat,
    manifest: Option<Stat>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    len: u64,
    /// When the file was last written to, and when anything about it last changed: the second cannot be set back by
    /// anybody.
    times: [(i64, i64); 2],
    /// Device and inode: a file renamed into place may have the length and the time of the one before.
    place: (u64, u64),
}

impl Stat {
    fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            times: [
                (metadata.mtime(), metadata.mtime_nsec()),
                (metadata.ctime(), metadata.ctime_nsec()),
            ],
            place: (metadata.dev(), metadata.ino()),
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
    /// Files whose names hold control or other hidden characters.
    pub(super) unnameable: usize,
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
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().contains(is_hidden))
        {
            // Its name would stand in logs and on terminals.
            found.unnameable += 1;
            continue;
        }
        let stem = match (stem, path.extension().and_then(|extension| extension.to_str())) {
            (Some(stem), Some("wasm")) => stem.to_owned(),
            (_, Some("cwasm")) => {
                found.precompiled.insert(path);
                continue;
            }
            _ => continue,
        };
        let metadata = match fs::metadata(&path) {
            // A file deleted since the folder was listed is no fault.
            Err(err) if err.kind() == ErrorKind::NotFound => continue,
            // A file that cannot be read gives its error when it is read. The other plugins load all the same.
            Err(_) => fs::symlink_metadata(&path),
            found => found,
        };
        let Ok(metadata) = metadata else { continue };
        if metadata.is_dir() {
            continue;
        }
        let manifest = fs::metadata(manifest_path(&path)).ok();
        let fingerprint = Fingerprint {
            wasm: Stat::of(&metadata),
            manifest: manifest.as_ref().map(Stat::of),
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

/// What a file came to when it was read.
pub(super) enum Loaded {
    /// Its content is what it was the last time.
    Same,
    /// A version that runs.
    Version(Box<Plugin>, Content),
    /// One that does not.
    Fault {
        why: PluginError,
        /// The job names it claims: they wait for it to be mended.
        jobs: Vec<String>,
        /// None where it could not be read.
        content: Option<Content>,
    },
}

impl Loaded {
    /// Whether compiling it was stopped, so that it is to be loaded again.
    pub(super) fn is_stopped(&self) -> bool {
        let Self::Fault { why, .. } = self else { return false };
        matches!(
            why,
            PluginError::Load {
                source: LoadError::Stopped,
                ..
            }
        )
    }
}

impl Source {
    /// The length of its file.
    pub(super) fn bytes(&self) -> u64 {
        self.fingerprint.wasm.len
    }

    /// Reads the file; compiles and links it, unless only its manifest is new. `good` is the last version that loaded,
    /// `last` the content when the file was last read.
    pub(super) fn load(
        &self,
        sandbox: &Sandbox,
        good: Option<&Plugin>,
        last: Option<&Content>,
        stop: &CompileStop,
    ) -> Loaded {
        let started = Instant::now();
        let read = self
            .stays_inside()
            .and_then(|()| Files::read(&self.path, sandbox.limits()));
        let files = match read {
            Ok(files) if last == Some(&files.content) => return Loaded::Same,
            Ok(files) => files,
            Err(why) => return self.fault(why, None),
        };
        let manifest = match files.manifest {
            Ok(manifest) => manifest,
            Err(why) => return self.fault(why, Some(files.content)),
        };
        let old = good.map(|good| &good.handler);
        let handler = match old.filter(|old| old.digest() == files.content.wasm) {
            Some(old) => sandbox.reconfigure(old, &manifest),
            None => sandbox.load_unless(stop, &self.stem, &files.bytes, &manifest),
        };
        match handler {
            Ok(handler) => {
                let plugin = self.version(handler, old, manifest, files.bytes.len(), started);
                Loaded::Version(Box::new(plugin), files.content)
            }
            Err(source) => {
                let path = self.path.clone();
                // A fault that may pass by itself is tried again, although the files stay as they are.
                let content = (!source.may_pass()).then_some(files.content);
                self.fault(PluginError::Load { path, source }, content)
            }
        }
    }

    fn version(
        &self,
        mut handler: Handler,
        old: Option<&Handler>,
        manifest: Manifest,
        len: usize,
        started: Instant,
    ) -> Plugin {
        if let Some(old) = old {
            handler.share_permits(old);
        }
        let jobs = manifest.jobs.unwrap_or_else(|| vec![self.stem.clone()]);
        let (schedules, load) = (manifest.schedules, started.elapsed());
        let mut plugin = Plugin::new(handler, jobs, schedules, manifest.version, len as u64, load);
        plugin.grants = told(&manifest.grants);
        plugin
    }

    /// The job names that the file claims, even if the rest of its manifest is wrong.
    pub(super) fn claims(&self) -> Vec<String> {
        let inside = self.stays_inside().is_ok();
        let claimed = inside.then(|| claimed(&self.path)).flatten();
        claimed.unwrap_or_else(|| vec![self.stem.clone()])
    }

    fn fault(&self, why: PluginError, content: Option<Content>) -> Loaded {
        let jobs = self.claims();
        Loaded::Fault { why, jobs, content }
    }

    /// Refuses a link out of the folder: anybody who can write to the folder could make us read any file of ours, and
    /// name it in a log. Links within the folder are how volumes of configuration are replaced.
    fn stays_inside(&self) -> Result<(), PluginError> {
        let folder = self.folder.canonicalize().map_err(|source| PluginError::Read {
            path: self.folder.clone(),
            source,
        })?;
        for path in [self.path.clone(), manifest_path(&self.path)] {
            // A file that is not there is no link. Reading it will say that it is missing.
            if path.canonicalize().is_ok_and(|target| !target.starts_with(&folder)) {
                return Err(PluginError::Outside(path));
            }
        }
        Ok(())
    }
}

/// What is granted, a line for each thing, for operators.
fn told(grants: &Grants) -> Vec<String> {
    // What is wrong with them has been told by whoever loaded the file.
    let lines = granted_lines(grants).unwrap_or_default();
    let lines = lines.into_iter().flat_map(|(capability, lines)| {
        let of = move |line: String| text::line(&format!("{capability}: {line}"), MAX_GRANT_BYTES).into_owned();
        lines.into_iter().map(of)
    });
    lines.take(MAX_GRANTS_TOLD).collect()
}
