//! How much there may be of an attempt's folders and files, and what of it there is.

use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use super::tree::Refusal;
use crate::config::{Limit, Limits};
use crate::sandbox::run::memory::Account;

/// Bytes that a tree takes, within its limits.
pub(super) struct Quota {
    bytes: usize,
    max_bytes: usize,
    max_files: usize,
    /// What the attempt is charged for it.
    account: Account,
}

impl Quota {
    pub(super) fn new(limits: &Limits, account: Account) -> Self {
        Self {
            bytes: 0,
            max_bytes: limits.size(Limit::TmpBytes),
            max_files: limits.size(Limit::TmpFiles),
            account,
        }
    }

    /// Checks that there may be so many folders and files.
    pub(super) fn allow(&self, files: usize) -> Result<(), ErrorCode> {
        if files > self.max_files {
            return Err(ErrorCode::InsufficientSpace);
        }
        Ok(())
    }

    /// Counts more bytes, and charges the attempt for them.
    pub(super) fn reserve(&mut self, bytes: usize) -> Result<(), Refusal> {
        let sum = self.bytes.saturating_add(bytes);
        if sum > self.max_bytes {
            return Err(ErrorCode::InsufficientSpace.into());
        }
        self.account.hold_files(sum)?;
        self.bytes = sum;
        Ok(())
    }

    pub(super) fn release(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        // Less always fits.
        let _ = self.account.hold_files(self.bytes);
    }

    pub(super) fn release_all(&mut self) {
        self.release(self.bytes);
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
