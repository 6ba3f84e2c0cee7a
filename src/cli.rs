//! The command line: what `ebs` can be asked for.

use std::process::ExitCode;

use chassis::{config::EXIT_CONFIG, healthcheck::healthcheck, process::exit_code, telemetry};
use clap::{Parser, Subcommand};

use crate::{
    settings::{Flags, Settings},
    up::{self, NAME},
};

/// Processes data in the background, and lets you trust the outcome.
#[derive(Parser)]
#[command(name = NAME, version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the whole system in this process; what `ebs` alone does, too.
    Up(Flags),
    /// Asks the system that runs whether it is ready; where it listens is said as for `up`.
    Healthcheck(Flags),
}

/// Does what the arguments say.
pub async fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command.unwrap_or_else(|| Command::Up(Flags::default())),
        Err(error) => {
            // For want of a terminal there is nobody to tell.
            let _ = error.print();
            // What was asked for, such as help, comes as an error, too.
            return if error.use_stderr() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::SUCCESS };
        }
    };
    let (Command::Up(flags) | Command::Healthcheck(flags)) = &command;
    let settings = match Settings::load(flags) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{NAME}: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match command {
        Command::Up(_) => {
            telemetry::init(settings.shared.log_format, settings.shared.rust_log.clone());
            exit_code(NAME, up::up(settings).await)
        }
        Command::Healthcheck(_) => healthcheck(settings.listen()).await,
    }
}
