//! The record's file.

use std::path::Path;

use statistics::record::{Examined, OpenError, examine};

use super::{
    check::Check,
    place::{self, holder, size},
};
use crate::settings::Parts;

/// A write-ahead log that is longer is being kept from beginning anew by somebody who reads.
const LONG_LOG_BYTES: u64 = 256 << 20;

/// Looks at the record that the settings name.
pub async fn look(parts: &Parts) -> Vec<Check> {
    // That it cannot be understood is said elsewhere.
    let Some(file) = &parts.record else { return Vec::new() };
    let mut checks = file_checks(file, examine(file).await);
    checks.extend(place::look("record", file));
    checks
}

fn file_checks(file: &Path, examined: Result<Option<Examined>, OpenError>) -> Vec<Check> {
    let shown = std::path::absolute(file).unwrap_or_else(|_| file.to_owned()).display().to_string();
    let examined = match examined {
        Ok(None) => return vec![Check::ok("record", format!("{shown} is not there yet: statistics makes it"))],
        Ok(Some(examined)) => examined,
        Err(error) => {
            let to_do = match &error {
                OpenError::Unusable { reason, .. } if reason.contains("newer") => {
                    "use the version of ebs that wrote it, or a newer one"
                }
                OpenError::Unusable { reason, .. } if reason.contains("damaged") => {
                    "stop the system, then: ebs restore --force BACKUP"
                }
                OpenError::Unusable { .. } => "name another file in DATABASE_URL",
                _ => "see that this user can read and write it, or name another file in DATABASE_URL",
            };
            return vec![Check::problem("record", error.to_string(), to_do)];
        }
    };
    let Examined { bytes, log_bytes, in_use, version, known, is_whole } = examined;
    let who = if in_use { format!("in use by {}", holder(file)) } else { "nobody has it open".to_owned() };
    let whole = if is_whole { "whole" } else { "begins well" };
    let mut checks =
        vec![Check::ok("record", format!("{shown}, {}, version {version} of {known}: {whole}, {who}", size(bytes)))];
    if log_bytes > LONG_LOG_BYTES {
        let says = format!("its write-ahead log has {}", size(log_bytes));
        let to_do = "end whoever reads it in a long transaction (sqlite3, a backup); the log of statistics names them";
        checks.push(Check::warning("record", says, to_do));
    }
    checks
}
