//! `kiln compile`: what the other commands start to have a plugin compiled within bounds. Not for people.

use std::io::{Write as _, stdin, stdout};
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

use super::tell;
use crate::config::CompileLimits;
use crate::sandbox::{CompileOrder, Compiled, compile as compile_component};

/// Compile the component on standard input, and write its code to standard output
#[derive(Debug, Args)]
pub(super) struct CompileArgs {
    /// Seconds of CPU time it may take
    #[arg(long, value_name = "SECONDS")]
    max_time: u64,
    /// Bytes of memory it may take
    #[arg(long, value_name = "BYTES")]
    max_memory: u64,
    /// Compile for memories that come from no pool
    #[arg(long)]
    unpooled: bool,
    /// By how much it gives way to what else runs on the machine
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..20))]
    niceness: i32,
}

/// Call it before any thread is started, so that its bounds hold for all of them.
pub(super) fn compile(args: &CompileArgs) -> ExitCode {
    let order = CompileOrder {
        limits: CompileLimits {
            time: Duration::from_secs(args.max_time),
            memory: ByteSize::b(args.max_memory),
        },
        pooled: !args.unpooled,
        niceness: args.niceness,
    };
    match compile_component(&order, stdin().lock()) {
        Ok(compiled) => {
            let written = match &compiled {
                Compiled::Done(code) => stdout().write_all(code).and_then(|()| stdout().flush()),
                // The exit code says most of it.
                Compiled::Invalid(why) => writeln!(stdout(), "{why}").or(Ok(())),
                Compiled::OutOfMemory => Ok(()),
            };
            match written {
                Ok(()) => compiled.exit_code().into(),
                Err(err) => {
                    tell(&format!("cannot hand over the code: {err}"));
                    ExitCode::FAILURE
                }
            }
        }
        Err(err) => {
            tell(&format!("cannot bound itself: {err}"));
            ExitCode::FAILURE
        }
    }
}
