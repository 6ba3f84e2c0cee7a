//! The commands `backup` and `restore`: copy the record while it is written, and put a copy in its place.

use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use chassis::process::EXIT_DATA;
use tokio::task::spawn_blocking;

use crate::record::{Copied, CopyError, backup, backup_for_reading, restore, restore_from};

/// In place of a file's name: standard output or input.
const STANDARD: &str = "-";

/// Exit codes of BSD's `sysexits.h`: there is no such record,
const EXIT_NO_INPUT: u8 = 66;
/// the copy's place is taken, or cannot be written,
const EXIT_CANNOT_CREATE: u8 = 73;
/// reading or writing failed,
const EXIT_IO: u8 = 74;
/// or the record is in use.
const EXIT_TRY_LATER: u8 = 75;

/// Copies the record `database` to `target`, or to standard output if that is `-`, and says so on standard error.
///
/// Exit codes: 0; 65 the record is damaged, or it is something else; 66 there is none; 73 `target` exists, without `force`,
/// or cannot be written; 74 reading or writing failed.
pub async fn back_up(database: &Path, target: &Path, force: bool) -> ExitCode {
    tell(
        target,
        match target.to_str() {
            Some(STANDARD) => to_standard_output(database).await,
            _ => backup(database, target, force).await,
        },
    )
}

/// Makes the copy `source`, or standard input if that is `-`, the record `database`, and says so on standard error.
///
/// Exit codes: 0; 65 the copy is damaged, or it is something else; 66 there is none; 73 there is a record, without `force`,
/// or it cannot be written; 74 reading or writing failed; 75 the record is in use.
pub async fn bring_back(source: &Path, database: &Path, force: bool) -> ExitCode {
    tell(
        database,
        match source.to_str() {
            Some(STANDARD) => restore_from(io::stdin(), database, force).await,
            _ => restore(source, database, force).await,
        },
    )
}

async fn to_standard_output(database: &Path) -> Result<Copied, CopyError> {
    let (mut file, copied) = backup_for_reading(database).await?;
    let written = spawn_blocking(move || {
        let mut output = io::stdout().lock();
        io::copy(&mut file, &mut output).and_then(|_| output.flush())
    });
    match written.await {
        Ok(Ok(())) => Ok(copied),
        Ok(Err(error)) => Err(CopyError::Failed(format!("standard output: {error}"))),
        Err(panic) => Err(CopyError::Failed(panic.to_string())),
    }
}

fn tell(target: &Path, copied: Result<Copied, CopyError>) -> ExitCode {
    let (message, code) = match copied {
        Ok(Copied { bytes, objects }) => {
            (format!("{}: {objects} objects, {bytes} bytes, checked", target.display()), ExitCode::SUCCESS)
        }
        Err(error) => (error.to_string(), ExitCode::from(code(&error))),
    };
    // Whether there is anybody to be told or not, it is done or it is not.
    let _ = writeln!(io::stderr(), "{message}");
    code
}

fn code(error: &CopyError) -> u8 {
    match error {
        CopyError::NoRecord(_) => EXIT_NO_INPUT,
        CopyError::Unusable { .. } => EXIT_DATA,
        CopyError::Exists(_) | CopyError::Itself(_) | CopyError::Target { .. } => EXIT_CANNOT_CREATE,
        CopyError::Failed(_) => EXIT_IO,
        CopyError::InUse(_) => EXIT_TRY_LATER,
    }
}
