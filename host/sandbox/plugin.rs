//! What stays the same over all attempts of a loaded plugin.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::config::{HttpGrant, LimitError, Limits, Manifest};

/// A plugin's name and content, and what its operator says about it.
pub(super) struct Plugin {
    pub(super) name: String,
    /// SHA-256 of its bytes, hexadecimal.
    pub(super) digest: String,
    pub(super) http: Vec<HttpGrant>,
    pub(super) env: Vec<(String, String)>,
    pub(super) config: BTreeMap<String, String>,
    /// What one attempt may take.
    pub(super) limits: Limits,
}

impl Plugin {
    pub(super) fn new(name: &str, bytes: &[u8], manifest: &Manifest, host: &Limits) -> Result<Self, LimitError> {
        Ok(Self {
            name: name.to_owned(),
            digest: digest(bytes),
            http: manifest.grants.http.clone(),
            env: manifest.grants.env.clone().into_iter().collect(),
            config: manifest.config.clone(),
            limits: host.with(&manifest.wishes())?,
        })
    }
}

/// The content digest of a plugin's bytes.
pub(super) fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
