//! The sandbox as the commands set it up.

use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use directories::ProjectDirs;

use super::machine;
use crate::config::{
    Authorities, COMPILE_NICENESS, CONCURRENCY, Compiler, Egress, Limit, Limits, Proxy, SPARE_SLOTS, SandboxSettings,
    Source,
};
use crate::recording::Tape;
use crate::sandbox::{Sandbox, SandboxError};
use crate::state::Keeper;

/// What a host runs: a worker, and whoever speaks for one.
#[derive(Debug, Args)]
pub(super) struct HostArgs {
    /// Where the plugins are: NAME.wasm, and NAME.toml where it needs settings. Changes take effect at once
    #[arg(long, env = "KILN_PLUGINS", default_value = "plugins", value_name = "DIR")]
    pub(super) plugins: PathBuf,
    /// Attempts at once [default: 32 for each core]
    #[arg(long, env = "KILN_CONCURRENCY", value_parser = concurrency, value_name = "N")]
    concurrency: Option<NonZeroU32>,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

impl HostArgs {
    pub(super) fn new(plugins: PathBuf, concurrency: Option<NonZeroU32>, sandbox: SandboxArgs) -> Self {
        Self {
            plugins,
            concurrency,
            sandbox,
        }
    }

    pub(super) fn concurrency(&self) -> NonZeroU32 {
        self.concurrency.unwrap_or_else(default_concurrency)
    }

    /// Its sandbox, whose handlers' state is kept there.
    pub(super) fn open(&self, state: Arc<dyn Keeper>) -> Result<Arc<Sandbox>, SandboxError> {
        let settings = SandboxSettings {
            state: Some(state),
            ..self.settings()?
        };
        Ok(Arc::new(Sandbox::new(&settings)?))
    }

    /// The settings of its sandbox.
    pub(super) fn settings(&self) -> Result<SandboxSettings, SandboxError> {
        self.sandbox.settings(self.concurrency(), COMPILE_NICENESS)
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Sandbox")]
pub(super) struct SandboxArgs {
    /// The most time any attempt may take, whatever its job or its manifest asks for [default: 1h]
    #[arg(long, env = "KILN_MAX_TIMEOUT", value_parser = max_timeout, value_name = "DURATION")]
    max_timeout: Option<u64>,
    /// The memory an attempt may have where its plugin's manifest names none [default: 128MiB]
    #[arg(long, env = "KILN_MAX_MEMORY", value_parser = max_memory, value_name = "SIZE")]
    max_memory: Option<u64>,
    /// A limit, and with `..` also how far manifests may raise it; repeat for more. `kiln doctor` lists them all
    #[arg(long = "limit", env = "KILN_LIMITS", value_parser = set_limit, value_delimiter = ',', value_name = "NAME=VALUE[..CEILING]")]
    limits: Vec<SetLimit>,
    /// Where compiled plugins are kept between starts [default: the user's cache folder]
    #[arg(long, env = "KILN_CACHE_DIR", value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Where the secrets granted to plugins are that the environment does not hold as `KILN_SECRET_NAME`: a file for each,
    /// after its name
    #[arg(long, env = "KILN_SECRETS", value_name = "DIR")]
    secrets: Option<PathBuf>,
    /// Authorities whose certificates are trusted in requests of plugins, beside those of the Web: a file of PEM
    #[arg(long, env = "KILN_EGRESS_CA", value_parser = authorities, value_name = "FILE")]
    egress_ca: Option<Authorities>,
    /// The proxy for requests of plugins: http://[user:password@]host:port. Those to an origin granted with `private = true`
    /// go around it
    #[arg(long, env = "KILN_EGRESS_PROXY", value_parser = Proxy::parse, value_name = "URL")]
    egress_proxy: Option<Proxy>,
}

fn authorities(path: &str) -> Result<Authorities, String> {
    Authorities::read(Path::new(path))
}

/// What `--limit` says about one limit.
#[derive(Debug, Clone, Copy)]
struct SetLimit {
    limit: Limit,
    value: u64,
    /// None: the ceiling stays as it is.
    ceiling: Option<u64>,
}

impl SandboxArgs {
    /// A sandbox for this many attempts at once, for a command that waits for compilations.
    pub(super) fn open(&self, concurrency: NonZeroU32) -> Result<Arc<Sandbox>, SandboxError> {
        Ok(Arc::new(Sandbox::new(&self.settings(concurrency, 0)?)?))
    }

    /// Whether requests to public addresses go through a proxy.
    pub(super) fn goes_through_a_proxy(&self) -> bool {
        self.egress_proxy.is_some()
    }

    /// The same, with handlers' state kept there, and exchanges kept by this tape or answered from it.
    pub(super) fn open_with(
        &self,
        concurrency: NonZeroU32,
        state: Arc<dyn Keeper>,
        tape: Option<Tape>,
    ) -> Result<Arc<Sandbox>, SandboxError> {
        let mut settings = self.settings(concurrency, 0)?;
        settings.state = Some(state);
        settings.egress.tape = tape;
        Ok(Arc::new(Sandbox::new(&settings)?))
    }

    /// The settings of a sandbox whose compiler runs at this niceness.
    pub(super) fn settings(&self, concurrency: NonZeroU32, niceness: i32) -> Result<SandboxSettings, SandboxError> {
        let compiler = Compiler {
            program: this_program().map_err(SandboxError::Compiler)?,
            args: vec!["compile".into()],
            niceness,
        };
        let users = || ProjectDirs::from("", "", "kiln").map(|dirs| dirs.cache_dir().to_owned());
        let limits = self.limits();
        // As many slots as the component with the most memories or tables can take.
        let slots = limits.count(Limit::Memories).max(limits.count(Limit::Tables));
        Ok(SandboxSettings {
            spare_slots: SPARE_SLOTS.max(slots),
            limits,
            cache_dir: self.cache_dir.clone().or_else(users),
            compiler: Some(compiler),
            secrets_dir: self.secrets.clone(),
            egress: Egress {
                authorities: self.egress_ca.clone().unwrap_or_default(),
                proxy: self.egress_proxy.clone(),
                tape: None,
            },
            ..SandboxSettings::new(concurrency)
        })
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        if let Some(memory) = machine::memory() {
            let least = |limit: Limit, share: u64| share.max(limit.spec().least);
            let guests = least(Limit::GuestMemory, memory / 4 * 3);
            limits.set(Limit::GuestMemory, guests, guests, Source::Machine);
            // A compiler that runs beside guests must not take the memory that they were promised.
            let compile = limits.bound(Limit::CompileMemory);
            let compiler = least(Limit::CompileMemory, memory / 4).min(compile.value);
            limits.set(Limit::CompileMemory, compiler, compile.ceiling, Source::Machine);
            // Each of these jobs is held in memory twice: a quarter in all, which guests leave free.
            let jobs = least(Limit::JobMemory, memory / 8);
            if jobs < limits.get(Limit::JobMemory) {
                limits.set(Limit::JobMemory, jobs, jobs, Source::Machine);
            }
        }
        for set in &self.limits {
            let ceiling = set.ceiling.unwrap_or(limits.bound(set.limit).ceiling);
            limits.set(set.limit, set.value, ceiling, Source::Host);
        }
        if let Some(ms) = self.max_timeout {
            limits.set(Limit::Timeout, ms, ms, Source::Host);
        }
        if let Some(bytes) = self.max_memory {
            let ceiling = limits.bound(Limit::MaxMemory).ceiling;
            limits.set(Limit::MaxMemory, bytes, ceiling, Source::Host);
        }
        limits
    }
}

/// Attempts at once for each core by default: enough that waiting for the network or for Redis leaves no core idle.
const ATTEMPTS_PER_CORE: usize = 32;

pub(super) fn default_concurrency() -> NonZeroU32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores * ATTEMPTS_PER_CORE)
        .ok()
        .and_then(NonZeroU32::new)
        .unwrap_or(NonZeroU32::MIN)
}

/// A `value_parser` for attempts at once.
pub(super) fn concurrency(text: &str) -> Result<NonZeroU32, String> {
    let number = CONCURRENCY.parse(text)?;
    NonZeroU32::new(number).ok_or_else(|| CONCURRENCY.why.to_owned())
}

fn max_timeout(text: &str) -> Result<u64, String> {
    Limit::Timeout.parse(text)
}

fn max_memory(text: &str) -> Result<u64, String> {
    Limit::MaxMemory.parse(text)
}

fn set_limit(text: &str) -> Result<SetLimit, String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("write it like http_requests=100, or http_requests=100..500")?;
    let limit: Limit = name.parse()?;
    let (value, ceiling) = match value.split_once("..") {
        Some((value, ceiling)) => (limit.parse(value)?, Some(limit.parse(ceiling)?)),
        None => (limit.parse(value)?, None),
    };
    if let Some(ceiling) = ceiling.filter(|ceiling| *ceiling < value) {
        return Err(format!(
            "the ceiling {} is below the value {}",
            limit.show(ceiling),
            limit.show(value)
        ));
    }
    Ok(SetLimit { limit, value, ceiling })
}

/// The file that this process runs, even if another has replaced it since: the two might compile differently.
pub(super) fn this_program() -> io::Result<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() {
        Ok(running)
    } else {
        std::env::current_exe()
    }
}
