//! `kiln completions` and `kiln man`: what is made of the grammar for shells and for readers of man pages.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use clap_complete::Shell;

use super::{out, shown};

/// Print the completions of a shell
///
/// They complete commands, flags and those values that are one of a few.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln completions bash > /etc/bash_completion.d/kiln
  kiln completions zsh > \"${fpath[1]}/_kiln\"
  kiln completions fish > ~/.config/fish/completions/kiln.fish")]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Write the man pages, one for each command
///
/// They say what --help says. A page that is there already is replaced.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kiln man /usr/local/share/man/man1 && man kiln-worker")]
pub(super) struct ManArgs {
    /// The folder to put them into; it is made if need be
    dir: PathBuf,
}

pub(super) fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "kiln", &mut script);
    out().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let dir = || shown(&args.dir);
    std::fs::create_dir_all(&args.dir).with_context(dir)?;
    clap_mangen::generate_to(super::command(), &args.dir).with_context(dir)?;
    Ok(ExitCode::SUCCESS)
}
