//! What a module finds around it while it initialises itself: as much of WASI preview 1 as every attempt finds alike, answered
//! as the adapter of components answers. All else is an objection to keeping what comes of it.

use sha2::{Digest, Sha256};
use wasmtime::{Caller, Extern, Linker, Memory, Module, Result, StoreLimits, Val, bail};

const WASI: &str = "wasi_snapshot_preview1";

/// Error numbers of preview 1.
const SUCCESS: i32 = 0;
const BADF: i32 = 8;

/// The id of the clock that tells the time, as opposed to how long something took.
const REALTIME: i32 = 0;

/// The descriptor of the only folder there is, and its path.
const FOLDER: (i32, &str) = (3, "/tmp");

/// Bytes of a random seed that a language's runtime may draw before anything else: it draws another one in each attempt.
const SEED_BYTES: usize = 32;

/// Bytes of what it prints that are kept, to say what it was.
const PRINTED_BYTES: usize = 1024;

/// What a module finds around it.
pub(super) struct Host {
    pub(super) limits: StoreLimits,
    objection: Option<String>,
    printed: Vec<u8>,
    /// The same for the same module: a build can be repeated.
    seed: Option<[u8; SEED_BYTES]>,
    /// What the clock shows that counts nanoseconds. It begins where that of an attempt does, and moves each time it is read.
    nanoseconds: u64,
}

impl Host {
    pub(super) fn new(module: &[u8], limits: StoreLimits) -> Self {
        Self {
            limits,
            objection: None,
            printed: Vec::new(),
            seed: Some(Sha256::digest(module).into()),
            nanoseconds: 0,
        }
    }

    /// What spoke against a snapshot first.
    pub(super) fn objection(&mut self) -> Option<String> {
        let printed = String::from_utf8_lossy(&self.printed);
        match printed.lines().find(|line| !line.trim().is_empty()) {
            Some(line) => Some(format!("it prints {line:?}")),
            None => self.objection.take(),
        }
    }

    /// Objects, and ends the run.
    fn object<T>(&mut self, objection: impl Into<String>) -> Result<T> {
        let objection = self.objection.get_or_insert(objection.into());
        bail!("{objection}")
    }
}

/// A call of the module's, with its memory.
struct Call<'a, 'b> {
    caller: &'a mut Caller<'b, Host>,
    memory: Memory,
}

impl Call<'_, '_> {
    fn write(&mut self, at: i32, bytes: &[u8]) -> Result<i32> {
        let at = at.cast_unsigned() as usize;
        self.memory.write(&mut *self.caller, at, bytes)?;
        Ok(SUCCESS)
    }

    fn read(&self, at: u32, size: u32) -> Result<&[u8]> {
        let (at, size) = (at as usize, size as usize);
        let found = self.memory.data(&*self.caller).get(at..at + size);
        found.ok_or_else(|| wasmtime::format_err!("an address outside of memory"))
    }

    fn word(&self, at: u32) -> Result<u32> {
        Ok(u32::from_le_bytes(self.read(at, 4)?.try_into()?))
    }
}

/// Links all that a module imports.
pub(super) fn link(linker: &mut Linker<Host>, module: &Module) -> Result<()> {
    // A module may import the same function more than once.
    linker.allow_shadowing(true);
    for import in module.imports() {
        let (from, name) = (import.module().to_owned(), import.name().to_owned());
        let Some(ty) = import.ty().func().cloned() else {
            bail!("it imports {from} {name}, which is no function");
        };
        linker.func_new(&from.clone(), &name.clone(), ty, move |mut caller, given, answer| {
            if from != WASI {
                return caller.data_mut().object(format!("it calls the host: {name} of {from}"));
            }
            let Some(memory) = caller.get_export("memory").and_then(Extern::into_memory) else {
                bail!("its memory is not exported");
            };
            let call = Call {
                caller: &mut caller,
                memory,
            };
            let errno = wasi(call, &name, given)?;
            if let Some(first) = answer.first_mut() {
                *first = Val::I32(errno);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Answers a call of preview 1 with an error number.
fn wasi(mut call: Call<'_, '_>, name: &str, given: &[Val]) -> Result<i32> {
    let word = |number: usize| given.get(number).and_then(Val::i32).unwrap_or_default();
    match name {
        "args_sizes_get" | "environ_sizes_get" => {
            call.write(word(0), &[0; 4])?;
            call.write(word(1), &[0; 4])
        }
        "args_get" | "environ_get" | "sched_yield" => Ok(SUCCESS),
        "clock_time_get" if word(0) != REALTIME => {
            let now = &mut call.caller.data_mut().nanoseconds;
            *now += 1;
            let now = now.to_le_bytes();
            call.write(word(2), &now)
        }
        "clock_time_get" => call.caller.data_mut().object("it reads the clock"),
        "random_get" => {
            let size = word(1).cast_unsigned() as usize;
            match call.caller.data_mut().seed.take() {
                Some(seed) if size <= SEED_BYTES => call.write(word(0), &seed[..size]),
                _ => call.caller.data_mut().object("it draws random numbers"),
            }
        }
        "fd_fdstat_get" if (0..3).contains(&word(0)) => {
            // A terminal's kind of file, without flags, to be read or to be written to.
            let rights: u64 = if word(0) == 0 { 1 << 1 } else { 1 << 6 };
            let mut stat = [0; 24];
            stat[0] = 2;
            stat[8..16].copy_from_slice(&rights.to_le_bytes());
            stat[16..].copy_from_slice(&rights.to_le_bytes());
            call.write(word(1), &stat)
        }
        "fd_fdstat_set_flags" if (0..3).contains(&word(0)) => Ok(BADF),
        "fd_prestat_get" if word(0) == FOLDER.0 => {
            let mut stat = [0; 8];
            stat[4..].copy_from_slice(&u32::try_from(FOLDER.1.len())?.to_le_bytes());
            call.write(word(1), &stat)
        }
        "fd_prestat_get" => Ok(BADF),
        "fd_prestat_dir_name" if word(0) == FOLDER.0 => call.write(word(1), FOLDER.1.as_bytes()),
        "fd_write" => print(call, word(1).cast_unsigned(), word(2).cast_unsigned(), word(3)),
        "proc_exit" => call.caller.data_mut().object(format!("it exits with {}", word(0))),
        "poll_oneoff" => call.caller.data_mut().object("it waits"),
        _ => call.caller.data_mut().object(format!("it calls the system: {name}")),
    }
}

/// Lets it print, to say later what it was: a panic, mostly.
fn print(mut call: Call<'_, '_>, pieces: u32, count: u32, written: i32) -> Result<i32> {
    let mut all = 0_u32;
    for number in 0..count {
        let piece = pieces + 8 * number;
        let (at, size) = (call.word(piece)?, call.word(piece + 4)?);
        let bytes = call.read(at, size)?.to_owned();
        let printed = &mut call.caller.data_mut().printed;
        let room = PRINTED_BYTES.saturating_sub(printed.len());
        printed.extend_from_slice(&bytes[..bytes.len().min(room)]);
        all += size;
    }
    call.write(written, &all.to_le_bytes())
}
