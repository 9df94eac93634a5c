//! Compiles one component: what `kiln compile` does, in a process of its own and within bounds.
//!
//! The process bounds itself before it reads a byte, so that the one that started it only has to wait. A component can take
//! time and memory here, or meet a fault of the compiler. It does not run.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use wasmtime::OutOfMemory;

use super::refusal::causes;
use crate::config::{COMPILE_WAIT_FACTOR, CompileLimits};

/// How the compiling process says that the component is wrong; its standard output says how.
pub(in crate::sandbox) const EXIT_INVALID: u8 = 65;

/// How it says that memory ran out, where it notices. As a rule it is aborted instead.
pub(in crate::sandbox) const EXIT_MEMORY: u8 = 66;

/// How it says that it took too long by the clock.
pub(in crate::sandbox) const EXIT_LATE: u8 = 67;

/// CPU time between the signal that tells the process of its end, and the one that ends it.
const CPU_GRACE: Duration = Duration::from_secs(5);

/// How a component is compiled.
#[derive(Debug)]
pub struct CompileOrder {
    /// What it may take.
    pub limits: CompileLimits,
    /// Whether memories will come from a pool: their layout is part of the code.
    pub pooled: bool,
    /// By how much the process gives way to others.
    pub niceness: i32,
}

/// How it went.
#[derive(Debug, PartialEq, Eq)]
pub enum Compiled {
    /// The component compiles, to this code.
    Done(Vec<u8>),
    /// The component is wrong. Says how.
    Invalid(String),
    /// It takes more memory than it may.
    OutOfMemory,
}

impl Compiled {
    /// The exit code that says so to the process that waits.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Done(_) => 0,
            Self::Invalid(_) => EXIT_INVALID,
            Self::OutOfMemory => EXIT_MEMORY,
        }
    }
}

/// Bounds this process and compiles what `source` holds. To be called once, before any other thread is started.
///
/// # Errors
/// When the process cannot be bounded or the source not be read.
pub fn compile(order: &CompileOrder, mut source: impl Read) -> io::Result<Compiled> {
    bound(&order.limits)?;
    // Threads inherit it. It only helps others, so a failure is no error.
    nice(order.niceness).ok();
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes)?;
    let compiled =
        crate::sandbox::engine::compiling(order.pooled).and_then(|engine| engine.precompile_component(&bytes));
    Ok(compiled.map_or_else(|err| refused(&err), Compiled::Done))
}

fn refused(err: &wasmtime::Error) -> Compiled {
    let no_memory = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<OutOfMemory>()
            || cause.downcast_ref() == Some(&Errno::NOMEM)
            || cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) == Some(Errno::NOMEM.raw_os_error())
    };
    if err.chain().any(no_memory) {
        Compiled::OutOfMemory
    } else {
        Compiled::Invalid(causes(err))
    }
}

/// Bounds what this process may take from now on.
fn bound(limits: &CompileLimits) -> io::Result<()> {
    let seconds = limits.time.as_secs().max(1);
    limit(Resource::Cpu, seconds, CPU_GRACE.as_secs())?;
    // Not the address space: of that the engine reserves much more than it uses.
    limit(Resource::Data, limits.memory.as_u64(), 0)?;
    // What is compiled may be secret, and a dump of it large.
    limit(Resource::Core, 0, 0)?;
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let longest = limits.time.saturating_mul(COMPILE_WAIT_FACTOR);
    thread::Builder::new().spawn(move || {
        thread::sleep(longest);
        std::process::exit(EXIT_LATE.into());
    })?;
    Ok(())
}

/// Lowers a resource's limits: the soft one to `wanted`, beyond which the process gets a signal, and the hard one to
/// `grace` more, where it ends.
fn limit(resource: Resource, wanted: u64, grace: u64) -> io::Result<()> {
    let ceiling = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit {
        current: Some(wanted.min(ceiling)),
        maximum: Some(wanted.saturating_add(grace).min(ceiling)),
    };
    Ok(setrlimit(resource, limit)?)
}
