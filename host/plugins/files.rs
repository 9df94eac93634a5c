//! A plugin's two files, read within bounds.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use super::PluginError;
use crate::config::{Limit, Limits, MAX_MANIFEST_BYTES, Manifest};
use crate::file::read;
use crate::sandbox::{LoadError, digest, granted_lines};

/// What tells one content of a plugin's files from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    /// Digest of the component.
    pub(super) wasm: String,
    /// Digest of the manifest, if there is one.
    manifest: Option<String>,
}

/// What a plugin's files hold.
pub(super) struct Files {
    pub(super) bytes: Vec<u8>,
    pub(super) manifest: Result<Manifest, PluginError>,
    pub(super) content: Content,
}

impl Files {
    /// Reads both files. A wrong manifest is an error in the result, not of this call: the component was read all the
    /// same.
    pub(super) fn read(wasm: &Path, host: &Limits) -> Result<Self, PluginError> {
        let text = manifest_text(wasm)?;
        let manifest = parse(wasm, text.as_deref());
        // A manifest that asks for too much is refused by the sandbox, later.
        let wishes = manifest.as_ref().ok().map(Manifest::wishes).unwrap_or_default();
        let limits = host.with(&wishes).unwrap_or_else(|_| host.clone());
        let bytes = component(wasm, limits.get(Limit::PluginBytes))?;
        let content = Content {
            wasm: digest(&bytes),
            manifest: text.map(|text| digest(text.as_bytes())),
        };
        Ok(Self {
            bytes,
            manifest,
            content,
        })
    }
}

/// Reads a plugin's file and its manifest, if there is one.
///
/// # Errors
/// When a file cannot be read or is too large, or the manifest is wrong.
pub fn read_plugin(wasm: &Path, host: &Limits) -> Result<(Vec<u8>, Manifest), PluginError> {
    let files = Files::read(wasm, host)?;
    Ok((files.bytes, files.manifest?))
}

/// Reads the manifest that stands beside a plugin's file, which itself need not be there.
///
/// # Errors
/// When it cannot be read or is wrong.
pub fn read_manifest(wasm: &Path) -> Result<Manifest, PluginError> {
    parse(wasm, manifest_text(wasm)?.as_deref())
}

/// The jobs that a manifest names, whatever else is wrong with it.
pub(super) fn claimed(wasm: &Path) -> Option<Vec<String>> {
    let text = manifest_text(wasm).ok()??;
    text.parse::<toml::Table>().ok()?.remove("jobs")?.try_into().ok()
}

pub(super) fn manifest_path(wasm: &Path) -> PathBuf {
    wasm.with_extension("toml")
}

fn component(path: &Path, limit: u64) -> Result<Vec<u8>, PluginError> {
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
    Ok(bytes)
}

fn manifest_text(wasm: &Path) -> Result<Option<String>, PluginError> {
    let path = manifest_path(wasm);
    if path == wasm {
        // The path names the manifest itself. The sandbox will say that it is no component.
        return Ok(None);
    }
    let told = |source| PluginError::Read {
        path: path.clone(),
        source,
    };
    let bytes = match read(&path, MAX_MANIFEST_BYTES) {
        Ok(bytes) => bytes,
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(told(err)),
    };
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(told(io::Error::other("larger than a manifest may be: 1 MiB")));
    }
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|_| told(io::Error::other("not UTF-8 text")))
}

fn parse(wasm: &Path, text: Option<&str>) -> Result<Manifest, PluginError> {
    let Some(text) = text else {
        return Ok(Manifest::default());
    };
    let manifest = Manifest::parse(text);
    let checked = manifest.and_then(|manifest| granted_lines(&manifest.grants).map(|_| manifest));
    checked.map_err(|message| PluginError::Manifest {
        path: manifest_path(wasm),
        message,
    })
}
