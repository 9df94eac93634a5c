//! What stays the same over all attempts of a loaded plugin.

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
use sha2::{Digest, Sha256};

use crate::config::{HttpGrant, Manifest, SandboxSettings};

/// A plugin's name and content, and what its operator says about it.
pub(super) struct Plugin {
    pub(super) name: String,
    /// SHA-256 of its bytes, hexadecimal.
    pub(super) digest: String,
    pub(super) http: Vec<HttpGrant>,
    pub(super) env: Vec<(String, String)>,
    pub(super) config: BTreeMap<String, String>,
    pub(super) max_memory: ByteSize,
    /// The most time an attempt may take, whatever its job asks for.
    pub(super) max_timeout: Duration,
}

impl Plugin {
    pub(super) fn new(name: &str, bytes: &[u8], manifest: &Manifest, settings: &SandboxSettings) -> Self {
        let timeout = manifest.timeout.unwrap_or(settings.max_timeout);
        Self {
            name: name.to_owned(),
            digest: digest(bytes),
            http: manifest.grants.http.clone(),
            env: manifest.grants.env.clone().into_iter().collect(),
            config: manifest.config.clone(),
            max_memory: manifest.max_memory.unwrap_or(settings.max_memory),
            max_timeout: timeout.min(settings.max_timeout),
        }
    }
}

/// The content digest of a plugin's bytes.
pub(super) fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
