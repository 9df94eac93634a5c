//! What stays the same over all attempts of a loaded plugin.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::refusal::LoadError;
use crate::config::{Cap, KeepLogs, Limit, Limits, Manifest, RetryPolicy, SandboxSettings};
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
    /// How long after it became available a job may still be run.
    pub(in crate::sandbox) expire: Option<Duration>,
    /// Of which of its attempts it is kept what the handler said.
    pub(in crate::sandbox) logs: Option<KeepLogs>,
    /// The limits on its jobs over all hosts.
    pub(in crate::sandbox) caps: Arc<[Cap]>,
    /// Attempts that one instance may serve.
    pub(in crate::sandbox) reuse: NonZeroU32,
    /// Nobody runs it any more.
    retired: AtomicBool,
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
            expire: manifest.expire,
            logs: manifest.logs,
            caps: manifest.caps.as_slice().into(),
            reuse: manifest.reuse.unwrap_or(NonZeroU32::MIN),
            retired: AtomicBool::new(false),
        })
    }

    /// Notes that nobody will run it any more.
    pub(in crate::sandbox) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Whether nobody will run it any more.
    pub(in crate::sandbox) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
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
