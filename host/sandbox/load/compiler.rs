//! Compiles unknown bytes in another process, so that a crash brings down only that process.
//!
//! The other process returns the code on its standard output, so that no folder is needed for it.
//!
//! Absent on purpose: a time-out. The other process bounds itself, and ends with this one.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use bytesize::ByteSize;
use parking_lot::Mutex;
use rustix::process::Signal;

use super::compile::{EXIT_INVALID, EXIT_LATE, EXIT_MEMORY};
use super::refusal::{LoadError, reason};
use crate::config::{COMPILE_WAIT_FACTOR, CompileLimits, Compiler, MAX_COMPILED_BYTES};

/// Bytes read of the compiler's complaints, which are lines, not texts.
const MAX_SAID_BYTES: u64 = 64 * 1024;

/// Ends a compilation from another thread, so that another plugin can be compiled. Cannot end one in this process.
#[derive(Debug, Default)]
pub struct CompileStop(Mutex<Stopping>);

#[derive(Debug, Default)]
struct Stopping {
    stopped: bool,
    /// The process under way.
    child: Option<Child>,
}

impl CompileStop {
    /// Ends the compilation under way, and whichever begins later.
    pub fn stop(&self) {
        let mut state = self.0.lock();
        state.stopped = true;
        if let Some(child) = &mut state.child {
            // `kill` fails only where the process has ended.
            child.kill().ok();
        }
    }

    fn is_stopped(&self) -> bool {
        self.0.lock().stopped
    }

    /// Lets the process be ended during `work`, and gives it back.
    fn during<T>(&self, mut child: Child, work: impl FnOnce() -> T) -> (Option<Child>, T) {
        {
            let mut state = self.0.lock();
            if state.stopped {
                child.kill().ok();
            }
            state.child = Some(child);
        }
        let done = work();
        (self.0.lock().child.take(), done)
    }
}

/// Compiles components by way of another process.
pub(in crate::sandbox) struct Outside {
    pub(in crate::sandbox) compiler: Compiler,
    /// Whether memories come from a pool: their layout is part of the code.
    pub(in crate::sandbox) pooled: bool,
}

impl Outside {
    /// The code of these bytes.
    pub(in crate::sandbox) fn compile(
        &self,
        bytes: &[u8],
        limits: &CompileLimits,
        stop: &CompileStop,
    ) -> Result<Vec<u8>, LoadError> {
        let child = self
            .start(limits)
            .map_err(|err| LoadError::Compiler(format!("does not start: {err}")))?;
        end_of(child, bytes, limits, stop)
    }

    fn start(&self, limits: &CompileLimits) -> io::Result<Child> {
        let mut command = Command::new(&self.compiler.program);
        command
            .arg0("kiln")
            .args(&self.compiler.args)
            .args(["--max-time", &limits.time.as_secs().to_string()])
            .args(["--max-memory", &limits.memory.as_u64().to_string()])
            .args(["--niceness", &self.compiler.niceness.to_string()])
            .args((!self.pooled).then_some("--unpooled"))
            // It reads hostile bytes, and must not know passwords.
            .env_clear()
            // Ctrl-C in a terminal is meant for this process alone, which may still need the code.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }
}

/// Hands it the bytes, takes the code and tells how it ended.
fn end_of(mut child: Child, bytes: &[u8], limits: &CompileLimits, stop: &CompileStop) -> Result<Vec<u8>, LoadError> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (child, (said, complained)) = stop.during(child, || {
        thread::scope(|scope| {
            let complained = scope.spawn(|| read(stderr, MAX_SAID_BYTES));
            // If it ends before it has read everything, its exit code says why.
            scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(bytes)));
            // Reading stops after too much, upon which the other process ends.
            let said = read(stdout, MAX_COMPILED_BYTES + 1);
            (said, complained.join().unwrap_or_default())
        })
    });
    let status = child
        .ok_or_else(|| io::Error::other("another thread waits for it"))
        .and_then(|mut child| child.wait())
        .map_err(|err| LoadError::Compiler(format!("was lost: {err}")))?;
    if said.len() as u64 > MAX_COMPILED_BYTES {
        let limit = ByteSize::b(MAX_COMPILED_BYTES);
        return Err(LoadError::CodeTooLarge { limit });
    }
    if status.success() {
        return Ok(said);
    }
    if stop.is_stopped() {
        return Err(LoadError::Stopped);
    }
    Err(told(
        status,
        &String::from_utf8_lossy(&said),
        &String::from_utf8_lossy(&complained),
        limits,
    ))
}

/// What the end of the process means.
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

fn read(source: Option<impl Read>, max: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(source) = source {
        // An error of the pipe says less than the part that was read.
        source.take(max).read_to_end(&mut bytes).ok();
    }
    bytes
}
