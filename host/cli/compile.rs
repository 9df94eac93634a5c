//! `kiln compile`: what the other commands start to have a plugin compiled within bounds. Not for people.

use std::io::{Write as _, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

use super::tell;
use crate::config::CompileLimits;
use crate::sandbox::{CompileOrder, Compiled, compile as compile_component};

/// Compile the component on standard input into the cache
#[derive(Debug, Args)]
pub(super) struct CompileArgs {
    /// The cache
    #[arg(long, value_name = "DIR")]
    cache_dir: PathBuf,
    /// Seconds of CPU time it may take
    #[arg(long, value_name = "SECONDS")]
    max_time: u64,
    /// Bytes of memory it may take
    #[arg(long, value_name = "BYTES")]
    max_memory: u64,
    /// Compile for memories that come from no pool
    #[arg(long)]
    unpooled: bool,
}

/// Runs before any thread is started: what bounds this process is to bound all of them.
pub(super) fn compile(args: CompileArgs) -> ExitCode {
    let order = CompileOrder {
        cache_dir: args.cache_dir,
        limits: CompileLimits {
            time: Duration::from_secs(args.max_time),
            memory: ByteSize::b(args.max_memory),
        },
        pooled: !args.unpooled,
    };
    match compile_component(&order, stdin().lock()) {
        Ok(compiled) => {
            if let Compiled::Invalid(why) = &compiled {
                // The exit code says the most of it.
                writeln!(stdout(), "{why}").ok();
            }
            compiled.exit_code().into()
        }
        Err(err) => {
            tell(&format!("cannot bound itself: {err}"));
            ExitCode::FAILURE
        }
    }
}
