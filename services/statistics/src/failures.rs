//! What is wrong when the record cannot be written: with the moment, or with what is to be written.

use std::error::Error;

use bus::{BatchError, events::InvalidOperationName};

use crate::record::is_of_rows;

/// Whether the events themselves are to blame, so that trying again would not help. Only if that is certain: it may be a full
/// disk, a lock, a log that somebody keeps from being emptied; and should the tables not be what they should be, no event
/// is to blame either, and all of them would be set aside.
pub(crate) fn batch_error(error: &anyhow::Error) -> BatchError {
    let reason = format!("cannot write the record: {error:#}");
    if error.chain().any(is_of_events) { BatchError::Bad(reason) } else { BatchError::Unavailable(reason) }
}

fn is_of_events(cause: &(dyn Error + 'static)) -> bool {
    match cause.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Encode(_)) => true,
        Some(error) => is_of_rows(error),
        // What is in the record already and belongs to these events cannot be read, or not be announced.
        None => cause.is::<serde_json::Error>() || cause.is::<InvalidOperationName>() || cause.is::<uuid::Error>(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::record::WalHeld;

    #[test]
    fn no_event_is_to_blame_for_what_may_pass() {
        let held = WalHeld { log: "stats.db-wal".into(), bytes: 2, max: 1, readers: Vec::new() };
        let errors = [anyhow::Error::from(held), sqlx::Error::PoolTimedOut.into(), anyhow::anyhow!("whatever it is")];
        for error in errors {
            assert!(matches!(batch_error(&error), BatchError::Unavailable(_)), "{error:#}");
        }
    }

    #[test]
    fn an_event_is_to_blame_for_what_cannot_be_written_or_read_because_of_it() {
        let no_json = serde_json::from_str::<u8>("x").unwrap_err();
        let no_name = "Not a name".parse::<bus::events::OperationName>().unwrap_err();
        for error in [anyhow::Error::from(no_json), anyhow::Error::from(no_name).context("the record has it")] {
            assert!(matches!(batch_error(&error), BatchError::Bad(_)), "{error:#}");
        }
    }
}
