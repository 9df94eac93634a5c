//! When a job has grown too old to run.

use std::time::Duration;

use jiff::Timestamp;

use super::{Expires, Job, Options};

/// In place of a time: the job runs, however old it is.
const NEVER: &str = "never";

impl Job {
    /// When the job has grown too old to run, by its own wish, or else so long after it became available. None: never, or
    /// the job does not say when it became available.
    #[must_use]
    pub fn expires(&self, wish: Option<Expires>, otherwise: Option<Duration>) -> Option<Timestamp> {
        if let Some(kept) = &self.expires_at {
            return kept.parse().ok();
        }
        match wish.or(otherwise.map(Expires::After))? {
            Expires::At(time) => Some(time),
            Expires::After(duration) => self.available_at()?.checked_add(duration).ok(),
        }
    }

    /// What the job asks of Kiln, and the first thing in it that is ignored.
    #[must_use]
    pub fn options(&self) -> (Options, Option<String>) {
        // Most metadata asks nothing of Kiln, and finding that out should cost little.
        let metadata = self
            .metadata
            .as_deref()
            .filter(|metadata| metadata.get().contains("kiln"));
        Options::read(metadata)
    }

    /// Writes down when the job expires, before its `available_at` changes: an attempt that fails, or a wait, makes no job
    /// younger.
    pub(crate) fn keep_expiry(&mut self, otherwise: Option<Duration>) {
        if self.expires_at.is_none() {
            let expires = self.expires(self.options().0.expires, otherwise);
            self.expires_at = expires.map(|time| time.to_string());
        }
    }

    /// Lets a job that an operator puts back run: its time begins anew, and one that was to expire at a certain time never
    /// does.
    pub(super) fn renew_expiry(&mut self) {
        let is_at_a_time = matches!(self.options().0.expires, Some(Expires::At(_)));
        self.expires_at = is_at_a_time.then(|| NEVER.to_owned());
    }
}
