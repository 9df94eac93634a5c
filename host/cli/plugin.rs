//! The sandbox as the commands set it up.

use std::io;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use directories::ProjectDirs;
use tokio::runtime::Handle;

use super::store::positive_duration;
use crate::config::{
    CompileLimits, Compiler, MAX_COMPILE_MEMORY, MAX_COMPILE_TIME, MAX_MEMORY_DEFAULT, SandboxSettings,
};
use crate::sandbox::{Sandbox, SandboxError};

#[derive(Debug, Args)]
#[command(next_help_heading = "Sandbox")]
pub(super) struct SandboxArgs {
    /// The most time any attempt may take, whatever its job asks for
    #[arg(long, env = "KILN_MAX_TIMEOUT", default_value = "1h", value_parser = positive_duration, value_name = "DURATION")]
    max_timeout: Duration,
    /// The memory an attempt may have where its plugin's manifest names none [default: 128MiB]
    #[arg(long, env = "KILN_MAX_MEMORY", value_name = "SIZE")]
    max_memory: Option<ByteSize>,
    /// Where compiled plugins are kept between starts [default: the user's cache folder]
    #[arg(long, env = "KILN_CACHE_DIR", value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// CPU time that compiling a plugin may take, in whole seconds [default: 2m]
    #[arg(long, env = "KILN_MAX_COMPILE_TIME", value_parser = positive_duration, value_name = "DURATION")]
    max_compile_time: Option<Duration>,
    /// The memory that compiling a plugin may take [default: 4GiB]
    #[arg(long, env = "KILN_MAX_COMPILE_MEMORY", value_name = "SIZE")]
    max_compile_memory: Option<ByteSize>,
}

impl SandboxArgs {
    /// A sandbox for this many attempts at once.
    pub(super) fn open(self, concurrency: NonZeroU32) -> Result<Arc<Sandbox>, SandboxError> {
        let compiler = Compiler {
            program: this_program().map_err(SandboxError::Compiler)?,
            args: vec!["compile".into()],
            limits: CompileLimits {
                time: self.max_compile_time.unwrap_or(MAX_COMPILE_TIME),
                memory: self.max_compile_memory.unwrap_or(MAX_COMPILE_MEMORY),
            },
        };
        let users = || ProjectDirs::from("", "", "kiln").map(|dirs| dirs.cache_dir().to_owned());
        let settings = SandboxSettings {
            cache_dir: self.cache_dir.or_else(users),
            compiler: Some(compiler),
            max_timeout: self.max_timeout,
            max_memory: self.max_memory.unwrap_or(MAX_MEMORY_DEFAULT),
            ..SandboxSettings::new(concurrency)
        };
        Ok(Arc::new(Sandbox::new(&settings, &Handle::current())?))
    }
}

/// The file that this process runs, even where another has taken its place since: the two might compile differently.
fn this_program() -> io::Result<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() {
        Ok(running)
    } else {
        std::env::current_exe()
    }
}
