//! What surrounds an attempt: what may stop it, and who hears what its handler says. The sandbox knows no queue; this is
//! all it is told.

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::job::TraceContext;
use crate::stop::StopToken;

/// What one attempt is run with. The default: nobody stops it, nobody listens.
#[derive(Debug, Clone, Default)]
pub struct AttemptContext {
    /// The host is shutting down: handlers that ask `is-cancelled` are told so, and a retry that they then ask for is
    /// not counted as an attempt. Shared by all attempts of a host, without the lock that a clone of a token takes.
    pub draining: Arc<CancellationToken>,
    /// Interrupts the attempt where it stands, and says why.
    pub stop: Arc<StopToken>,
    /// Hears what the handler says while it runs. None: it is only logged.
    pub listener: Option<Arc<dyn Listener>>,
    /// The attempt's span, which requests carry where the manifest says so. None: they carry that of the job's producer.
    pub span: Option<Arc<TraceContext>>,
}

/// Hears what handlers say, each line and report that is within its plugin's limits. It is called on the thread on which
/// the handler runs: it must not block, and the time it takes counts as the handler's processor time.
pub trait Listener: fmt::Debug + Send + Sync {
    /// A line of the log.
    fn log(&self, speaker: &Speaker<'_>, line: &LogLine<'_>);

    /// A report of progress, in percent, with a note that may be empty.
    fn progress(&self, speaker: &Speaker<'_>, percent: u8, note: &str);
}

/// Whose handler says something. Ids and names are one line each and cut at 128 bytes, as in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speaker<'a> {
    /// The job's id.
    pub id: &'a str,
    /// The job's name.
    pub name: &'a str,
    /// The queue on which the job was found.
    pub queue: &'a str,
    /// Which attempt it is, counted from 1.
    pub attempt: u32,
    /// The plugin.
    pub plugin: &'a str,
    /// SHA-256 of the plugin's bytes, hexadecimal.
    pub digest: &'a str,
}

/// A line that a handler logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// How much it matters; `critical` is an error.
    pub level: tracing::Level,
    /// What part of the handler speaks, as it says; may be empty.
    pub context: &'a str,
    /// What it says, one line.
    pub message: &'a str,
}
