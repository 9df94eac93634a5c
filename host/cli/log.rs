//! The log, on standard error: one line for each event, whatever the event holds. No handler waits for the log.
//!
//! Events hold text of producers, guests and others as it came, but bounded. The format shows hidden characters:
//! tracing itself escapes less than half of them, and only in messages.

use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind, IsTerminal, Write, stderr};
use std::panic::{self, PanicHookInfo};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use tracing::field::Field;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{self, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::Usage;
use crate::text::{self, LineWriter, MAX_LINE_BYTES};

/// Bytes of lines that wait to be written. As many again may be with the thread that writes. This is a few seconds of
/// the most that handlers can log within their limits.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// How long the end of a worker, or a panic, waits for unwritten lines: a reader that has stalled for longer may never
/// go on.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// Wait before writing again to a full pipe that does not block.
const FULL_WAIT: Duration = Duration::from_millis(10);

/// Memory that the lines keep once they are written.
const KEPT_BYTES: usize = 64 * 1024;

#[derive(Debug, Args)]
#[command(next_help_heading = "Log, on standard error")]
pub(super) struct LogArgs {
    /// What is logged: error, warn, info, debug, trace, or a filter such as `info,kiln::queue=debug`. Completed attempts
    /// are logged at debug, what handlers log under the target `guest`
    #[arg(long, global = true, env = "KILN_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    /// How it is logged
    #[arg(
        long,
        global = true,
        env = "KILN_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// A line for a person
    Text,
    /// A JSON object a line
    Json,
}

impl LogArgs {
    /// Starts the log.
    pub(super) fn start(&self) -> anyhow::Result<()> {
        // A bare level stands for Kiln and its handlers only: the engine's own steps would drown their lines.
        let filter = match self.log.parse::<LevelFilter>() {
            // The client of Redis logs every attempt to reach a node: thousands of lines in one outage, which Kiln logs
            // once.
            Ok(level) => format!("warn,redis=off,kiln={level},guest={level}"),
            Err(_) => self.log.clone(),
        };
        let filter = EnvFilter::builder()
            .parse(&filter)
            .map_err(|err| Usage(format!("--log {:?}: {err}", self.log)))?;
        let log = tracing_subscriber::fmt()
            // A line that cannot be written is dropped; to complain about it on the same stream would panic.
            .log_internal_errors(false)
            .with_env_filter(filter)
            .with_writer(|| StandardError)
            .with_ansi(stderr().is_terminal());
        match self.log_format {
            // Milliseconds: enough to put it beside another host's.
            LogFormat::Text => log
                .with_target(false)
                .with_timer(Clock { digits: 3 })
                .fmt_fields(format::debug_fn(field).delimited(" "))
                .init(),
            LogFormat::Json => log
                .json()
                .flatten_event(true)
                .with_timer(Clock { digits: 6 })
                .map_event_format(JsonLine)
                .init(),
        }
        Ok(())
    }
}

/// From now on, only a thread of its own writes to standard error. Otherwise a pipe that nobody empties would stop
/// every handler. Lines that find no room are dropped, counted and reported.
pub(super) fn detach() -> io::Result<()> {
    let pipe = PIPE.get_or_init(Pipe::default);
    thread::Builder::new()
        .name("kiln-log".to_owned())
        .spawn(|| pipe.write_to(stderr()))?;
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Returns once all lines so far are written, or after a bounded wait.
pub(super) fn flush() {
    if let Some(pipe) = PIPE.get() {
        pipe.flush(FLUSH_PATIENCE);
    }
}

/// Logs a panic as one line. The default hook would write several, with whatever the message holds.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let (thread, at) = (thread.name(), panic.location().map(tracing::field::display));
    let message = text::message(panic.payload_as_str().unwrap_or_default(), MAX_LINE_BYTES);
    tracing::error!(thread, at, "panicked: {message}");
    // An abort may follow.
    flush();
}

/// Standard error. Takes whole lines.
pub(super) struct StandardError;

impl Write for StandardError {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        match PIPE.get() {
            Some(pipe) => {
                pipe.put(lines);
                Ok(lines.len())
            }
            None => stderr().write(lines),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

static PIPE: OnceLock<Pipe> = OnceLock::new();

/// Lines on their way to the thread that writes them.
#[derive(Default)]
struct Pipe {
    state: Mutex<Waiting>,
    put: Condvar,
    written: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Whether the thread is writing lines now.
    writing: bool,
    /// Dropped lines that were not reported yet.
    dropped: u64,
}

impl Pipe {
    fn put(&self, lines: &[u8]) {
        let mut waiting = self.lock();
        if waiting.lines.len() + lines.len() > MAX_WAITING_BYTES {
            waiting.dropped += 1;
            return;
        }
        waiting.lines.extend_from_slice(lines);
        self.put.notify_one();
    }

    fn write_to(&self, mut to: impl Write) {
        let mut lines = Vec::new();
        loop {
            let mut waiting = self.lock();
            waiting.writing = false;
            self.written.notify_all();
            let is_empty = |waiting: &mut Waiting| waiting.lines.is_empty();
            let mut waiting = self
                .put
                .wait_while(waiting, is_empty)
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut lines, &mut waiting.lines);
            waiting.writing = true;
            let dropped = std::mem::take(&mut waiting.dropped);
            drop(waiting);
            write_all(&mut to, &lines);
            lines.clear();
            lines.shrink_to(KEPT_BYTES);
            if dropped > 0 {
                tracing::error!(lines = dropped, "the log's reader was too slow: lines were dropped");
            }
        }
    }

    fn flush(&self, patience: Duration) {
        let is_busy = |waiting: &mut Waiting| waiting.writing || !waiting.lines.is_empty();
        let _ = self.written.wait_timeout_while(self.lock(), patience, is_busy);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all bytes, or stops where nobody reads them any more.
fn write_all(to: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            // The parent process may have set the pipe not to block.
            Err(err) if err.kind() == ErrorKind::WouldBlock => thread::sleep(FULL_WAIT),
            Err(_) => return,
        }
    }
}

/// The time in RFC 3339, with so many digits of a second.
struct Clock {
    digits: usize,
}

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:.*}", self.digits, Timestamp::now())
    }
}

/// Writes one field of an event for a person.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => {}
        name if writer.has_ansi_escapes() => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?,
        name => write!(writer, "{name}=")?,
    }
    write!(LineWriter(writer), "{value:?}")
}

/// A JSON object in one line, in which nothing is hidden.
struct JsonLine<F>(F);

impl<S, N, F> FormatEvent<S, N> for JsonLine<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&text::block(&line))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// A reader that takes what it is given only when it is let.
    struct Reader {
        may_read: Receiver<()>,
        read: SyncSender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let left = |_| io::Error::from(ErrorKind::BrokenPipe);
            self.may_read.recv().map_err(left)?;
            self.read
                .send(bytes.to_vec())
                .map_err(|_| left(std::sync::mpsc::RecvError))?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_stops_nobody_and_what_it_misses_is_counted() {
        let pipe = Arc::new(Pipe::default());
        let (let_it, may_read) = sync_channel(100);
        let (read, taken) = sync_channel(100);
        let writing = Arc::clone(&pipe);
        thread::spawn(move || writing.write_to(Reader { may_read, read }));
        let line = vec![b'x'; MAX_WAITING_BYTES / 4];
        pipe.put(&line);
        while !pipe.lock().writing {
            thread::yield_now();
        }
        for _ in 0..20 {
            pipe.put(&line);
        }
        assert_eq!(pipe.lock().dropped, 16, "four fit in, beside the one on its way");
        pipe.flush(Duration::from_millis(1));
        for _ in 0..2 {
            let_it.send(()).unwrap();
        }
        pipe.flush(Duration::from_mins(1));
        let read: usize = taken.try_iter().map(|bytes| bytes.len()).sum();
        assert_eq!((read, pipe.lock().dropped), (5 * line.len(), 0));
    }
}
