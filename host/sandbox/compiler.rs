//! Has unknown bytes compiled by another process, so that all that they can bring down is that one.
//!
//! The other process leaves the code in the cache, where this one finds it. That bytes compile within bounds is noted
//! beside it, in a place that the cache's own housekeeping treats like an entry: a start with a hundred plugins starts
//! no process, and where an entry was thrown out, this process compiles bytes that are known to compile within bounds.
//!
//! Absent on purpose: a time-out and a kill. The other process bounds itself, and ends with this one.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use rustix::process::Signal;
use wasmtime::Engine;

use super::cache::{Opened, Scratch};
use super::compile::{EXIT_INVALID, EXIT_LATE, EXIT_MEMORY};
use super::refusal::{LoadError, reason};
use crate::config::{COMPILE_WAIT_FACTOR, CompileLimits, Compiler};

/// Bytes that are read of each of the compiler's outputs: it writes lines, not texts.
const MAX_SAID_BYTES: u64 = 64 * 1024;

/// Compiles components into a cache, by way of another process.
pub(super) struct Outside {
    compiler: Compiler,
    cache_dir: PathBuf,
    /// Where it is noted which bytes compile within bounds.
    notes: PathBuf,
    pooled: bool,
    /// The cache, where there is no lasting one. Removed when this is dropped.
    _scratch: Option<Scratch>,
}

impl Outside {
    /// For an engine with this cache.
    pub(super) fn new(compiler: Compiler, cache: Opened, engine: &Engine, pooled: bool) -> Self {
        let mut environment = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut environment);
        Self {
            compiler,
            notes: cache
                .ruled
                .join("within-bounds")
                .join(format!("{:016x}", environment.finish())),
            cache_dir: cache.dir,
            pooled,
            _scratch: cache.scratch,
        }
    }

    /// Sees to it that bytes with this digest are known to compile within bounds, and as a rule are in the cache.
    pub(super) fn compile(&self, bytes: &[u8], digest: &str, limits: &CompileLimits) -> Result<(), LoadError> {
        let note = self.notes.join(digest);
        if note.is_file() {
            return Ok(());
        }
        let child = self
            .start(limits)
            .map_err(|err| LoadError::Compiler(format!("does not start: {err}")))?;
        end_of(child, bytes, limits)?;
        // Without the note, the next load costs a process; no more.
        let noted = std::fs::create_dir_all(&self.notes).and_then(|()| std::fs::write(&note, ""));
        noted.unwrap_or_else(|err| tracing::debug!(note = %note.display(), %err, "cannot note what compiles"));
        Ok(())
    }

    fn start(&self, limits: &CompileLimits) -> io::Result<Child> {
        let mut command = Command::new(&self.compiler.program);
        command
            .arg0("kiln")
            .args(&self.compiler.args)
            .arg("--cache-dir")
            .arg(&self.cache_dir)
            .args(["--max-time", &limits.time.as_secs().to_string()])
            .args(["--max-memory", &limits.memory.as_u64().to_string()])
            .args((!self.pooled).then_some("--unpooled"))
            // It reads what may be hostile: it need not know our passwords.
            .env_clear()
            // An interrupt from the terminal is meant for us: we may want to finish what we do.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }
}

/// Hands it the bytes and tells how it ended.
fn end_of(mut child: Child, bytes: &[u8], limits: &CompileLimits) -> Result<(), LoadError> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (said, complained) = thread::scope(|scope| {
        let complained = scope.spawn(|| text(stderr));
        // Where it has ended before it has read all, its end says why.
        stdin.map(|mut stdin| stdin.write_all(bytes));
        (text(stdout), complained.join().unwrap_or_default())
    });
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(told(status, &said, &complained, limits)),
        Err(err) => Err(LoadError::Compiler(format!("was lost: {err}"))),
    }
}

/// What its end means.
fn told(status: ExitStatus, said: &str, complained: &str, limits: &CompileLimits) -> LoadError {
    let code = |code: u8| status.code() == Some(code.into());
    if code(EXIT_INVALID) {
        return LoadError::Invalid(reason(said));
    }
    if code(EXIT_MEMORY) || complained.contains("memory allocation of ") {
        return LoadError::CompileMemory { limit: limits.memory };
    }
    if code(EXIT_LATE) {
        let limit = limits.time.saturating_mul(COMPILE_WAIT_FACTOR);
        return LoadError::CompileWait { limit };
    }
    let end = match status.signal().map(Signal::from_named_raw) {
        Some(Some(Signal::XCPU)) => return LoadError::CompileTime { limit: limits.time },
        Some(signal) => format!("died: signal {}", signal_name(status, signal)),
        None => format!("died: {status}"),
    };
    let last = complained.lines().rfind(|line| !line.trim().is_empty());
    let last = last.map(|line| format!(": {}", reason(line)));
    LoadError::Compiler(end + &last.unwrap_or_default())
}

fn signal_name(status: ExitStatus, signal: Option<Signal>) -> String {
    let number = status.signal().unwrap_or_default();
    let name = match signal {
        Some(Signal::ABORT) => " (SIGABRT)",
        Some(Signal::BUS) => " (SIGBUS)",
        Some(Signal::ILL) => " (SIGILL)",
        Some(Signal::KILL) => " (SIGKILL): is the machine short of memory?",
        Some(Signal::SEGV) => " (SIGSEGV)",
        Some(Signal::TERM) => " (SIGTERM)",
        _ => "",
    };
    format!("{number}{name}")
}

fn text(source: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(source) = source {
        // What could be read says more than that the rest could not.
        source.take(MAX_SAID_BYTES).read_to_end(&mut bytes).ok();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
