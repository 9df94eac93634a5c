//! What stays the same over all attempts of a loaded plugin.

use std::num::NonZeroU32;

use sha2::{Digest, Sha256};

use super::refusal::LoadError;
use crate::config::{Limit, Limits, Manifest, RetryPolicy, SandboxSettings};
use crate::sandbox::capabilities::{Granted, Grantee};

/// A plugin's name and content, and what its operator says about it.
pub(in crate::sandbox) struct Plugin {
    pub(in crate::sandbox) name: String,
    /// SHA-256 of its bytes, hexadecimal.
    pub(in crate::sandbox) digest: String,
    pub(in crate::sandbox) granted: Granted,
    /// What one attempt may take.
    pub(in crate::sandbox) limits: Limits,
    /// When its failed attempts are made again, and how many.
    pub(in crate::sandbox) retry: RetryPolicy,
    /// Attempts that one instance may serve.
    pub(in crate::sandbox) reuse: NonZeroU32,
}

impl Plugin {
    /// Looks up what its manifest names.
    pub(in crate::sandbox) fn new(
        name: &str,
        digest: String,
        manifest: &Manifest,
        settings: &SandboxSettings,
    ) -> Result<Self, LoadError> {
        let limits = settings.limits.with(&manifest.wishes())?;
        let grantee = Grantee {
            name,
            digest: &digest,
            limits: &limits,
        };
        Ok(Self {
            name: name.to_owned(),
            granted: Granted::read(&grantee, manifest, settings)?,
            digest,
            retry: RetryPolicy {
                max_attempts: limits.count(Limit::MaxAttempts),
                ..manifest.retry.clone()
            },
            limits,
            reuse: manifest.reuse.unwrap_or(NonZeroU32::MIN),
        })
    }

    /// The digest's first twelve digits: enough to tell versions apart in a log.
    pub(in crate::sandbox) fn short_digest(&self) -> &str {
        self.digest.get(..12).unwrap_or(&self.digest)
    }
}

/// The content digest of a plugin's bytes: SHA-256, hexadecimal.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
