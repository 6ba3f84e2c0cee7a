//! The command line: what `ebs` can be asked for.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use chassis::{config::EXIT_CONFIG, healthcheck::healthcheck, process::exit_code, telemetry};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{
    commands::{
        completions, dead_letters, doctor, events, objects, operations, result, spam, statistics, submit, totals,
    },
    failure::end,
    output::{self, heading},
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
    Submit(submit::Submit),
    Result(result::Arguments),
    Objects(objects::Objects),
    Operations(operations::Operations),
    Totals(totals::Totals),
    Statistics(statistics::Statistics),
    Events(events::Events),
    DeadLetters(dead_letters::DeadLetters),
    /// Asks the system that runs whether it is ready; where it listens is said as for `up`.
    Healthcheck(Flags),
    Doctor(doctor::Doctor),
    Spam(spam::Spam),
    Completions(completions::Completions),
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
The bus is not copied: what is in it is on its way, and comes into the record by
itself.

Exit codes: 0 done, 64 wrong arguments or settings, 65 the record is damaged, or
it is something else, 66 there is no record, 73 FILE exists, without --force, or
cannot be written, 74 reading or writing failed.";

const RESTORE_HELP: &str = "\
Keep the bus as it is: what is in it is merged on top.

Exit codes: 0 done, 64 wrong arguments or settings, 65 FILE is damaged, or it is
something else, 66 there is no FILE, 73 there is a record, without --force, or
it cannot be written, 74 reading or writing failed, 75 the record is in use.";

/// The commands, as `ebs --help` shows them.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Run it", &["up", "healthcheck", "doctor", "backup", "restore"]),
    ("Give it work", &["submit", "result", "operations", "spam"]),
    ("See what happens", &["objects", "totals", "statistics", "events", "dead-letters"]),
    ("And", &["completions", "help"]),
];

const TEMPLATE: &str = "{about-with-newline}\n{usage-heading} {usage}{after-help}\n{options}";

const LAST_WORDS: &str = "\
All but those that run it ask http://localhost:8000, or where --url or EBS_URL
says. Without a command it is `ebs up`. `ebs COMMAND --help` says more.

Options:";

/// The command line, with its commands in groups: clap has no groups of commands.
fn command_line() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    let mut list = String::new();
    for (group, names) in GROUPS {
        let _ = writeln!(list, "\n{}", heading(&format!("{group}:")));
        for name in names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(list, "  {name:<12}  {}", about.split([';', ':']).next().unwrap_or_default());
        }
    }
    Cli::command().help_template(TEMPLATE).after_help(format!("{}\n{LAST_WORDS}", list.trim_start()))
}

/// Does what the arguments say.
pub async fn main() -> ExitCode {
    let parsed = command_line().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let command = match parsed {
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
        Command::Submit(arguments) => end(submit::run(arguments).await),
        Command::Result(arguments) => end(result::run(arguments).await),
        Command::Objects(arguments) => end(objects::run(arguments).await),
        Command::Operations(arguments) => end(operations::run(arguments).await),
        Command::Totals(arguments) => end(totals::run(arguments).await),
        Command::Statistics(arguments) => end(statistics::run(arguments).await),
        Command::Events(arguments) => end(events::run(arguments).await),
        Command::DeadLetters(arguments) => end(dead_letters::run(arguments).await),
        Command::Completions(arguments) => end(completions::run(&arguments, Cli::command())),
        Command::Doctor(arguments) => end(doctor::run(arguments).await),
        Command::Spam(arguments) => end(spam::run(arguments).await),
        Command::Backup { file, force, flags } => {
            ::statistics::back_up(settings(&flags)?.statistics.database_url.path(), &file, force).await
        }
        Command::Restore { file, force, flags } => {
            ::statistics::bring_back(&file, settings(&flags)?.statistics.database_url.path(), force).await
        }
    })
}

fn settings(flags: &Flags) -> Result<Settings, ExitCode> {
    Settings::load(flags).map_err(|error| {
        output::tell(&error.to_string());
        ExitCode::from(EXIT_CONFIG)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_command_stands_in_one_group() {
        let mut command = command_line();
        command.clone().debug_assert();
        command.build();
        let known: BTreeSet<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        let grouped: Vec<&str> = GROUPS.into_iter().flat_map(|(_, names)| names).copied().collect();
        assert_eq!(grouped.iter().copied().collect::<BTreeSet<_>>(), known);
        assert_eq!(grouped.len(), known.len());
        let help = command.clone().render_help().to_string();
        for name in known {
            assert!(help.contains(&format!("\n  {name} ")), "{name}: {help}");
        }
    }
}
