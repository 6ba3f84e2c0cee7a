//! The command line: what `ebs` can be asked for.

use std::{path::PathBuf, process::ExitCode};

use chassis::{config::EXIT_CONFIG, healthcheck::healthcheck, process::exit_code, telemetry};
use clap::{Parser, Subcommand};

use crate::{
    commands::dead_letters::{self, DeadLetters},
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
    DeadLetters(DeadLetters),
    /// Copies the record to FILE while the system runs: the copy is whole, checked, and there only when it is.
    #[command(after_help = BACKUP_HELP)]
    Backup {
        /// Where the copy goes; - is standard output.
        file: PathBuf,
        /// Replaces FILE if it exists.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        flags: Flags,
    },
    /// Makes the copy FILE the record; the system must be stopped.
    #[command(after_help = RESTORE_HELP)]
    Restore {
        /// Where the copy is; - is standard input.
        file: PathBuf,
        /// Replaces the record if there is one.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        flags: Flags,
    },
}

const BACKUP_HELP: &str = "\
Exit codes: 0; 64 wrong arguments or settings; 65 the record is damaged, or it is something else; 66 there is no record;
73 FILE exists, without --force, or cannot be written; 74 reading or writing failed.

The bus is not copied: what is in it is on its way, and comes into the record by itself.";

const RESTORE_HELP: &str = "\
Exit codes: 0; 64 wrong arguments or settings; 65 FILE is damaged, or it is something else; 66 there is no FILE; 73 there is
a record, without --force, or it cannot be written; 74 reading or writing failed; 75 the record is in use.

Keep the bus as it is: what is in it is merged on top.";

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
    perform(command).await.unwrap_or_else(|code| code)
}

/// Does it. The error is the exit code of settings that are not allowed.
async fn perform(command: Command) -> Result<ExitCode, ExitCode> {
    Ok(match command {
        Command::Up(flags) => {
            let settings = settings(&flags)?;
            telemetry::init(settings.shared.log_format, settings.shared.rust_log.clone());
            exit_code(NAME, up::up(settings).await)
        }
        Command::Healthcheck(flags) => healthcheck(settings(&flags)?.listen()).await,
        Command::DeadLetters(arguments) => dead_letters::main(arguments).await,
        Command::Backup { file, force, flags } => {
            statistics::back_up(settings(&flags)?.statistics.database_url.path(), &file, force).await
        }
        Command::Restore { file, force, flags } => {
            statistics::bring_back(&file, settings(&flags)?.statistics.database_url.path(), force).await
        }
    })
}

fn settings(flags: &Flags) -> Result<Settings, ExitCode> {
    Settings::load(flags).map_err(|error| {
        eprintln!("{NAME}: {error}");
        ExitCode::from(EXIT_CONFIG)
    })
}
