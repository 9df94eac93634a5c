//! Validated settings, and every bound with its unit and reason.
//!
//! Reads no flag, no file and no environment: `cli` and `plugins` hand the values in.

mod cap;
mod compile;
mod egress;
mod grants;
mod history;
mod limit;
mod limits;
mod manifest;
mod range;
mod resolver;
mod retry;
mod rhythm;
mod schedule;
mod toml_error;
mod wishes;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use crate::job::{MAX_QUEUE_NAME_BYTES, QUEUE_DEFAULT, check_queue_name};
pub use cap::{Cap, MAX_CAPS, MAX_KEY_TEXT_BYTES, Rate, lane_name, unique_lane, unique_name};
pub use compile::{COMPILE_NICENESS, COMPILE_WAIT_FACTOR, CompileLimits, Compiler};
pub use egress::{Authorities, Egress, Proxy};
pub use grants::Grants;
pub use history::{HistorySettings, KeepAttempts, KeepLogs};
pub use limit::{LIMITS, Limit, Scope, Spec, Unit};
pub use limits::{Bound, LimitError, Limits, Source};
pub use manifest::Manifest;
pub(crate) use manifest::check_name;
pub use range::{ATTEMPTS, CONCURRENCY, CountRange, REUSE, TimeRange};
pub use resolver::Resolver;
pub use retry::RetryPolicy;
pub use schedule::{
    CatchUp, MAX_CATCH_UP, MAX_SCHEDULE_ID_BYTES, MAX_SCHEDULE_PAYLOAD_BYTES, MAX_SCHEDULES, ON_TIME, Overlap, Schedule,
};
pub use wishes::LimitWishes;

pub use crate::job::{Backoff, parse_duration};
use crate::state::Keeper;

/// Bytes of a used memory that are reset by writing instead of being given back to the system. This covers all of a
/// small guest, with the megabyte of stack that most compilers choose: writing all of it takes a third of the time that
/// the system takes to give a few pages anew. Every slot of the pool that ever held such a guest keeps these bytes
/// resident.
pub const KEEP_RESIDENT_BYTES: usize = 1280 * 1024;

/// The same for guests that touch much more memory in each attempt, as the runtimes of JavaScript, Go and Python do: all of
/// what these have, if they have little beyond it.
pub const MAX_RESIDENT_BYTES: usize = 24 * 1024 * 1024;

/// Instances of one component that are made ahead of their jobs at most, where it takes long to make one.
pub const MAX_AHEAD: usize = 4;

/// Sandboxes beyond `concurrency`. Only these give an attempt the slots beyond its first.
pub const SPARE_SLOTS: u32 = 8;

/// Bytes of code that one component may compile to. Python's runtime with its libraries comes to 35 MiB.
pub const MAX_COMPILED_BYTES: u64 = 256 * 1024 * 1024;

/// Bytes of compiled components that are kept between starts.
pub const MAX_CACHE_BYTES: u64 = 1024 * 1024 * 1024;

/// Frames kept of a trap's backtrace.
pub const MAX_BACKTRACE_FRAMES: usize = 32;

/// Bytes kept of a trap's backtrace: names of functions may be of any length.
pub const MAX_BACKTRACE_BYTES: usize = 16 * 1024;

/// Bytes of a manifest. A thousand granted origins come to a tenth of it.
pub const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;

/// Imports, and exports, of one component. Those of the largest known runtimes come to fifty.
pub const MAX_INTERFACES: u32 = 1_000;

/// Bytes of what the engine says about a component that are shown.
pub const MAX_REASON_BYTES: usize = 500;

/// How often a running guest is asked whether it should stop or let others run.
pub const EPOCH_TICK: Duration = Duration::from_millis(2);

/// What the sandbox is built with.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// Attempts that may run at once; the pool is made for as many.
    pub concurrency: NonZeroU32,
    /// Sandboxes beyond that, for attempts at components that take several. A component that takes more than these and
    /// one does not load.
    pub spare_slots: u32,
    /// Bytes that stay resident of each memory of a component whose attempts touch much of it; [`KEEP_RESIDENT_BYTES`] and
    /// less: no more than of any other. In all slots together it is an eighth of the limit `guest_memory` at most.
    pub resident_bytes: usize,
    /// Where compiled components are cached; none: nothing is cached.
    pub cache_dir: Option<PathBuf>,
    /// Compiles, within bounds, what is not cached yet; none: this process does, without bounds.
    pub compiler: Option<Compiler>,
    /// What attempts may take, and how far a manifest may raise it.
    pub limits: Limits,
    /// The folder with the secrets that are not in the host's environment as `KILN_SECRET_NAME`: one file for each,
    /// with its name. None: secrets come from the environment only.
    pub secrets_dir: Option<PathBuf>,
    /// How the names in guests' HTTP requests become addresses.
    pub resolver: Resolver,
    /// How requests leave the host.
    pub egress: Egress,
    /// Where handlers' state is kept. None: nowhere, and calls for it fail.
    pub state: Option<Arc<dyn Keeper>>,
}

impl SandboxSettings {
    /// The defaults, for this many attempts at once.
    #[must_use]
    pub fn new(concurrency: NonZeroU32) -> Self {
        Self {
            concurrency,
            spare_slots: SPARE_SLOTS,
            resident_bytes: MAX_RESIDENT_BYTES,
            cache_dir: None,
            compiler: None,
            limits: Limits::default(),
            secrets_dir: None,
            resolver: Resolver::default(),
            egress: Egress::default(),
            state: None,
        }
    }
}

/// How long a job waits that cannot run now. Short enough that a deployment leaves no job waiting without need, and
/// long enough that a hundred thousand such jobs do not keep a host busy.
pub const HOLD_DEFAULT: Duration = Duration::from_secs(10);

/// When a version of a plugin is set aside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quarantine {
    /// The share of attempts, between 0 and 1, beyond which faults are too many.
    pub share: f64,
    /// The length of the time looked back upon.
    pub window: Duration,
    /// Attempts within the window before anything is concluded from them.
    pub least_attempts: u32,
}

/// Attempts before anything is concluded about a version: a single bad job among few must not take a plugin away.
pub const QUARANTINE_LEAST_ATTEMPTS: u32 = 20;

/// How long a plugin serves after its file is gone: what is deleted is often about to be created anew.
pub const HOLD_REMOVED_DEFAULT: Duration = Duration::from_secs(5);

/// How long a start waits for plugins to be compiled: one that takes minutes must not keep the others from serving.
pub const START_PATIENCE: Duration = Duration::from_secs(10);

/// How long a plugin compiles, by the clock, before it makes way for those that wait. Python's runtime, the largest
/// known one, takes no longer on an idle machine.
pub const FIRST_COMPILE_TURN: Duration = Duration::from_secs(5);

/// How the plugin folder is dealt with.
#[derive(Debug, Clone)]
pub struct PluginSettings {
    /// How long a start waits for plugins to be compiled; the jobs of those that take longer wait for them.
    pub patience: Duration,
    /// How long a plugin compiles before it makes way for those that wait. Later turns are longer.
    pub first_turn: Duration,
    /// How long a plugin serves after its file is gone.
    pub hold_removed: Duration,
    /// When a version is set aside; none: never.
    pub quarantine: Option<Quarantine>,
}

impl Default for PluginSettings {
    fn default() -> Self {
        Self {
            patience: START_PATIENCE,
            first_turn: FIRST_COMPILE_TURN,
            hold_removed: HOLD_REMOVED_DEFAULT,
            quarantine: None,
        }
    }
}

/// What becomes of jobs that grew too old to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Expired {
    /// They are dropped.
    #[default]
    Drop,
    /// They go to the failed list.
    Keep,
}

/// What becomes of a job that no plugin handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    /// It fails at once, as with dg-queue: a misspelt name is seen, and `kiln failed retry` brings the job back.
    #[default]
    Fail,
    /// It waits about so long, again and again, until a plugin handles it. For deployments that push new jobs before
    /// every host has the plugin. No attempt is counted.
    Hold(Duration),
}
