//! The command line: one file for each command. Arguments become settings here; nothing below knows of them.

mod bench;
mod build;
mod compile;
mod doctor;
mod failed;
mod inspect;
mod machine;
mod new;
mod plugin;
mod plugins;
mod push;
mod queues;
mod run;
mod store;
mod worker;

use std::io::{IsTerminal, Write as _, stderr};
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::plugins::PluginError;
use crate::queue::QueueError;
use crate::sandbox::{LoadError, SandboxError};

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   failed for a reason that its message gives
  2   wrong use: a flag, a value or a payload that makes no sense
  3   the store cannot be reached or used
  4   the plugin folder or a plugin cannot be used
  5   there is no such failed entry, or nothing to release
  6   worker: the grace period ended, attempts were interrupted, their jobs are back in their queues
  7   doctor: something would bite a worker
  130 worker: stopped at once by a second signal; its jobs come back when its lease runs out
      bench: stopped by a signal, its keys deleted
  10  run: the attempt ended as rejected; 11 error, 12 trap, 13 timeout, 14 memory, 15 denied

A flag whose help names an environment variable can be given by it.";

/// Background jobs from Redis, each run as a sandboxed WebAssembly component.
///
/// A job names its handler: the plugin `send-email.wasm` handles the job `send-email`. Every attempt runs in a fresh
/// sandbox with a deadline, a memory cap and only what the operator granted.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Log, on standard error")]
struct LogArgs {
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

#[derive(Debug, Subcommand)]
enum Command {
    New(new::NewArgs),
    Build(build::BuildArgs),
    Worker(worker::WorkerArgs),
    Push(push::PushArgs),
    Run(run::RunArgs),
    Inspect(inspect::InspectArgs),
    Doctor(doctor::DoctorArgs),
    Plugins(plugins::PluginsArgs),
    Queues(queues::QueuesArgs),
    Failed(failed::FailedArgs),
    Bench(bench::BenchArgs),
    #[command(hide = true)]
    Compile(compile::CompileArgs),
}

/// The exit code for a store that cannot be reached or used.
const EXIT_STORE: u8 = 3;

/// A wrong use that clap cannot see: shown as one line, exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Something that was asked for does not exist: exit code 5.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Missing(String);

/// Parses the arguments, does what they say and tells how it went.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|err| err.exit());
    let command = match cli.command {
        Command::Compile(args) => return compile::compile(args),
        command => command,
    };
    let done = start_log(&cli.log).and_then(|()| {
        let runtime = tokio::runtime::Runtime::new()?;
        let done = runtime.block_on(dispatch(command));
        // A signal handler's thread or a compilation still under way is nobody's concern any more.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(code) => code,
        Err(err) if is_broken_pipe(&err) => ExitCode::SUCCESS,
        Err(err) => {
            tell(&format!("kiln: {}", told(&err)));
            exit_code(&err)
        }
    }
}

/// The grammar, without showing what the environment holds: it may be a secret, and help is pasted into tickets.
fn command() -> clap::Command {
    fn hide(command: clap::Command) -> clap::Command {
        command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(hide)
    }
    hide(Cli::command())
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::New(args) => new::new(&args),
        Command::Build(args) => build::build(&args),
        Command::Worker(args) => worker::worker(args).await,
        Command::Push(args) => push::push(args).await,
        Command::Run(args) => run::run(args).await,
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Doctor(args) => doctor::doctor(args).await,
        Command::Plugins(args) => plugins::plugins(args).await,
        Command::Queues(args) => queues::queues(args).await,
        Command::Failed(args) => failed::failed(args).await,
        Command::Bench(args) => bench::bench(args).await,
        Command::Compile(args) => Ok(compile::compile(args)),
    }
}

/// An error in one line. Our own errors say all of it themselves; others have it in their causes.
fn told(err: &anyhow::Error) -> String {
    let ours = err.is::<QueueError>() || err.is::<PluginError>() || err.is::<LoadError>() || err.is::<SandboxError>();
    let text = if ours { err.to_string() } else { format!("{err:#}") };
    printable(&text).replace('\n', "; ")
}

/// Writes a line to standard error, if there is anybody to read it.
fn tell(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

fn exit_code(err: &anyhow::Error) -> ExitCode {
    let is = |found: bool, code: u8| found.then(|| ExitCode::from(code));
    let bad_url = matches!(err.downcast_ref(), Some(QueueError::Url { .. }));
    is(err.is::<Usage>() || bad_url, 2)
        .or_else(|| is(err.is::<QueueError>(), EXIT_STORE))
        .or_else(|| {
            is(
                err.is::<PluginError>() || err.is::<LoadError>() || err.is::<SandboxError>(),
                4,
            )
        })
        .or_else(|| is(err.is::<Missing>(), 5))
        .unwrap_or(ExitCode::FAILURE)
}

/// Whether whoever read our output has left, as `head` does: no fault.
fn is_broken_pipe(err: &anyhow::Error) -> bool {
    err.downcast_ref::<std::io::Error>()
        .is_some_and(|err| err.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Text of a guest or a producer, fit for a terminal: control characters in it could make one lie.
fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}")
}

fn start_log(args: &LogArgs) -> anyhow::Result<()> {
    // A bare level is meant for what Kiln and its handlers say; the engine's own steps drown that.
    let filter = match args.log.parse::<LevelFilter>() {
        Ok(level) => format!("warn,kiln={level},guest={level}"),
        Err(_) => args.log.clone(),
    };
    let filter = EnvFilter::builder()
        .parse(&filter)
        .map_err(|err| Usage(format!("--log {:?}: {err}", args.log)))?;
    let log = tracing_subscriber::fmt()
        // A line that cannot be written is dropped; to complain about it on the same stream would panic.
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    match args.log_format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
