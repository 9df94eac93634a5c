//! Who compiles plugins, and what compiling one may take.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

use super::{Limit, Limits};

/// How much longer than its CPU time a compilation may take by the clock: a busy machine gives it a tenth of a core.
pub const COMPILE_WAIT_FACTOR: u32 = 10;

/// The niceness of compilations that a worker starts: running jobs go first.
pub const COMPILE_NICENESS: i32 = 10;

/// The program that compiles plugins.
#[derive(Debug, Clone)]
pub struct Compiler {
    /// The program: the `kiln` command as a rule.
    pub program: PathBuf,
    /// What stands before the arguments that say what to compile, and how.
    pub args: Vec<OsString>,
    /// By how much it gives way to what else runs on the machine.
    pub niceness: i32,
}

/// What compiling one component may take.
#[derive(Debug, Clone, Copy)]
pub struct CompileLimits {
    /// CPU time of all its threads, in whole seconds.
    pub time: Duration,
    /// Memory it may write to.
    pub memory: ByteSize,
}

impl From<&Limits> for CompileLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            time: Duration::from_secs(limits.get(Limit::CompileTime).div_ceil(1000)),
            memory: ByteSize::b(limits.get(Limit::CompileMemory)),
        }
    }
}
