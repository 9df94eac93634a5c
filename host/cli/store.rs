//! The flags that say which store, shared by every command that needs one.

use clap::Args;

use super::Usage;
use crate::config::parse_duration;
use crate::queue::{PREFIX_DEFAULT, QueueName, Store, StoreSettings};

#[derive(Debug, Args)]
#[command(next_help_heading = "Store")]
pub(super) struct StoreArgs {
    #[arg(
        long,
        env = "KILN_STORE",
        default_value = "redis://127.0.0.1:6379",
        value_name = "URL",
        help = "Where the jobs are: redis://[user:password@]host[:port][/database], or memory: for this process alone"
    )]
    store: String,
    /// What every Redis key starts with
    #[arg(long, env = "KILN_PREFIX", default_value = PREFIX_DEFAULT)]
    prefix: String,
}

impl StoreArgs {
    /// The store, which has to be one that outlives this command.
    pub(super) async fn open(&self) -> anyhow::Result<Store> {
        if self.store == "memory:" {
            let why = "a store in memory would end with this command; only kiln worker can use one, with --jobs";
            return Err(Usage(why.to_owned()).into());
        }
        Ok(Store::open(&self.settings()).await?)
    }

    pub(super) fn settings(&self) -> StoreSettings {
        StoreSettings {
            prefix: self.prefix.clone(),
            ..StoreSettings::new(&self.store)
        }
    }
}

/// A `value_parser` for durations.
pub(super) fn duration(text: &str) -> Result<std::time::Duration, String> {
    parse_duration(text)
}

/// A `value_parser` for durations that must not be zero.
pub(super) fn positive_duration(text: &str) -> Result<std::time::Duration, String> {
    let value = duration(text)?;
    if value.is_zero() {
        Err("must be more than 0".to_owned())
    } else {
        Ok(value)
    }
}

/// A `value_parser` for queue names.
pub(super) fn queue_name(text: &str) -> Result<QueueName, String> {
    QueueName::new(text)
}
