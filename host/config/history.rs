//! What is kept of attempts once they are over.

use std::num::NonZeroU32;
use std::str::FromStr;

use serde::Deserialize;

/// Which attempts are kept of a job's history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeepAttempts {
    /// None, and nothing of what handlers say.
    Off,
    /// Those that failed.
    #[default]
    Failures,
    /// Those that failed, and of one job in so many all.
    OneIn(NonZeroU32),
    /// All.
    All,
}

/// Of which attempts the lines are kept that their handlers log, and the end of their output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeepLogs {
    /// Of none.
    Off,
    /// Of those that failed.
    #[default]
    Failures,
    /// Of all; and of one that runs for long, while it runs.
    All,
}

/// What a host keeps of attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistorySettings {
    /// Which attempts.
    pub attempts: KeepAttempts,
    /// Of which of them what their handlers say, unless their plugin's manifest says otherwise.
    pub logs: KeepLogs,
}

impl KeepAttempts {
    /// Whether an attempt at the job with this id is kept. Of one job it is all or, beside failures, none.
    #[must_use]
    pub fn keeps(self, id: &str, failed: bool) -> bool {
        match self {
            Self::Off => false,
            Self::Failures => failed,
            Self::OneIn(jobs) => failed || hash(id).is_multiple_of(u64::from(jobs.get())),
            Self::All => true,
        }
    }
}

impl KeepLogs {
    /// Whether what the handler of an attempt says is kept.
    #[must_use]
    pub const fn keeps(self, failed: bool) -> bool {
        match self {
            Self::Off => false,
            Self::Failures => failed,
            Self::All => true,
        }
    }
}

/// FNV-1a: the same on every host and in every version.
fn hash(id: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    // The low bits of FNV are weak: the high ones are folded onto them.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
    hash ^ (hash >> 32)
}

impl FromStr for KeepAttempts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?}: there are off, failures, all, and a share like 1/1000");
        Ok(match text {
            "off" => Self::Off,
            "failures" => Self::Failures,
            "all" => Self::All,
            share => {
                let jobs = share.strip_prefix("1/").and_then(|jobs| jobs.parse().ok());
                Self::OneIn(jobs.ok_or_else(wrong)?)
            }
        })
    }
}

impl FromStr for KeepLogs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "off" => Self::Off,
            "failures" => Self::Failures,
            "all" => Self::All,
            _ => return Err(format!("{text:?}: there are off, failures and all")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_keeps_every_failure_and_about_that_many_other_jobs_whole() {
        let share: KeepAttempts = "1/100".parse().unwrap();
        let kept = (0..100_000).filter(|n| share.keeps(&format!("id-{n}"), false)).count();
        assert!((800..1_200).contains(&kept), "{kept}");
        assert!((0..100).all(|n| share.keeps(&n.to_string(), true)));
        assert!((0..1_000).all(|n| share.keeps(&n.to_string(), false) == share.keeps(&n.to_string(), false)));
    }

    #[test]
    fn what_is_kept_is_named_in_one_word_or_as_a_share() {
        for (text, keep, failed, other) in [
            ("off", KeepAttempts::Off, false, false),
            ("failures", KeepAttempts::Failures, true, false),
            ("all", KeepAttempts::All, true, true),
        ] {
            assert_eq!(text.parse(), Ok(keep));
            assert_eq!(
                (keep.keeps("7", true), keep.keeps("7", false)),
                (failed, other),
                "{text}"
            );
        }
        for text in ["1/0", "2/3", "0.5", "1/-1", "All", ""] {
            text.parse::<KeepAttempts>().unwrap_err();
        }
        assert!("some".parse::<KeepLogs>().is_err());
    }
}
