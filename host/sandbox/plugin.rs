//! What stays the same over all attempts of a loaded plugin.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::refusal::LoadError;
use super::secrets::Secrets;
use crate::config::{
    EgressLimits, Grants, Limit, Limits, MAX_LOOKUPS_OF_PLUGIN, Manifest, Resolver, RetryPolicy, SandboxSettings,
};

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
    /// Permits for its look-ups of names.
    pub(super) lookups: Arc<Semaphore>,
    /// The environment it sees: what is granted, and its secrets or their placeholders.
    pub(super) env: Vec<(String, String)>,
    pub(super) config: BTreeMap<String, String>,
    /// What one attempt may take.
    pub(super) limits: Limits,
    /// When its failed attempts are made again, and how many.
    pub(super) retry: RetryPolicy,
    /// Attempts that one instance may serve.
    pub(super) reuse: NonZeroU32,
}

impl Plugin {
    /// Looks the plugin's secrets up.
    pub(super) fn new(
        name: &str,
        digest: String,
        manifest: &Manifest,
        settings: &SandboxSettings,
    ) -> Result<Self, LoadError> {
        let limits = settings.limits.with(&manifest.wishes())?;
        let secrets = Secrets::find(&manifest.grants, settings.secrets_dir.as_deref())?;
        let granted = manifest.grants.env.clone().into_iter();
        let env = granted.chain(secrets.env.iter().cloned());
        Ok(Self {
            name: name.to_owned(),
            digest,
            grants: manifest.grants.clone(),
            env: env.collect(),
            secrets,
            egress: EgressLimits::from(&limits),
            resolver: settings.resolver.clone(),
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS_OF_PLUGIN)),
            config: manifest.config.clone(),
            retry: RetryPolicy {
                max_attempts: limits.count(Limit::MaxAttempts),
                ..manifest.retry.clone()
            },
            limits,
            reuse: manifest.reuse.unwrap_or(NonZeroU32::MIN),
        })
    }
}

impl Plugin {
    /// The digest's first twelve digits: enough to tell versions apart in a log.
    pub(super) fn short_digest(&self) -> &str {
        self.digest.get(..12).unwrap_or(&self.digest)
    }
}

/// The content digest of a plugin's bytes: SHA-256, hexadecimal.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
