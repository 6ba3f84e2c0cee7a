//! `ebs completions`: what a shell needs to complete the command line.

use std::{io, process::ExitCode};

use clap::Args;
use clap_complete::{Shell, generate};

use crate::{failure::Failure, output, up::NAME};

/// Prints what a shell needs to complete commands and flags
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

const HELP: &str = "\
For this session:
  source <(ebs completions bash)
For all of them:
  ebs completions bash > ~/.local/share/bash-completion/completions/ebs
  ebs completions zsh > \"${fpath[1]}/_ebs\"
  ebs completions fish > ~/.config/fish/completions/ebs.fish";

/// Prints it.
///
/// # Errors
/// If standard output takes no more.
pub fn run(arguments: &Completions, mut command: clap::Command) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    generate(arguments.shell, &mut command, NAME, &mut script);
    let script = String::from_utf8(script).map_err(io::Error::other)?;
    output::print(&script)?;
    Ok(ExitCode::SUCCESS)
}
