//! Compiles plugins and runs their handlers, each attempt in a sandbox of its own.
//!
//! The only owner of wasmtime. Whatever a guest does comes back as data: an [`Attempt`] has an outcome, never an error.
//!
//! # Threads
//!
//! - *guest* threads, one for each core: guests run there and take turns of a tick. Decoding a job and deciding about it is
//!   done on the guest's thread as well, since changing threads would cost more.
//! - *heavy* threads, of lower priority: a guest moves there once it has much memory, because one instruction may then take
//!   long, or once it has computed for some ticks, because short attempts must not wait for its turns.
//! - *I/O* threads: HTTP requests of guests, whose servers may be hostile, too.
//!
//! The host's own threads do nothing for a guest, so heartbeats and settlement go on whatever guests do.
//!
//! # Modules
//!
//! `engine` makes and compiles, `load` turns a file into a component that is checked and linked, `capabilities` is what
//! components can reach, `run` makes an attempt.
//!
//! Absent on purpose: a store that outlives its attempt, unless the manifest says `reuse` (its memory would carry data of
//! one job to the next); names that are looked up by text for every job (they are linked once, at load); the host's files,
//! and sockets (they are linked, because language runtimes import them, but reach nothing).

mod bindings;
mod capabilities;
mod engine;
mod load;
mod run;

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime::Handle;
use wasmtime::Engine;

use crate::config::{Limits, Manifest, SandboxSettings};
pub use capabilities::{GrantError, HttpGrant, HttpGrants, Offer, Origin, granted_buckets, granted_lines};
use engine::PoolSize;
use load::cache::Cache;
use load::code::Code;
pub use load::compile::{CompileOrder, Compiled, compile};
pub use load::compiler::CompileStop;
use load::compiler::Outside;
pub use load::imports::Import;
use load::plugin::Plugin;
pub use load::plugin::digest;
use load::pool::Pool;
pub use load::refusal::LoadError;
use load::{Examined, Loaded};
pub use run::attempt::PluginPermit;
pub use run::context::{AttemptContext, Listener, LogLine, Speaker};
pub use run::handler::Handler;
use run::runner::Runner;

/// Where handlers are compiled and run. Handlers keep what they need of it alive.
pub struct Sandbox {
    runner: Arc<Runner>,
    settings: SandboxSettings,
    unpooled: Option<String>,
    uncached: Option<String>,
    /// The compiler, and the cache of compiled components.
    code: Code,
}

/// Why a sandbox could not be set up. The host's fault.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The engine refuses its configuration, or the system refuses it memory.
    #[error("sandbox engine does not start: {0:#}")]
    Engine(wasmtime::Error),
    /// The program that is to compile plugins cannot be found.
    #[error("no compiler: {0}")]
    Compiler(io::Error),
    /// The system refuses threads.
    #[error("guest threads do not start: {0}")]
    Threads(#[from] io::Error),
}

/// What a plugin is made of, for people.
#[derive(Debug)]
pub struct Inspection {
    /// SHA-256 of its bytes, hexadecimal.
    pub digest: String,
    /// What it exports, each name in one line.
    pub exports: Vec<String>,
    /// What it imports, and whether it gets it.
    pub imports: Vec<Import>,
    /// Why it would not load; none: it would.
    pub problem: Option<LoadError>,
}

impl Sandbox {
    /// Starts the engine and the threads.
    ///
    /// # Errors
    /// When the engine or a thread does not start. A short address space or an unusable cache is no error, but a warning.
    pub fn new(settings: &SandboxSettings) -> Result<Self, SandboxError> {
        let slots = settings.concurrency.get().saturating_add(settings.spare_slots);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let givers = u32::try_from(2 * cores).unwrap_or(u32::MAX);
        let size = PoolSize {
            in_use: slots,
            threads: givers,
        };
        let built = engine::build(size, &settings.limits).map_err(SandboxError::Engine)?;
        let (cache, uncached) = open_cache(settings, &built.engine);
        let pooled = built.unpooled.is_none();
        let outside = settings.compiler.clone();
        let outside = outside.map(|compiler| Outside { compiler, pooled });
        let pool = Pool::new(built.engine).map_err(SandboxError::Engine)?;
        let runner = Runner::start(pool, pooled, settings)?;
        Ok(Self {
            runner: Arc::new(runner),
            settings: settings.clone(),
            unpooled: built.unpooled,
            uncached,
            code: Code { cache, outside },
        })
    }

    /// Makes a handler of a plugin's bytes. Compiles for as long as that takes, in another process if the settings name
    /// one: call it where blocking is allowed.
    ///
    /// # Errors
    /// When the bytes are no component that can run here, or not within what the manifest allows. The plugin's fault.
    pub fn load(&self, name: &str, bytes: &[u8], manifest: &Manifest) -> Result<Handler, LoadError> {
        self.load_unless(&CompileStop::default(), name, bytes, manifest)
    }

    /// Like [`Sandbox::load`], unless compiling is stopped.
    ///
    /// # Errors
    /// As [`Sandbox::load`]; [`LoadError::Stopped`] where it was stopped.
    pub fn load_unless(
        &self,
        stop: &CompileStop,
        name: &str,
        bytes: &[u8],
        manifest: &Manifest,
    ) -> Result<Handler, LoadError> {
        let plugin = Plugin::new(name, digest(bytes), manifest, &self.settings)?;
        let found = self.examine(bytes, &plugin.digest, &plugin.limits, stop)?;
        let loaded = self.link(&found, &plugin.limits)?;
        Ok(Handler::new(
            Arc::clone(&self.runner),
            plugin,
            Arc::new(loaded),
            manifest,
        ))
    }

    /// Makes a handler of the same component with another manifest, without compiling anything.
    ///
    /// # Errors
    /// When it cannot run within what the manifest allows.
    pub fn reconfigure(&self, handler: &Handler, manifest: &Manifest) -> Result<Handler, LoadError> {
        let plugin = Plugin::new(handler.name(), handler.digest().to_owned(), manifest, &self.settings)?;
        let loaded = handler.loaded();
        load::slots(loaded.pre.load().instance_pre().component(), &plugin.limits)?;
        Ok(Handler::new(
            Arc::clone(&self.runner),
            plugin,
            Arc::clone(loaded),
            manifest,
        ))
    }

    /// Tells what a plugin is made of, and why it would not load with this manifest. Compiles it, as [`Sandbox::load`]
    /// does.
    ///
    /// # Errors
    /// When the bytes are no component at all, so that nothing can be told.
    pub fn inspect(&self, bytes: &[u8], manifest: &Manifest) -> Result<Inspection, LoadError> {
        let digest = digest(bytes);
        let limits = self.settings.limits.with(&manifest.wishes());
        // If the manifest asks for too much, that is reported at the end. The component can be described all the same.
        let all = limits.as_ref().unwrap_or(&self.settings.limits);
        let found = self.examine(bytes, &digest, all, &CompileStop::default())?;
        let linked = limits
            .map_err(LoadError::from)
            .and_then(|limits| self.link(&found, &limits));
        let plugin = || Plugin::new("", digest.clone(), manifest, &self.settings);
        let problem = linked.and_then(|_| plugin()).err();
        let granted = |mut import: Import| {
            import.granted = capabilities::granted_of(&import.name, &manifest.grants);
            import
        };
        Ok(Inspection {
            exports: found.exports,
            imports: found.imports.into_iter().map(granted).collect(),
            problem,
            digest,
        })
    }

    fn link(&self, found: &Examined, limits: &Limits) -> Result<Loaded, LoadError> {
        let loaded = load::link(&self.runner.pool, found, limits)?;
        let slots = self.settings.spare_slots.saturating_add(1);
        if loaded.slots > slots {
            // An attempt would wait for so many slots for ever.
            return Err(LoadError::TooMany {
                what: "memories and tables for the slots of this host",
                found: loaded.slots,
                limit: slots,
            });
        }
        Ok(loaded)
    }

    fn examine(&self, bytes: &[u8], digest: &str, limits: &Limits, stop: &CompileStop) -> Result<Examined, LoadError> {
        load::examine(&self.runner.pool.engine, &self.code, bytes, digest, limits, stop)
    }

    /// The threads on which guests run, in turns. What is spawned there may wait as long as it likes, and compute no
    /// longer than a guest may.
    #[must_use]
    pub fn guests(&self) -> &Handle {
        &self.runner.guests
    }

    /// How many turns the thread has made that interrupts guests. It makes one each second at least.
    #[must_use]
    pub fn epoch_turns(&self) -> u64 {
        self.runner.ticker.turns()
    }

    /// What attempts may take, where no manifest says otherwise.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// Why sandboxes are made one by one instead of taken from the pool; none: they are taken from the pool.
    #[must_use]
    pub fn unpooled(&self) -> Option<&str> {
        self.unpooled.as_deref()
    }

    /// Bytes of guests' memory that stay resident between attempts, at most, so that the next ones start at less cost.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.runner.resident.bytes_in_both() as u64
    }

    /// Why the cache cannot be used; none: it can, or there is to be none.
    #[must_use]
    pub fn uncached(&self) -> Option<&str> {
        self.uncached.as_deref()
    }
}

/// The cache, and why there is none although one is asked for.
fn open_cache(settings: &SandboxSettings, engine: &Engine) -> (Option<Cache>, Option<String>) {
    let Some(dir) = settings.cache_dir.as_deref() else {
        return (None, None);
    };
    match Cache::open(dir, engine) {
        Ok(cache) => (Some(cache), None),
        Err(err) => {
            tracing::warn!(dir = %dir.display(), %err, "compiled components are not cached");
            (None, Some(err.to_string()))
        }
    }
}
