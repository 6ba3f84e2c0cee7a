//! `ebs doctor`: looks at everything that the system stands on, and says what is wrong and what to do. It changes nothing.

mod bus;
mod check;
mod machine;
mod place;
mod record;
mod system;

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use self::check::{Check, Verdict};
use crate::{
    client::Address,
    failure::{EXIT_NO, Failure},
    output::{self, Format},
    settings::{Flags, Parts},
};

const HELP: &str = "\
Each line is ok, a warning, or a problem, and then says what to do. Nothing is changed, and no password or token is shown. The \
system that runs is asked at --url, with the token in API_TOKEN; bus and record are where the settings say, as for `ebs up`.

Exit codes: 0 there is no problem; 1 there is one; 64 wrong usage.";

/// Says what is wrong and what to do: looks at the system, its bus, its record and this machine.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Doctor {
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    format: Format,
    // Last: its heading is for all that follows.
    #[command(flatten)]
    flags: Flags,
}

/// Looks at everything, at the same time.
///
/// # Errors
/// If standard output takes no more.
pub async fn run(doctor: Doctor) -> Result<ExitCode, Failure> {
    let parts = Parts::of(&doctor.flags);
    let (system, bus, record) = tokio::join!(system::look(&doctor.address), bus::look(&parts), record::look(&parts));
    let settings = match parts.error {
        None => Check::ok("settings", "all are allowed"),
        Some(error) => Check::problem("settings", error.to_string(), "mend them: `ebs up --help` lists all"),
    };
    let checks: Vec<Check> = [vec![settings], machine::look(), system, bus, record].concat();
    let problems = checks.iter().filter(|check| check.verdict == Verdict::Problem).count();
    let found = json!({"problems": problems, "checks": checks});
    output::report(&doctor.format.written(&found, |_| checks.iter().map(Check::shown).collect()))?;
    Ok(ExitCode::from(if problems == 0 { 0 } else { EXIT_NO }))
}
