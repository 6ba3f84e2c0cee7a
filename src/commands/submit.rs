//! `ebs submit`: submits an object, or many.

mod bulk;
mod lines;
mod once;
mod source;

use std::{path::PathBuf, process::ExitCode, str::FromStr};

use clap::{Args, ValueEnum};
use uuid::Uuid;

use crate::{
    client::{Address, Client},
    commands::result,
    failure::Failure,
    output::{self, Format},
    time::Time,
};

const HELP: &str = "\
What is submitted is
  nothing said    a generated text, whose words are counted
  --data X, or -  for word-frequencies, the operation if none is named, a text
                  as it stands; for others JSON if it is JSON, else a text
  FILE.json       the JSON in it, as the data of one object
  FILE.ndjson     (or .jsonl) many objects, one a line, with the members that
                  POST /api/objects takes: {\"operation\":\"plusone\",\"data\":[1,2]}
  any other FILE  the text in it
Where the name does not say it, --format does.

Prints the id of the object, and with --wait its result. Of many it prints how
many were accepted, and those that were not; with --json line by line what the
system says of them, ids included.

An object is submitted with an Idempotency-Key, and again with the same one for
up to a minute when the answer was lost or the system cannot now: however often
that is, it is one object. The same goes for many; with --key for a second run
of the same file, too.

Exit codes: 0 accepted (with --wait: succeeded), 1 refused (with --wait: or
failed; of many: one of them), 64 wrong usage, 66 FILE cannot be read, 69 the
system cannot be reached, 75 not finished in time.
A token, if the system wants one, is taken from API_TOKEN.

Examples:
  ebs submit README.md --wait
  ebs submit --operation pow --parameters '{\"exponent\":3}' --data '[1,2]' --wait
  generate | ebs submit --format ndjson -";

/// Submits an object, or many, to be processed
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Submit {
    /// What is submitted; - is standard input
    #[arg(conflicts_with = "data")]
    file: Option<PathBuf>,
    /// What is submitted, itself
    #[arg(long, value_name = "JSON_OR_TEXT", allow_hyphen_values = true)]
    data: Option<String>,
    /// What FILE, or the data, is [default: see below]
    #[arg(long, value_enum)]
    format: Option<Kind>,
    /// What is done to it: one of `ebs operations` [default: word-frequencies]
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// The operation's parameters: a JSON object
    #[arg(long, value_name = "JSON")]
    parameters: Option<String>,
    /// Into how many tasks it is split
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tasks: Option<u32>,
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// How long it may take before it is given up: seconds, or a time like 24h
    #[arg(long, value_name = "TIME")]
    deadline: Option<Time>,
    /// Makes it the same object as one that was submitted with the same key [default: a new one]
    #[arg(long, value_name = "IDEMPOTENCY_KEY")]
    key: Option<String>,
    /// Waits until it has finished, no longer than so many seconds or a time like 5m, and prints its result
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "")]
    wait: Option<Wait>,
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    output: Format,
}

/// What the bytes that are submitted are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Text,
    // The data of one object.
    Json,
    // Many objects, one a line, each in JSON.
    Ndjson,
}

/// What follows `--wait`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wait {
    /// Nothing: however long it takes.
    Long,
    /// No longer than that.
    AtMost(Time),
    /// What is no time must be the file.
    File(PathBuf),
}

impl FromStr for Wait {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.parse() {
            _ if text.is_empty() => Self::Long,
            Ok(time) => Self::AtMost(time),
            Err(_) => Self::File(text.into()),
        })
    }
}

impl Submit {
    /// `--wait FILE` is `--wait` and FILE.
    fn sorted(mut self) -> Result<Self, Failure> {
        if let Some(Wait::File(file)) = self.wait {
            if self.file.is_some() || self.data.is_some() {
                return Err(Failure::usage(format!(
                    "--wait {}: expected seconds, or a time like 250ms, 5m or 24h",
                    file.display()
                )));
            }
            self.file = Some(file);
            self.wait = Some(Wait::Long);
        }
        Ok(self)
    }

    /// What has no meaning for many objects.
    fn only_for_one(&self) -> Option<&'static str> {
        [
            ("--operation", self.operation.is_some()),
            ("--parameters", self.parameters.is_some()),
            ("--tasks", self.tasks.is_some()),
            ("--name", self.name.is_some()),
            ("--deadline", self.deadline.is_some()),
            ("--wait", self.wait.is_some()),
        ]
        .into_iter()
        .find_map(|(flag, is_given)| is_given.then_some(flag))
    }
}

/// Submits.
///
/// # Errors
/// If it is not accepted; with `--wait`, if it does not succeed in time.
pub async fn run(arguments: Submit) -> Result<ExitCode, Failure> {
    let arguments = arguments.sorted()?;
    let client = Client::of(&arguments.address)?;
    if source::kind(&arguments) == Some(Kind::Ndjson) {
        if let Some(flag) = arguments.only_for_one() {
            return Err(Failure::usage(format!("{flag} is for one object; of many, each line says its own")));
        }
        let lines = source::lines(&arguments).await?;
        if arguments.key.is_some() && !lines.is_file {
            return Err(Failure::usage("--key: of many objects only with a file, whose lines are the same each time"));
        }
        return bulk::submit(&client, lines, key(arguments.key), arguments.output).await;
    }
    let body = source::submission(&arguments)?;
    let accepted = once::submit(&client, body, &key(arguments.key)).await?;
    let id = accepted["id"].as_str().ok_or_else(|| client.not_ebs())?;
    match arguments.wait {
        None => arguments.output.print(&accepted, |_| format!("{}\n", output::one_line(id)))?,
        Some(wait) => {
            if !arguments.output.json {
                output::report(&format!("{}\n", output::one_line(id)))?;
            }
            let timeout = if let Wait::AtMost(time) = wait { Some(time) } else { None };
            return result::print(&result::finished(&client, id, timeout, true).await?, arguments.output);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The key that is given, or a new one.
fn key(given: Option<String>) -> String {
    given.unwrap_or_else(|| Uuid::now_v7().to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::FromArgMatches;

    use super::*;

    pub(super) fn parsed(arguments: &[&str]) -> Result<Submit, String> {
        let command = Submit::augment_args(clap::Command::new("submit"));
        let matches = command.try_get_matches_from(["submit"].iter().chain(arguments));
        let submit =
            matches.and_then(|matches| Submit::from_arg_matches(&matches)).map_err(|error| error.to_string())?;
        submit.sorted().map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_file_may_follow_wait_and_so_may_a_time() {
        let wait = |arguments: &[&str]| {
            let submit = parsed(arguments).unwrap();
            (submit.wait, submit.file.map(|file| file.display().to_string()))
        };
        let file = Some("README.md".to_owned());
        assert_eq!(wait(&["--wait", "README.md"]), (Some(Wait::Long), file.clone()));
        assert_eq!(wait(&["README.md", "--wait"]), (Some(Wait::Long), file.clone()));
        assert_eq!(wait(&["--wait", "30", "README.md"]), (Some(Wait::AtMost("30".parse().unwrap())), file.clone()));
        assert_eq!(wait(&["README.md", "--wait=1m"]), (Some(Wait::AtMost("60".parse().unwrap())), file));
        assert_eq!(wait(&["--wait", "-"]), (Some(Wait::Long), Some("-".to_owned())));
        assert!(parsed(&["--wait", "soon", "README.md"]).unwrap_err().contains("5m"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for arguments in [
            &["FILE", "--data", "x"][..],
            &["--tasks", "0"],
            &["--tasks", "10001"],
            &["--deadline", "soon"],
            &["--format", "xml"],
        ] {
            assert!(parsed(arguments).is_err(), "{arguments:?}");
        }
        assert_eq!(parsed(&["--data", "-1"]).unwrap().data.as_deref(), Some("-1"));
    }
}
