//! Runs what a core module does before its first call, once, at build time, and makes a module that begins with the memory as
//! it then is.
//!
//! No two attempts may have in common what each has to ask for itself: random numbers, the time, the environment. So nothing
//! is handed out here but what every attempt is told alike, and the first question beyond that ends it: see [`host`]. A module
//! of which no snapshot can be taken is built as it is, and does its initialisation in each attempt.
//!
//! Beside `sandbox` the only room that uses wasmtime: what runs here is the author's own code, on the author's machine, as a core
//! module and before anything of a component is around it. None of the sandbox's bounds apply; [`FUEL`] and [`MEMORY_BYTES`]
//! do.

mod data;
mod host;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use futures::FutureExt as _;
use wasmtime::{Config, Engine, Instance, Linker, Module, OptLevel, Store, StoreLimitsBuilder, Trap, TypedFunc, Val};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

use host::Host;

/// What a reactor of WASI preview 1 calls its initialisation.
const INITIALIZE: &str = "_initialize";

/// The export by which a module takes part, whose parameter says how far to go, and which answers with where its objection
/// lies, 0 for none. It is gone from the module that is made.
const PREPARE: &str = "kiln-prepare";

/// Instructions that initialisation may take, more or less: about a second. Go's own takes one in a thousand of them.
const FUEL: u64 = 1_000_000_000;

/// Bytes that memory may come to meanwhile.
const MEMORY_BYTES: usize = 256 * 1024 * 1024;

/// Bytes of an objection that are shown.
const OBJECTION_BYTES: u32 = 200;

/// How far a module is on when an attempt begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// All is done but the job itself.
    Ready,
    /// Packages are initialised. What comes after them is done in each attempt, for this reason.
    Initialised(String),
    /// All is done in each attempt, for this reason.
    Untouched(String),
}

/// Makes a module that is as far on as it can be. Without an initialisation to do, that is the module itself.
pub(crate) fn of(module: &[u8]) -> (Vec<u8>, Start) {
    match taken(module) {
        Ok((made, None)) => (made, Start::Ready),
        Ok((made, Some(why))) => (made, Start::Initialised(why)),
        Err(why) => (module.to_owned(), Start::Untouched(why)),
    }
}

/// The module that begins where this one is after its initialisation, and why it does not begin later.
fn taken(module: &[u8]) -> Result<(Vec<u8>, Option<String>), String> {
    let mut wizer = Wizer::new();
    wizer.init_func(PREPARE);
    // Go's linker makes so many pieces of data that there would be too many with those of the snapshot.
    let module = data::compact(module).map_err(|err| format!("{err:#}"))?;
    let (context, watched) = wizer.instrument(&module).map_err(|err| format!("{err:#}"))?;
    let mut run = Run::new(&watched).map_err(|err| format!("{err:#}"))?;
    run.initialise()?;
    let mut memory = run.memory();
    let main = run.prepare(Stage::Main);
    if main.is_ok() {
        memory = run.memory();
        if run.prepare(Stage::Rehearsal).is_ok() {
            memory = run.memory();
        }
    }
    // It waits for nothing: the memory is at hand.
    let made = wizer.snapshot(&context, &mut memory).now_or_never();
    let made = made.ok_or("the snapshot waits for something")?;
    let made = made.map_err(|err| format!("{err:#}"))?;
    let made = data::compact(&made).map_err(|err| format!("{err:#}"))?;
    Ok((made, main.err()))
}

/// How far a module can go after the initialisation of its packages.
#[derive(Clone, Copy)]
enum Stage {
    Packages,
    /// Its main function is called.
    Main,
    /// As much of an attempt is done as can be without a job.
    Rehearsal,
}

/// A module that does its initialisation.
struct Run {
    store: Store<Host>,
    instance: Instance,
}

impl Run {
    fn new(module: &[u8]) -> wasmtime::Result<Self> {
        let mut config = Config::new();
        // What runs for milliseconds need not be fast.
        config.cranelift_opt_level(OptLevel::None).consume_fuel(true);
        let engine = Engine::new(&config)?;
        let compiled = Module::new(&engine, module)?;
        let mut linker = Linker::new(&engine);
        host::link(&mut linker, &compiled)?;
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES).build();
        let mut store = Store::new(&engine, Host::new(module, limits));
        store.limiter(|host| &mut host.limits);
        store.set_fuel(FUEL)?;
        let instance = linker.instantiate(&mut store, &compiled)?;
        Ok(Self { store, instance })
    }

    /// Initialises packages.
    fn initialise(&mut self) -> Result<(), String> {
        let initialise = self.function::<(), ()>(INITIALIZE)?;
        let done = initialise.call(&mut self.store, ());
        self.objection(done)?;
        self.prepare(Stage::Packages)
    }

    /// Has the module go on to a stage and make itself ready to be kept.
    fn prepare(&mut self, stage: Stage) -> Result<(), String> {
        let prepare = self.function::<i32, i32>(PREPARE)?;
        let done = prepare.call(&mut self.store, stage as i32);
        let at = self.objection(done)?;
        match self.text(at.cast_unsigned()) {
            Some(objection) => Err(objection),
            None => Ok(()),
        }
    }

    fn function<P: wasmtime::WasmParams, R: wasmtime::WasmResults>(
        &mut self,
        name: &str,
    ) -> Result<TypedFunc<P, R>, String> {
        let function = self.instance.get_typed_func(&mut self.store, name);
        function.map_err(|_| format!("it has no function {name}; its kit is older than this Kiln"))
    }

    /// What a call came to, unless the host, or the engine, had something against it.
    fn objection<T>(&mut self, done: wasmtime::Result<T>) -> Result<T, String> {
        if let Some(objection) = self.store.data_mut().objection() {
            return Err(objection);
        }
        done.map_err(|err| match err.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => "it computes for too long".to_owned(),
            Some(trap) => format!("it ends in a trap: {trap}"),
            None => format!("{err:#}"),
        })
    }

    /// The text whose place and size are said at this address, if it is not 0.
    fn text(&mut self, at: u32) -> Option<String> {
        let memory = self.instance.get_memory(&mut self.store, "memory")?;
        let bytes = memory.data(&self.store);
        let word = |at: u32| {
            let at = at as usize;
            Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
        };
        let (text, size) = (word(at)? as usize, word(at + 4)?.min(OBJECTION_BYTES) as usize);
        let text = bytes.get(text..text + size).filter(|_| at != 0)?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// All that a snapshot keeps.
    fn memory(&mut self) -> Memory {
        let mut memory = Memory::default();
        let exports: Vec<_> = self
            .instance
            .exports(&mut self.store)
            .map(|export| (export.name().to_owned(), export.into_extern()))
            .collect();
        for (name, export) in exports {
            if let Some(found) = export.clone().into_memory() {
                memory.memories.insert(name, found.data(&self.store).to_owned());
            } else if let Some(found) = export.into_global() {
                memory.globals.insert(name, found.get(&mut self.store));
            }
        }
        memory
    }
}

/// What memories and globals hold at some time, by the names of their exports.
#[derive(Default)]
struct Memory {
    memories: HashMap<String, Vec<u8>>,
    globals: HashMap<String, Val>,
}

impl InstanceState for Memory {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        match self.globals[name] {
            Val::I32(value) => SnapshotVal::I32(value),
            Val::I64(value) => SnapshotVal::I64(value),
            Val::F32(bits) => SnapshotVal::F32(bits),
            Val::F64(bits) => SnapshotVal::F64(bits),
            Val::V128(value) => SnapshotVal::V128(value.as_u128()),
            // It takes no module that has any.
            _ => unreachable!("a mutable global that holds a reference"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        contents(&self.memories[name]);
    }
}
