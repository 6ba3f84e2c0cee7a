//! The bus, wherever it is.

use std::path::Path;

use bus::{
    amqp::{Finding, Verdict as Seen, examine as examine_broker},
    embedded::{Examined, OpenError, examine as examine_file},
};
use chassis::settings::QueueUrl;

use super::{
    check::{Check, Verdict},
    place::{self, holder, size},
};
use crate::settings::Parts;

/// Looks at the bus that the settings name.
pub async fn look(parts: &Parts) -> Vec<Check> {
    // That it cannot be understood is said elsewhere.
    let Some(shared) = &parts.shared else { return Vec::new() };
    match shared.queue_url() {
        QueueUrl::Embedded(file) => {
            let mut checks = vec![file_check(file, examine_file(file).await)];
            checks.extend(place::look("bus", file));
            checks
        }
        QueueUrl::Broker(address) => {
            let catalogue = shared.catalogue();
            let operations: Vec<_> = catalogue.names().filter_map(|name| name.parse().ok()).collect();
            let found = examine_broker(address, &shared.exchange.to_string(), &operations).await;
            let first = Check::ok("broker", address.to_string());
            [first].into_iter().chain(found.into_iter().map(Check::from)).collect()
        }
    }
}

fn file_check(file: &Path, examined: Result<Option<Examined>, OpenError>) -> Check {
    let shown = std::path::absolute(file).unwrap_or_else(|_| file.to_owned()).display().to_string();
    match examined {
        Ok(None) => Check::ok("bus", format!("{shown} is not there yet: `ebs up` makes it")),
        Ok(Some(examined)) => {
            // That of one which is in use may be in its log still.
            let format = if examined.format > 0 { format!(", format {}", examined.format) } else { String::new() };
            let of = format!("{shown}, {}{format}", size(examined.bytes));
            match (examined.in_use, examined.is_whole) {
                (true, _) => Check::ok("bus", format!("{of}: in use by {}", holder(file))),
                (false, true) => Check::ok("bus", format!("{of}: whole, and nobody has it open")),
                (false, false) => Check::ok("bus", format!("{of}: nobody has it open, and it begins well")),
            }
        }
        Err(error) => {
            let to_do = match &error {
                OpenError::Newer { .. } => "use the version of ebs that wrote it, or a newer one",
                OpenError::Damaged { .. } => {
                    "move it and what is beside it (-wal) away: what was on its way is lost, the record is not"
                }
                OpenError::Foreign { .. } => "name another file in QUEUE_URL",
                _ => "see that this user can read and write it, or name another file in QUEUE_URL",
            };
            Check::problem("bus", error.to_string(), to_do)
        }
    }
}

impl From<Finding> for Check {
    fn from(Finding { subject, verdict, says, advice }: Finding) -> Self {
        let verdict = match verdict {
            Seen::Ok => Verdict::Ok,
            Seen::Warning => Verdict::Warning,
            Seen::Problem => Verdict::Problem,
        };
        Self::new(subject, verdict, says, advice)
    }
}
