//! The values that limits have: of a host, or of one of its plugins.
//!
//! All are on by default. An operator sets them for a host; a plugin's manifest lowers them, or raises them as far as the
//! host's ceiling.

use std::fmt;
use std::time::Duration;

use super::{LIMITS, Limit, LimitWishes, Scope};

/// A limit in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// How much, in its limit's unit.
    pub value: u64,
    /// How far a manifest may raise it.
    pub ceiling: u64,
    /// Who set the value.
    pub source: Source,
}

/// Where the value of a limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nobody said otherwise.
    Default,
    /// What this machine has.
    Machine,
    /// The operator, for the whole host.
    Host,
    /// The operator, for one plugin.
    Manifest,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Default => "default",
            Self::Machine => "machine",
            Self::Host => "host",
            Self::Manifest => "manifest",
        })
    }
}

/// A manifest asks for more than its host allows, or sets a limit that only the host can set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// More than the ceiling.
    #[error("{limit} = {}: this host allows up to {}; start it with --limit {limit}={}..{}", .limit.show(*.wanted), .limit.show(.bound.ceiling), .limit.flag(.bound.value), .limit.flag(*.wanted))]
    Ceiling {
        /// Which.
        limit: Limit,
        /// What the manifest says.
        wanted: u64,
        /// What the host says.
        bound: Bound,
    },
    /// One value for all plugins.
    #[error("{0} is one for all plugins; set it for the host, with --limit {0}=…")]
    Host(Limit),
}

/// Every limit's value: of a host, or of one of its plugins.
#[derive(Debug, Clone)]
pub struct Limits([Bound; Limit::COUNT]);

impl Default for Limits {
    fn default() -> Self {
        Self(LIMITS.map(|spec| Bound {
            value: spec.default,
            ceiling: spec.ceiling,
            source: Source::Default,
        }))
    }
}

impl Limits {
    /// The limit in force.
    #[must_use]
    pub fn bound(&self, limit: Limit) -> Bound {
        self.0[limit as usize]
    }

    /// Its value, in its unit.
    #[must_use]
    pub fn get(&self, limit: Limit) -> u64 {
        self.bound(limit).value
    }

    /// Its value as a size or number in memory.
    #[must_use]
    pub fn size(&self, limit: Limit) -> usize {
        self.get(limit).try_into().unwrap_or(usize::MAX)
    }

    /// Its value as a small number.
    #[must_use]
    pub fn count(&self, limit: Limit) -> u32 {
        self.get(limit).try_into().unwrap_or(u32::MAX)
    }

    /// Its value as a time.
    #[must_use]
    pub fn time(&self, limit: Limit) -> Duration {
        Duration::from_millis(self.get(limit))
    }

    /// Sets it for the host, with a ceiling for manifests that is at least the value.
    pub fn set(&mut self, limit: Limit, value: u64, ceiling: u64, source: Source) {
        let ceiling = ceiling.max(value);
        self.0[limit as usize] = Bound { value, ceiling, source };
    }

    /// These limits with what a manifest wants in their place.
    ///
    /// # Errors
    /// When it wants more than the host allows.
    pub fn with(&self, wishes: &LimitWishes) -> Result<Self, LimitError> {
        let mut limits = self.clone();
        for (limit, wanted) in wishes.iter() {
            let bound = self.bound(limit);
            if limit.spec().scope == Scope::Host {
                return Err(LimitError::Host(limit));
            }
            if wanted > bound.ceiling {
                return Err(LimitError::Ceiling { limit, wanted, bound });
            }
            limits.set(limit, wanted, bound.ceiling, Source::Manifest);
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_lowers_a_limit_or_raises_it_as_far_as_the_host_allows() {
        let mut host = Limits::default();
        host.set(Limit::HttpRequests, 10, 20, Source::Host);
        let wish = |limit, value| {
            let mut wishes = LimitWishes::default();
            wishes.add(limit, value);
            host.with(&wishes)
        };
        assert_eq!(
            wish(Limit::HttpRequests, 20).map(|limits| limits.get(Limit::HttpRequests)),
            Ok(20)
        );
        assert_eq!(
            wish(Limit::HttpRequests, 0).map(|limits| limits.bound(Limit::HttpRequests).source),
            Ok(Source::Manifest)
        );
        assert_eq!(
            wish(Limit::HttpRequests, 21).unwrap_err().to_string(),
            "http_requests = 21: this host allows up to 20; start it with --limit http_requests=10..21"
        );
        assert_eq!(
            wish(Limit::CompileTime, 2 * 3_600_000).unwrap_err().to_string(),
            "compile_time = 2h: this host allows up to 1h; start it with --limit compile_time=2m..2h"
        );
        assert_eq!(wish(Limit::Stack, 1).unwrap_err(), LimitError::Host(Limit::Stack));
    }
}
