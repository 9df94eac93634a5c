//! What stays the same over all attempts of a loaded plugin.

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
use sha2::{Digest, Sha256};

use super::load::LoadError;
use super::secrets::Secrets;
use crate::config::{EgressLimits, Grants, Manifest, Resolver, SandboxSettings};

/// A plugin's name and content, and what its operator says about it.
pub(super) struct Plugin {
    pub(super) name: String,
    /// SHA-256 of its bytes, hexadecimal.
    pub(super) digest: String,
    pub(super) grants: Grants,
    pub(super) secrets: Secrets,
    /// What its HTTP requests may take, each attempt for itself.
    pub(super) egress: EgressLimits,
    pub(super) resolver: Resolver,
    /// The environment it sees: what is granted, and its secrets or their placeholders.
    pub(super) env: Vec<(String, String)>,
    pub(super) config: BTreeMap<String, String>,
    pub(super) max_memory: ByteSize,
    /// The most time an attempt may take, whatever its job asks for.
    pub(super) max_timeout: Duration,
}

impl Plugin {
    /// Looks the plugin's secrets up.
    pub(super) fn new(
        name: &str,
        bytes: &[u8],
        manifest: &Manifest,
        settings: &SandboxSettings,
    ) -> Result<Self, LoadError> {
        let secrets = Secrets::find(&manifest.grants, settings.secrets_dir.as_deref())?;
        let env = manifest
            .grants
            .env
            .clone()
            .into_iter()
            .chain(secrets.env.iter().cloned());
        let timeout = manifest.timeout.unwrap_or(settings.max_timeout);
        Ok(Self {
            name: name.to_owned(),
            digest: digest(bytes),
            grants: manifest.grants.clone(),
            env: env.collect(),
            secrets,
            egress: EgressLimits::default(),
            resolver: settings.resolver.clone(),
            config: manifest.config.clone(),
            max_memory: manifest.max_memory.unwrap_or(settings.max_memory),
            max_timeout: timeout.min(settings.max_timeout),
        })
    }
}

/// The content digest of a plugin's bytes.
pub(super) fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
