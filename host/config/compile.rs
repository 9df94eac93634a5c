//! Who compiles plugins, and what compiling one may take.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

/// CPU time that compiling one component may take. A JavaScript engine of 12.5 MB takes up to 26 s on a busy machine.
pub const MAX_COMPILE_TIME: Duration = Duration::from_mins(2);

/// Memory that compiling one component may take. A component of 1.3 MB takes less than 128 MiB.
pub const MAX_COMPILE_MEMORY: ByteSize = ByteSize::gib(4);

/// How much longer than its CPU time a compilation may take by the clock: a busy machine gives it a tenth of a core.
pub const COMPILE_WAIT_FACTOR: u32 = 10;

/// By how much compiling gives way to running jobs: its niceness.
pub const COMPILE_NICENESS: i32 = 10;

/// The program that compiles plugins, and the bounds it is given.
#[derive(Debug, Clone)]
pub struct Compiler {
    /// The program: the `kiln` command as a rule.
    pub program: PathBuf,
    /// What stands before the arguments that say what to compile, and how.
    pub args: Vec<OsString>,
    /// What it may take.
    pub limits: CompileLimits,
}

/// What compiling one component may take.
#[derive(Debug, Clone, Copy)]
pub struct CompileLimits {
    /// CPU time of all its threads, in whole seconds.
    pub time: Duration,
    /// Memory it may write to.
    pub memory: ByteSize,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            time: MAX_COMPILE_TIME,
            memory: MAX_COMPILE_MEMORY,
        }
    }
}
