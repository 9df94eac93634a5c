//! The command line: one file for each command. Arguments become settings here; nothing below knows of them.

mod alerts;
mod batch;
mod bench;
mod build;
mod cancel;
mod compile;
mod doctor;
mod failed;
mod generated;
mod history;
mod inspect;
mod job;
mod lanes;
mod log;
mod logs;
mod machine;
mod new;
mod pause;
mod plugin;
mod plugins;
mod push;
mod queues;
mod receivers;
mod result;
mod run;
mod schedules;
mod serve;
mod settings;
mod state;
mod stats;
mod store;
mod systemd;
mod telling;
mod ui;
mod worker;

use std::io::{StdoutLock, Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use jiff::Timestamp;

use self::log::StandardError;
use self::settings::SettingsFile;
use crate::admin::AdminError;
use crate::plugins::PluginError;
use crate::queue::QueueError;
use crate::sandbox::{LoadError, SandboxError};
use crate::text::{self, BlockWriter, MAX_LINE_BYTES};

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   failed for a reason that its message gives
  2   wrong use: a flag, a setting, a value or a payload that makes no sense
  3   the store cannot be reached or used
  4   the plugin folder or a plugin cannot be used
  5   there is no such job, failed entry, value, queue, result, batch or schedule, or nothing to release
  6   worker: the grace period ended, attempts were interrupted, their jobs are back in their queues
  7   doctor: something would bite a worker
  130 worker: stopped at once by a second signal; its jobs come back when its lease runs out
      bench: stopped by a signal, its keys deleted
      failed, cancel: stopped by a signal; what it had not come to is as it was
  8   push --wait, result --wait: the job has not ended in time
  10  run, failed try, push --wait, result: it ended as rejected; 11 error, 12 trap, 13 timeout, 14 memory, 15 denied
  16  push --wait, result: it ended as another kind of failure

A flag whose help names an environment variable can be given by it. Those of kiln worker can also be given by a file of \
settings (--config): lease = \"10s\". A flag goes over its variable, the variable over the file, the file over the default.";

/// Background jobs from Redis, each run as a sandboxed WebAssembly component.
///
/// A job names its handler: the plugin `send-email.wasm` handles the job `send-email`. Every attempt runs in a fresh
/// sandbox with a deadline, a memory cap and only what the operator granted.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    /// A file of settings (TOML). Its keys are the flags of kiln worker; every command takes from it what it has a flag
    /// for [default: none]
    #[arg(
        long,
        global = true,
        env = "KILN_CONFIG",
        value_name = "FILE",
        help_heading = "Settings"
    )]
    config: Option<PathBuf>,
    #[command(flatten)]
    log: log::LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(new::NewArgs),
    Build(build::BuildArgs),
    Worker(worker::WorkerArgs),
    Serve(serve::ServeArgs),
    Push(push::PushArgs),
    Run(run::RunArgs),
    Inspect(inspect::InspectArgs),
    Doctor(doctor::DoctorArgs),
    Plugins(plugins::PluginsArgs),
    Queues(queues::QueuesArgs),
    Lanes(lanes::LanesArgs),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Cancel(cancel::CancelArgs),
    Job(job::JobArgs),
    Logs(logs::LogsArgs),
    Result(result::ResultArgs),
    Batch(batch::BatchArgs),
    Schedules(schedules::SchedulesArgs),
    Stats(stats::StatsArgs),
    Failed(failed::FailedArgs),
    State(state::StateArgs),
    Bench(bench::BenchArgs),
    Completions(generated::CompletionsArgs),
    Man(generated::ManArgs),
    #[command(hide = true)]
    Compile(compile::CompileArgs),
}

/// The exit code for a store that cannot be reached or used.
const EXIT_STORE: u8 = 3;

/// The exit code where what was asked for does not exist.
const EXIT_MISSING: u8 = 5;

/// The exit code after a signal, as a shell reports an interrupted program.
const EXIT_SIGNAL: u8 = 130;

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
    let code = match parse().and_then(run_command) {
        Ok(code) => code,
        Err(err) if is_broken_pipe(&err) => ExitCode::SUCCESS,
        Err(err) => {
            tell(&format!("kiln: {}", told(&err)));
            exit_code(&err)
        }
    };
    log::flush();
    code
}

/// The arguments, with what the file of settings says where neither they nor the environment do.
fn parse() -> anyhow::Result<Cli> {
    let mut matches = command().get_matches();
    let file = match matches.get_one::<PathBuf>("config") {
        Some(path) => Some(SettingsFile::read(path, &command())?),
        None => None,
    };
    if let Some(file) = &file {
        matches = file.defaults_in(command()).get_matches();
    }
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|err| err.exit());
    if let (Command::Doctor(args), Some((_, given))) = (&mut cli.command, matches.subcommand()) {
        args.settings = settings::in_force(&command(), given, file.as_ref());
        args.exposed = file.as_ref().and_then(SettingsFile::exposed);
    }
    Ok(cli)
}

fn run_command(cli: Cli) -> anyhow::Result<ExitCode> {
    let command = match cli.command {
        Command::Compile(args) => return Ok(compile::compile(&args)),
        command => command,
    };
    cli.log.start()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let done = runtime.block_on(dispatch(command));
    // Does not wait for a signal handler's thread, or for a compilation under way: nobody needs them any more.
    runtime.shutdown_background();
    done
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
        Command::Serve(args) => serve::serve(args).await,
        Command::Push(args) => push::push(args).await,
        Command::Run(args) => run::run(args).await,
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Doctor(args) => doctor::doctor(args).await,
        Command::Plugins(args) => plugins::plugins(args).await,
        Command::Queues(args) => queues::queues(args).await,
        Command::Lanes(args) => lanes::show(args).await,
        Command::Schedules(args) => schedules::schedules(args).await,
        Command::Stats(args) => stats::stats(args).await,
        Command::Pause(args) => pause::pause(args).await,
        Command::Resume(args) => pause::resume(args).await,
        Command::Cancel(args) => cancel::cancel(args).await,
        Command::Job(args) => job::job(args).await,
        Command::Logs(args) => logs::logs(args).await,
        Command::Result(args) => result::result(args).await,
        Command::Batch(args) => batch::batch(args).await,
        Command::Failed(args) => failed::failed(args).await,
        Command::State(args) => state::state(args).await,
        Command::Bench(args) => bench::bench(args).await,
        Command::Completions(args) => generated::completions(&args),
        Command::Man(args) => generated::man(&args),
        Command::Compile(args) => Ok(compile::compile(&args)),
    }
}

/// An error in one line. Kiln's own errors say everything themselves; others say the rest in their causes.
fn told(err: &anyhow::Error) -> String {
    let ours = err.is::<QueueError>()
        || err.is::<AdminError>()
        || err.is::<PluginError>()
        || err.is::<LoadError>()
        || err.is::<SandboxError>();
    let text = if ours { err.to_string() } else { format!("{err:#}") };
    text::message(&text, MAX_LINE_BYTES).into_owned()
}

/// Writes one line, or several, to standard error, if somebody reads it.
fn tell(line: &str) {
    let _ = StandardError.write_all(format!("{}\n", text::block(line)).as_bytes());
}

fn exit_code(err: &anyhow::Error) -> ExitCode {
    let is = |found: bool, code: u8| found.then(|| ExitCode::from(code));
    let bad_url = matches!(err.downcast_ref(), Some(QueueError::Url { .. }));
    is(err.is::<Usage>() || bad_url, 2)
        .or_else(|| is(err.is::<QueueError>(), EXIT_STORE))
        .or_else(|| err.downcast_ref().map(admin_exit_code))
        .or_else(|| {
            is(
                err.is::<PluginError>() || err.is::<LoadError>() || err.is::<SandboxError>(),
                4,
            )
        })
        .or_else(|| is(err.is::<Missing>(), EXIT_MISSING))
        .unwrap_or(ExitCode::FAILURE)
}

fn admin_exit_code(err: &AdminError) -> ExitCode {
    ExitCode::from(match err {
        AdminError::Busy
        | AdminError::Untriable(_)
        | AdminError::NoEdit(_)
        | AdminError::Store(QueueError::MarksFull { .. }) => 1,
        AdminError::Store(_) | AdminError::Unusable(_) | AdminError::State(_) => EXIT_STORE,
        AdminError::Plugin(_) | AdminError::Load(_) | AdminError::Sandbox(_) => 4,
        AdminError::Key | AdminError::Value(_) | AdminError::SeveralSchedules(_) | AdminError::NotApart => 2,
        AdminError::NoEntry(_)
        | AdminError::NoHost(_)
        | AdminError::NoQueue
        | AdminError::NotAside(_)
        | AdminError::NoSchedule(_) => EXIT_MISSING,
    })
}

/// Whether the error is that the reader of our output has left, as `head` does: no fault.
fn is_broken_pipe(err: &anyhow::Error) -> bool {
    err.downcast_ref::<std::io::Error>()
        .is_some_and(|err| err.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Standard output for what a command prints. Hidden characters in it are shown, so that nobody's text can steer a
/// terminal. JSON stays the same JSON.
fn out() -> BlockWriter<StdoutLock<'static>> {
    BlockWriter(stdout().lock())
}

/// An RFC 3339 time as people read it, to the second. Other text as it is.
fn moment(text: &str) -> String {
    let time = text.parse::<Timestamp>();
    time.map_or_else(|_| text::name(text).into_owned(), |time| format!("{time:.0}"))
}

/// A path as one line.
fn shown(path: &Path) -> String {
    text::line(&path.to_string_lossy(), MAX_LINE_BYTES).into_owned()
}

/// `1 job`, `2 jobs`.
fn plural(count: u64, one: &str, more: &str) -> String {
    let what = if count == 1 { one } else { more };
    format!("{count} {what}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_flags_of_a_command_have_one_name() {
        super::command().debug_assert();
    }
}
