//! The sandbox as the commands set it up.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytesize::ByteSize;
use clap::Args;
use directories::ProjectDirs;
use tokio::runtime::Handle;

use super::store::positive_duration;
use crate::config::{MAX_MEMORY_DEFAULT, SandboxSettings};
use crate::sandbox::{Sandbox, SandboxError};

#[derive(Debug, Args)]
#[command(next_help_heading = "Sandbox")]
pub(super) struct SandboxArgs {
    /// The most time any attempt may take, whatever its job asks for
    #[arg(long, env = "KILN_MAX_TIMEOUT", default_value = "1h", value_parser = positive_duration, value_name = "DURATION")]
    max_timeout: std::time::Duration,
    /// The memory an attempt may have where its plugin's manifest names none [default: 128MiB]
    #[arg(long, env = "KILN_MAX_MEMORY", value_name = "SIZE")]
    max_memory: Option<ByteSize>,
    /// Where compiled plugins are kept between starts [default: the user's cache folder]
    #[arg(long, env = "KILN_CACHE_DIR", value_name = "DIR")]
    cache_dir: Option<std::path::PathBuf>,
    /// Where the secrets granted to plugins are that the environment does not hold as `KILN_SECRET_NAME`: a file for each,
    /// after its name
    #[arg(long, env = "KILN_SECRETS", value_name = "DIR")]
    secrets: Option<std::path::PathBuf>,
}

impl SandboxArgs {
    /// A sandbox for this many attempts at once.
    pub(super) fn open(self, concurrency: NonZeroU32) -> Result<Arc<Sandbox>, SandboxError> {
        let users = || ProjectDirs::from("", "", "kiln").map(|dirs| dirs.cache_dir().to_owned());
        let settings = SandboxSettings {
            cache_dir: self.cache_dir.or_else(users),
            max_timeout: self.max_timeout,
            max_memory: self.max_memory.unwrap_or(MAX_MEMORY_DEFAULT),
            secrets_dir: self.secrets,
            ..SandboxSettings::new(concurrency)
        };
        Ok(Arc::new(Sandbox::new(&settings, &Handle::current())?))
    }
}
